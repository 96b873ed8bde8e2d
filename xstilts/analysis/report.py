"""Writes a run's report: tables as Parquet, a summary as JSON and Markdown, and one
self-contained page.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from xstilts.analysis import figures
from xstilts.analysis.answer import answer, clear, control_verdicts, p_text
from xstilts.analysis.averages import RETRIEVAL, averages
from xstilts.analysis.cut_contexts import beside
from xstilts.analysis.effects import confidence, effects_table, results_table, unpaired
from xstilts.analysis.estimands import AVERAGE, GAP, NON_ENGLISH, POOLED
from xstilts.analysis.inputs import ReportInput
from xstilts.analysis.multiplicity import INTERACTION, PRIMARY
from xstilts.official.forms import HUB_FORM, forms
from xstilts.step import canonical_json


def write_report(folder: Path, given: ReportInput) -> dict[str, Any]:
    """Writes results.parquet, effects.parquet, intermediates.parquet (where asked for),
    predictions/, summary.json, report.md and report.html; returns the summary.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results, effects = results_table(given), effects_table(given)
    results.to_parquet(folder / "results.parquet", index=False)
    effects.to_parquet(folder / "effects.parquet", index=False)
    if given.intermediates:
        pd.DataFrame(given.intermediates).to_parquet(folder / "intermediates.parquet", index=False)
    _write_predictions(folder / "predictions", given)
    summary = summarise(given, results, effects)
    (folder / "summary.json").write_text(
        json.dumps(summary, indent=2, ensure_ascii=False, default=_plain)
    )
    (folder / "report.md").write_text(markdown(summary))
    (folder / "report.html").write_text(page(given, results, effects, summary))
    return summary


def _plain(value: Any) -> Any:
    return None if value is pd.NA else value.item() if hasattr(value, "item") else str(value)


def _write_predictions(folder: Path, given: ReportInput) -> None:
    folder.mkdir(exist_ok=True)
    frames: dict[str, list[pd.DataFrame]] = {}
    for cell in given.cells:
        for (evaluation, language), scored in cell.scored.items():
            frame = pd.DataFrame(
                {
                    **({"row": scored.rows} if scored.rows else {}),
                    "id": scored.ids,
                    "cluster": scored.clusters,
                    "prediction": [canonical_json(p) for p in scored.predictions],
                    "gold": [canonical_json(g) for g in scored.golds],
                }
            )
            head = {
                "backbone": cell.backbone,
                "arm": cell.arm,
                "seed_intermediate": cell.seed_intermediate,
                "seed_target": cell.seed_target,
                "language": language,
            }
            frames.setdefault(evaluation, []).append(
                frame.assign(**head, **({"asked": scored.asked} if scored.asked else {}))
            )
    for evaluation, parts in frames.items():
        whole = pd.concat(parts, ignore_index=True)
        whole[["seed_intermediate", "seed_target"]] = whole[
            ["seed_intermediate", "seed_target"]
        ].astype("Int64")
        whole.to_parquet(folder / f"{evaluation}.parquet", index=False)


def official(given: ReportInput, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of each evaluation's official metric, averaged over languages."""
    first = {evaluation: metrics[0] for evaluation, metrics in given.metrics.items()}
    rows = table[
        (table["language"] == AVERAGE) & (table["metric"] == table["evaluation"].map(first))
    ]
    return rows[rows["checkpoint"] == "selected"] if "checkpoint" in rows else rows


def summarise(given: ReportInput, results: pd.DataFrame, effects: pd.DataFrame) -> dict[str, Any]:
    """What the report says, as JSON."""
    expanded = given.expanded
    rows = official(given, effects)
    headline = expanded["headline"] or next(
        (c["name"] for c in given.contrasts if not c["implicit"]), None
    )
    chosen = rows[rows["contrast"] == headline]
    pooled = effects[(effects["evaluation"] == POOLED) & (effects["family"] != INTERACTION)]
    confirmed = effects[effects["family"] == PRIMARY]
    primary = confirmed[confirmed["contrast"] == headline]
    between = effects[effects["family"] == INTERACTION]
    keys = [
        "contrast",
        "backbone",
        "evaluation",
        "effect",
        "ci_low",
        "ci_high",
        "ci_method",
        "p",
        "p_adjusted",
        "family",
        "mde",
        "n_seeds",
        "seeds",
        "pooled_over",
    ]
    robust = ["language", "iqm", "p_improvement"]
    level = confidence(given)
    return {
        "name": expanded["name"],
        "title": expanded["plan"].get("title") or expanded["name"],
        "banner": given.banner,
        "headline": headline,
        "confidence": level,
        "answer": answer(headline, primary, chosen, level, _absent(given, effects, headline)),
        "primary": _records(confirmed[[*keys, *robust]]),
        "headline_effects": _records(primary[keys]) + _records(chosen[keys]),
        "effects": _with_cuts(_records(rows[[*keys, "arm", "reference", "same_data"]]), given),
        "pooled": _records(pooled[[*keys, *robust]]),
        "interactions": _records(between[keys]),
        "pooled_over": _pooled_over(given, effects, headline),
        "left_out": _left_out(given, effects),
        "benchmark": given.benchmark,
        "averages": _averages(given, results),
        "controls": control_verdicts(expanded["controls"], rows),
        "missing": [
            {"what": m["what"], "reason": m["reason"], "log": m["log"]} for m in given.missing
        ],
        "not_applicable": [one for one in expanded["not_applicable"] if not one.get("partly")],
        "trained_in_part": [one for one in expanded["not_applicable"] if one.get("partly")],
        "skipped_languages": expanded["skipped_languages"],
        "overrides": expanded["overrides"],
        "unmatched": _unmatched(given),
        "budgets": _with_exposure(given),
        "intermediates": list(given.intermediates),
        "staged": list(given.staged),
        "cut_contexts": list(given.cut_contexts),
        "forms": forms(expanded),
        "sources": expanded["identities"],
        "environment": expanded["environment"],
    }


def _with_exposure(given: ReportInput) -> list[dict[str, Any]]:
    found = {(row["backbone"], row["arm"]): row for row in given.expanded.get("exposures", ())}
    nothing = {"exposure": "unknown", "why": "the run was planned before this was recorded"}
    known = [found.get((row["backbone"], row["arm"]), nothing) for row in given.spent]
    return [
        {**row, "exposure": one["exposure"], "exposure_source": one["why"]}
        for row, one in zip(given.spent, known, strict=True)
    ]


def _with_cuts(effects: list[dict[str, Any]], given: ReportInput) -> list[dict[str, Any]]:
    return [{**row, **beside(row, row["reference"], given.cut_contexts)} for row in effects]


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records"))
    return rows


def _pooled_over(given: ReportInput, effects: pd.DataFrame, headline: str | None) -> list[str]:
    """The evaluations in the headline's mean: neither retrieval nor the own data of either arm."""
    first = {evaluation: metrics[0] for evaluation, metrics in given.metrics.items()}
    rows = effects[
        (effects["contrast"] == headline)
        & (effects["language"] == NON_ENGLISH)
        & ~effects["same_data"].astype(bool)
        & (effects["metric"] == effects["evaluation"].map(first))
    ]
    return [name for name in dict.fromkeys(rows["evaluation"]) if first[name] not in RETRIEVAL]


def _absent(given: ReportInput, effects: pd.DataFrame, headline: str | None) -> dict[str, str]:
    """Backbone → why the headline has no primary row of it."""
    rows = effects[(effects["contrast"] == headline) & (effects["family"] != INTERACTION)]
    primary = next((c.get("primary") for c in given.contrasts if c["name"] == headline), None)
    reasons = {}
    for backbone, part in rows.groupby("backbone", sort=False):
        if (part["family"] == PRIMARY).any():
            continue
        over = _pooled_over(given, part, headline)
        if primary:
            reasons[str(backbone)] = (
                f"nothing was scored on {', '.join(primary)} in languages other than English"
            )
        elif over:
            reasons[str(backbone)] = f"{', '.join(over)} have no seeds in common"
        else:
            reasons[str(backbone)] = (
                "all evaluations are retrieval or English, or an arm was trained on their data"
            )
    return reasons


def _left_out(given: ReportInput, effects: pd.DataFrame) -> list[dict[str, Any]]:
    """What a contrast leaves out: languages that one of its cells lacks, whole evaluations,
    seeds of a mean.
    """
    rows = effects[effects["left_out"].astype(str) != ""]
    known = set(zip(effects["contrast"], effects["backbone"], effects["evaluation"], strict=True))
    return _records(rows[["contrast", "backbone", "evaluation", "left_out"]].drop_duplicates()) + [
        {"contrast": name, "backbone": backbone, "evaluation": evaluation, "left_out": reason}
        for name, backbone, evaluation, reason in unpaired(given)
        if (name, backbone, evaluation) not in known
    ]


def _averages(given: ReportInput, results: pd.DataFrame) -> list[dict[str, Any]]:
    same = {
        (row["arm"], row["trained_target"])
        for row in given.expanded["overlaps"]
        if row["overlap"] == "same-data"
    }
    targets = {name: cell.trained_target for cell in given.cells for name, _ in cell.scored}
    return averages(official(given, results), given.metrics, same, targets, given.benchmark)


def _unmatched(given: ReportInput) -> list[dict[str, Any]]:
    return [
        {"contrast": contrast["name"], "differences": contrast["differences"]}
        for contrast in given.contrasts
        if contrast["differences"]
    ]


def markdown(summary: Mapping[str, Any]) -> str:
    """The summary for a run's page."""
    banner = [f"> {summary['banner']}", ""] if summary["banner"] else []
    lines = [f"# {summary['title']}", "", *banner, summary["answer"], ""]
    level = f"{100 * summary['confidence']:g} %"
    lines += [
        f"| contrast | backbone | evaluation | effect | {level} interval | adjusted p | MDE | seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    means = [
        row
        for row in summary["pooled"]
        if row["language"] == NON_ENGLISH and row not in summary["primary"]
    ]
    shown = [
        {**row, "evaluation": f"{row['evaluation']}, non-English"}
        for row in [*summary["primary"], *means]
    ]
    lines += [
        f"| {e['contrast']} | {e['backbone']} | {e['evaluation']} | {e['effect']:+.1f} | {e['ci_low']:+.1f} … "
        f"{e['ci_high']:+.1f} | {p_text(e['p_adjusted'])} | {'' if e['mde'] is None else format(e['mde'], '.1f')} | {e['seeds']} |"
        for e in [*shown, *summary["effects"]]
    ]
    if summary["cut_contexts"]:
        lines += ["", "## Contexts that were cut to the recipe's length", ""]
        lines += [
            "| backbone | arm | use | task | language | rows cut | of |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {c['backbone']} | {c['arm']} | {c['use']} | {c['task']} | {c['language']} | {c['share']:.1%} | {c['rows']} |"
            for c in summary["cut_contexts"]
        ]
    own = [row for row in summary["intermediates"] if "value" in row]
    if own:
        lines += ["", "## The intermediate tasks themselves, on English dev", ""]
        lines += ["| backbone | arm | seed | task | metric | value |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {r['backbone']} | {r['arm']} | {r['seed']} | {r['task']} | {r['metric']} | {r['value']:.1f} |"
            for r in own
        ]
    by_hub = [row["language"] for row in summary["forms"] if row["form"] == HUB_FORM]
    if by_hub:
        lines += [
            "",
            "UD-POS is scored on the words of the hub's copy, not in the official form, in "
            + ", ".join(by_hub)
            + ".",
        ]
    for title, entries in (
        ("Missing", summary["missing"]), ("Not applicable", summary["not_applicable"]),
        ("Trained in part", summary["trained_in_part"]), ("Skipped", summary["skipped_languages"]),
        ("Left out of a contrast", summary["left_out"]),
    ):  # fmt: skip
        if entries:
            lines += ["", f"## {title}", ""]
            lines += [
                "- " + ", ".join(f"{v}" for k, v in entry.items() if k not in ("log", "partly"))
                for entry in entries
            ]
    return "\n".join(lines) + "\n"


def page(
    given: ReportInput, results: pd.DataFrame, effects: pd.DataFrame, summary: Mapping[str, Any]
) -> str:
    """report.html, self-contained."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("xstilts.analysis", "."),
        autoescape=select_autoescape(["j2"]),
        undefined=StrictUndefined,
    )
    rows = official(given, effects)
    chosen = rows[rows["contrast"] == summary["headline"]]
    first = {evaluation: metrics[0] for evaluation, metrics in given.metrics.items()}
    local = effects[
        (effects["contrast"] == summary["headline"])
        & ~effects["language"].isin([AVERAGE, GAP, NON_ENGLISH])
        & (effects["metric"] == effects["evaluation"].map(first))
    ]
    level = summary["confidence"]
    primary = effects[(effects["contrast"] == summary["headline"]) & (effects["family"] == PRIMARY)]
    chosen = pd.concat([primary, chosen])
    labels = [
        f"{row.backbone}, {row.evaluation}{', non-English' if row.language == NON_ENGLISH else ''}"
        for row in chosen.itertuples()
    ]
    template = environment.get_template("report.html.j2")
    return template.render(
        summary=summary,
        p_text=p_text,
        heat=heat_map(given, rows),
        scores=_scores(given, results),
        level=f"{100 * level:g} %",
        forest=figures.forest(chosen, labels, level) if len(chosen) else "",
        languages=figures.by_language(local, level) if len(local) else "",
    )


def heat_map(given: ReportInput, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """For each backbone the effect of each arm on each evaluation, against `none`; `without`:
    why there is none.
    """
    against = rows[rows["reference"] == "none"]
    largest = float(against["effect"].abs().max()) if len(against) else 1.0
    absent = {
        (n["backbone"], n["arm"]) for n in given.expanded["not_applicable"] if not n.get("partly")
    }
    asked = {
        (cell["arm"], evaluation)
        for cell in given.expanded["cells"]
        for evaluation in cell["scores"]
    }
    arms = [arm for arm in given.expanded["order"]["arms"] if arm != "none"]
    tables = []
    for backbone in given.expanded["order"]["backbones"]:
        lines = []
        for arm in arms:
            entries = []
            for evaluation in given.metrics:
                found = against[
                    (against["backbone"] == backbone)
                    & (against["arm"] == arm)
                    & (against["evaluation"] == evaluation)
                ]
                without = "not applicable" if (backbone, arm) in absent else "missing"
                if (arm, evaluation) not in asked:
                    without = "not asked for"
                alpha = 1 - confidence(given)
                entries.append(
                    _heat(found.iloc[0], largest, alpha) if len(found) else {"without": without}
                )
            lines.append({"arm": arm, "entries": entries})
        tables.append({"backbone": backbone, "evaluations": list(given.metrics), "lines": lines})
    return tables


def _heat(row: Any, largest: float, alpha: float) -> dict[str, Any]:
    share = min(1.0, abs(row["effect"]) / largest) if largest else 0.0
    colour = "31, 111, 139" if row["effect"] > 0 else "192, 87, 70"
    return {
        "effect": row["effect"],
        "low": row["ci_low"],
        "high": row["ci_high"],
        "same_data": bool(row["same_data"]),
        "background": f"rgba({colour}, {0.08 + 0.6 * share:.2f})",
        "clear": clear(row["p_adjusted"], alpha),
    }


def _scores(given: ReportInput, results: pd.DataFrame) -> list[dict[str, Any]]:
    """Mean score over seeds by backbone, arm, evaluation, and each language, in the official
    metric.
    """
    first = {evaluation: metrics[0] for evaluation, metrics in given.metrics.items()}
    selected = results["checkpoint"] == "selected"
    rows = results[selected & (results["metric"] == results["evaluation"].map(first))]
    tables = []
    for evaluation, part in rows.groupby("evaluation", sort=False):
        languages = [
            lang
            for lang in dict.fromkeys(part["language"])
            if lang not in (AVERAGE, GAP, NON_ENGLISH)
        ]
        means = part.groupby(["backbone", "arm", "language"], sort=False)["value"].mean()
        lines = [
            {
                "backbone": backbone,
                "arm": arm,
                "values": [
                    means.get((backbone, arm, lang)) for lang in [AVERAGE, NON_ENGLISH, *languages]
                ],
            }
            for backbone, arm in dict.fromkeys(zip(part["backbone"], part["arm"], strict=True))
        ]
        splits = sorted(set(part[part["language"] != AVERAGE]["split"]))
        tables.append(
            {
                "evaluation": evaluation,
                "metric": first[str(evaluation)],
                "languages": [AVERAGE, NON_ENGLISH, *languages],
                "lines": lines,
                "splits": splits,
            }
        )
    return tables
