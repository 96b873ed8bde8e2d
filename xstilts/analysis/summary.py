"""The report's content as JSON, `summary.json`."""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from xstilts.analysis.answer import answer, control_verdicts
from xstilts.analysis.averages import RETRIEVAL, averages
from xstilts.analysis.cut_contexts import cut_shares
from xstilts.analysis.effects import backbones_of, confidence, unpaired
from xstilts.analysis.estimands import AVERAGE, NON_ENGLISH, POOLED
from xstilts.analysis.forgetting import forgetting, of_arms
from xstilts.analysis.inputs import ReportInput
from xstilts.analysis.multiplicity import INTERACTION, PRIMARY
from xstilts.analysis.published_scores import beside_published
from xstilts.official.forms import forms

#: Columns of the table of effects in every list of effects.
KEYS = [
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
#: More columns for primary and pooled effects.
ROBUST = ["language", "iqm", "p_improvement"]


def summarize(report: ReportInput, results: pd.DataFrame, effects: pd.DataFrame) -> dict[str, Any]:
    """Everything that the report says, as JSON."""
    expanded = report.expanded
    averaged = official_rows(report, effects)
    headline = expanded["headline"] or next(
        (
            contrast["name"]
            for contrast in report.contrasts
            if not contrast["implicit"] and "backbone" not in contrast
        ),
        None,
    )
    of_headline = averaged[averaged["contrast"] == headline]
    pooled = effects[(effects["evaluation"] == POOLED) & (effects["family"] != INTERACTION)]
    all_primary = effects[effects["family"] == PRIMARY]
    primary = all_primary[all_primary["contrast"] == headline]
    interactions = effects[effects["family"] == INTERACTION]
    level = confidence(report)
    not_applicable = expanded["not_applicable"]
    return {
        "name": expanded["name"],
        "title": expanded["plan"].get("title") or expanded["name"],
        "banner": report.banner,
        "headline": headline,
        "confidence": level,
        "answer": answer(
            headline, primary, of_headline, level, _without_primary(report, effects, headline)
        ),
        "primary": _records(all_primary[[*KEYS, *ROBUST]]),
        "headline_effects": _records(primary[KEYS]) + _records(of_headline[KEYS]),
        "effects": _with_cuts(_records(averaged[[*KEYS, "arm", "reference", "same_data"]]), report),
        "pooled": _records(pooled[[*KEYS, *ROBUST]]),
        "interactions": _records(interactions[KEYS]),
        "pooled_over": _pooled_over(report, effects, headline),
        "left_out": _left_out(report, effects),
        "benchmark": report.benchmark,
        "averages": _averages(report, results),
        "controls": control_verdicts(
            expanded["controls"], averaged[averaged["backbone"].isin(backbones_of(report))]
        ),
        "missing": [
            {key: entry[key] for key in ("what", "reason", "log")} for entry in report.missing
        ],
        "not_applicable": [entry for entry in not_applicable if not entry.get("partly")],
        "trained_in_part": [entry for entry in not_applicable if entry.get("partly")],
        "skipped_languages": expanded["skipped_languages"],
        "overrides": expanded["overrides"],
        "unmatched": _unmatched(report),
        "budgets": _budgets(report),
        "intermediates": list(of_arms(report.intermediates)),
        "forgetting": forgetting(report.intermediates),
        "staged": list(report.staged),
        "cut_contexts": list(report.cut_contexts),
        "forms": forms(expanded),
        "sources": expanded["identities"],
        "environment": expanded["environment"],
        "provenance": dict(report.provenance),
        "published": beside_published(report, results),
    }


def official_rows(report: ReportInput, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of scores or effects in each evaluation's official metric, averaged over languages.

    Of scores, only those of the selected weights.
    """
    official = table["evaluation"].map(report.official_metrics)
    rows = table[(table["language"] == AVERAGE) & (table["metric"] == official)]
    return rows[rows["checkpoint"] == "selected"] if "checkpoint" in rows else rows


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records"))
    return rows


def _budgets(report: ReportInput) -> list[dict[str, Any]]:
    """The budget that each backbone and arm used, and whether the released model saw its data."""
    exposures = {(row["backbone"], row["arm"]): row for row in report.expanded.get("exposures", ())}
    unknown = {"exposure": "unknown", "why": "the run's plan step did not record it"}
    budgets = []
    for row in report.spent:
        exposure = exposures.get((row["backbone"], row["arm"]), unknown)
        budgets.append(
            {**row, "exposure": exposure["exposure"], "exposure_source": exposure["why"]}
        )
    return budgets


def _with_cuts(effects: list[dict[str, Any]], report: ReportInput) -> list[dict[str, Any]]:
    return [{**row, **cut_shares(row, row["reference"], report.cut_contexts)} for row in effects]


def _pooled_over(report: ReportInput, effects: pd.DataFrame, headline: str | None) -> list[str]:
    """The evaluations in the headline's pooled mean: neither retrieval nor the own data of either
    arm.
    """
    official = report.official_metrics
    rows = effects[
        (effects["contrast"] == headline)
        & (effects["language"] == NON_ENGLISH)
        & ~effects["same_data"].astype(bool)
        & (effects["metric"] == effects["evaluation"].map(official))
    ]
    return [name for name in dict.fromkeys(rows["evaluation"]) if official[name] not in RETRIEVAL]


def _without_primary(
    report: ReportInput, effects: pd.DataFrame, headline: str | None
) -> Mapping[str, str]:
    """Backbone → why the headline has no primary effect for it."""
    rows = effects[(effects["contrast"] == headline) & (effects["family"] != INTERACTION)]
    primary = next((c.get("primary") for c in report.contrasts if c["name"] == headline), None)
    reasons = {}
    for backbone, part in rows.groupby("backbone", sort=False):
        if (part["family"] == PRIMARY).any():
            continue
        over = _pooled_over(report, part, headline)
        if primary:
            reason = f"{', '.join(primary)} has no scores in non-English languages"
        elif over:
            reason = f"{', '.join(over)} have no seeds in common"
        else:
            reason = "every evaluation is retrieval, English only, or an arm's own training data"
        reasons[str(backbone)] = reason
    return reasons


def _left_out(report: ReportInput, effects: pd.DataFrame) -> list[dict[str, Any]]:
    """What contrasts leave out: languages that one of their cells lacks, whole evaluations, seeds
    of a mean.
    """
    keys = ["contrast", "backbone", "evaluation"]
    rows = effects[effects["left_out"].astype(str) != ""]
    compared = set(zip(*(effects[key] for key in keys), strict=True))
    return _records(rows[[*keys, "left_out"]].drop_duplicates()) + [
        {"contrast": name, "backbone": backbone, "evaluation": evaluation, "left_out": reason}
        for name, backbone, evaluation, reason in unpaired(report)
        if (name, backbone, evaluation) not in compared
    ]


def _averages(report: ReportInput, results: pd.DataFrame) -> list[dict[str, Any]]:
    same_data = {
        (row["arm"], row["trained_target"])
        for row in report.expanded["overlaps"]
        if row["overlap"] == "same-data"
    }
    targets = {name: cell.trained_target for cell in report.cells for name, _ in cell.scored}
    scores = official_rows(report, results)
    return averages(scores, report.metrics, same_data, targets, report.benchmark)


def _unmatched(report: ReportInput) -> list[dict[str, Any]]:
    return [
        {"contrast": contrast["name"], "differences": contrast["differences"]}
        for contrast in report.contrasts
        if contrast["differences"]
    ]
