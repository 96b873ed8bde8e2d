"""What the page shows of the tables of scores and effects: rows for charts, cards and tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from xstilts.analysis.estimands import AVERAGE, ENGLISH, GAP, NON_ENGLISH, POOLED
from xstilts.analysis.inputs import ReportInput
from xstilts.analysis.multiplicity import INTERACTION
from xstilts.analysis.page import charts, language_charts
from xstilts.analysis.page.language_facts import (
    by_family,
    by_size,
    covariate_rows,
    relative_tokens,
)
from xstilts.analysis.page.seed_effects import SeedEffects
from xstilts.analysis.page.training import curve_charts
from xstilts.analysis.result_texts import clear, conditional_on_seed, p_text

#: A table of scores with more columns than this does not fit on paper.
WIDE = 14
#: Rows over several languages.
AGGREGATES = (AVERAGE, GAP, NON_ENGLISH)
#: Aggregate → its column in a table of scores.
COLUMNS = {AVERAGE: "average", NON_ENGLISH: "non-English"}
NAMES = {ENGLISH: "English", NON_ENGLISH: "non-English", GAP: "gap", AVERAGE: "all"}


def named_contrasts(report: ReportInput, headline: str | None) -> list[dict[str, Any]]:
    """The contrasts that the plan names, the headline first."""
    named = [contrast for contrast in report.contrasts if not contrast["implicit"]]
    return sorted(named, key=lambda contrast: contrast["name"] != headline)


def forest_rows(
    report: ReportInput, effects: pd.DataFrame, contrast: str, alpha: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(pooled rows, rows of single evaluations) of a contrast's forest plots."""
    rows = effects[
        (effects["contrast"] == contrast)
        & (effects["family"] != INTERACTION)
        & effects["language"].isin([ENGLISH, NON_ENGLISH, GAP])
    ]
    official = rows["evaluation"].map(report.official_metrics)
    pooled = _labeled(rows[rows["evaluation"] == POOLED], alpha)
    single = _labeled(rows[rows["metric"] == official], alpha)
    return pooled, single


def _labeled(rows: pd.DataFrame, alpha: float) -> list[dict[str, Any]]:
    several = rows["backbone"].nunique() > 1 and set(rows["evaluation"]) != {POOLED}
    return [
        {
            **{
                key: row[key]
                for key in ("contrast", "backbone", "evaluation", "language", "pooled_over")
            },
            "label": _label(row, several),
            **{key: round(row[key], 3) for key in ("effect", "ci_low", "ci_high")},
            "clear": clear(row["p_adjusted"], alpha),
            "p": p_text(row["p_adjusted"]) or "not tested",
            "mde": "" if pd.isna(row["mde"]) else f"{row['mde']:.1f}",
        }
        for row in rows.to_dict("records")
    ]


def _label(row: Mapping[str, Any], several: bool) -> str:
    if row["evaluation"] == POOLED:
        return str(row["backbone"])
    return f"{row['backbone']}, {row['evaluation']}" if several else str(row["evaluation"])


def report_charts(
    report: ReportInput,
    effects: pd.DataFrame,
    seeds: SeedEffects,
    headline: str | None,
    level: float,
) -> Iterator[tuple[str, str, charts.Spec]]:
    """(name of the file, description, chart) of every chart, in the order of the page."""
    contrasts = {contrast["name"]: contrast for contrast in report.contrasts}
    for number, contrast in enumerate(named_contrasts(report, headline), 1):
        name = contrast["name"]
        for kind, rows in zip(
            ("pooled", "by-evaluation"),
            forest_rows(report, effects, name, 1 - level),
            strict=True,
        ):
            if rows:
                described = f"Forest plot of “{name}”, {kind.replace('-', ' ')}"
                dots = list(seeds.dots(contrasts, rows))
                chart = charts.forest(rows, dots, level)
                yield f"contrast-{number}-{kind}", described, chart
    single = single_languages(report, effects, headline)
    if len(single):
        keys = ["backbone", "evaluation", "language", "effect", "ci_low", "ci_high"]
        rows = single[keys].round(3).to_dict("records")
        codes = list(dict.fromkeys(single["language"]))
        yield (
            "languages-by-family",
            f"“{headline}” in each language, by family",
            language_charts.languages(rows, by_family(codes), "family"),
        )
        yield (
            "languages-by-size",
            f"“{headline}” in each language, by size in CC-100",
            language_charts.languages(rows, by_size(codes), "size"),
        )
        facts = covariate_rows(single, relative_tokens(report))
        yield (
            "language-facts",
            f"“{headline}” against data in CC-100, tokens and script",
            language_charts.covariates(facts),
        )
    for number, (backbone, title, chart) in enumerate(curve_charts(report.steps.values()), 1):
        yield f"curves-{number}", f"{title}, {backbone}", chart


def single_languages(
    report: ReportInput, effects: pd.DataFrame, headline: str | None
) -> pd.DataFrame:
    """The headline's effects in single languages, in the official metrics."""
    rows = effects[effects["contrast"] == headline]
    official = rows["evaluation"].map(report.official_metrics)
    return rows[~rows["language"].isin(AGGREGATES) & (rows["metric"] == official)]


def cards(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One card per primary effect of the headline contrast: the numbers of the first screen."""
    alpha = 1 - summary["confidence"]
    rows = [row for row in summary["primary"] if row["contrast"] == summary["headline"]]
    bounds = [0.0, *(row[key] for row in rows for key in ("ci_low", "ci_high"))]
    low, width = min(bounds), (max(bounds) - min(bounds)) or 1.0

    def place(value: float) -> float:
        return round(4 + 92 * (value - low) / width, 2)

    return [
        {
            **row,
            "clear": clear(row["p_adjusted"], alpha),
            "verdict": _verdict(row, alpha),
            "left": place(row["ci_low"]),
            "width": round(place(row["ci_high"]) - place(row["ci_low"]), 2),
            "at": place(row["effect"]),
            "zero": place(0.0),
            "where": "mean over evaluations" if row["evaluation"] == POOLED else row["evaluation"],
        }
        for row in rows
    ]


def _verdict(row: Mapping[str, Any], alpha: float) -> str:
    if row["p"] is None:
        return "Conditional on the seed" if conditional_on_seed(row) else "No test is possible"
    if clear(row["p_adjusted"], alpha):
        return "Above zero" if row["effect"] > 0 else "Below zero"
    return "Not distinguishable from zero"


def contrast_tables(summary: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Contrast → its primary and pooled effects, for the tables below the charts."""
    tables: dict[str, list[dict[str, Any]]] = {}
    other = [row for row in summary["primary"] if row["evaluation"] != POOLED]
    for row in [*other, *summary["pooled"]]:
        tables.setdefault(row["contrast"], []).append(row)
    return tables


def score_tables(report: ReportInput, results: pd.DataFrame) -> list[dict[str, Any]]:
    """One table per evaluation: the mean score over seeds in the official metric, by backbone, arm
    and language, with its standard error over seeds (None with one seed).
    """
    official = results["evaluation"].map(report.official_metrics)
    rows = results[(results["checkpoint"] == "selected") & (results["metric"] == official)]
    tables = []
    for evaluation, part in rows.groupby("evaluation", sort=False):
        single = part[~part["language"].isin(AGGREGATES)]
        columns = [AVERAGE, NON_ENGLISH, *dict.fromkeys(single["language"])]
        groups = part.groupby(["backbone", "arm", "language"], sort=False)["value"]
        means, errors = groups.mean().to_dict(), groups.sem().to_dict()
        tables.append(
            {
                "evaluation": evaluation,
                "metric": report.official_metrics[str(evaluation)],
                "languages": columns,
                "wide": len(columns) > WIDE,
                "lines": [
                    {
                        "backbone": backbone,
                        "arm": arm,
                        "values": [means.get((backbone, arm, column)) for column in columns],
                        "errors": _finite(
                            [errors.get((backbone, arm, column)) for column in columns]
                        ),
                    }
                    for backbone, arm in dict.fromkeys(
                        zip(part["backbone"], part["arm"], strict=True)
                    )
                ],
                "splits": sorted(set(single["split"])),
            }
        )
    return tables


def wide_style(tables: Sequence[Mapping[str, Any]]) -> str:
    """CSS that on paper puts the name of its column before each score of a wide table. A rule per
    column is much smaller than an attribute per score.
    """
    rules = [
        f"#scores-{number} td:nth-child({place})::before"
        f"{{content:{_css_text(COLUMNS.get(name, name))}}}"
        for number, table in enumerate(tables, 1)
        if table["wide"]
        for place, name in enumerate(table["languages"], 3)
    ]
    return f"@media print{{{''.join(rules)}}}"


def _css_text(text: str) -> str:
    """A CSS string of a text and a space, in which only letters and digits are not escaped."""
    safe = (c if c.isalnum() and c.isascii() else f"\\{ord(c):x} " for c in f"{text} ")
    return f'"{"".join(safe)}"'


def _finite(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None or pd.isna(value) else value for value in values]
