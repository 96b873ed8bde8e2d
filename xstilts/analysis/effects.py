"""The table of effects, `effects.parquet`: arm minus reference, intervals, adjusted p-values.

The statistics are in these modules: plan.seed_layout (which seeds the pairs share), variance
(standard errors), estimands (what is averaged), multiplicity (what is corrected together).
docs/methods.md explains them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import pandas as pd

from xstilts.analysis.averages import RETRIEVAL
from xstilts.analysis.bootstrap import FEWEST_SEEDS, Paired, bootstrap_intervals
from xstilts.analysis.estimands import (
    AVERAGE,
    ENGLISH,
    GAP,
    NON_ENGLISH,
    POOLED,
    Differences,
    ScoreCache,
    Table,
    differences,
    paired,
)
from xstilts.analysis.inputs import Cell, ReportInput
from xstilts.analysis.multiplicity import EXPLORATORY, HEAT_MAP, INTERACTION, adjusted, family_of
from xstilts.analysis.pool import Pool
from xstilts.analysis.variance import Interval
from xstilts.plan.seed_layout import Pair, SeedLayout
from xstilts.scoring.metrics import METRICS

LEVEL = 0.95
#: The metric of pooled rows: each evaluation's official one.
OFFICIAL = "official"
#: The largest score of metrics that exceed 100.
LARGEST = {"cider": 1000.0}
COLUMNS = (
    "contrast",
    "backbone",
    "arm",
    "reference",
    "evaluation",
    "language",
    "metric",
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
    "n_examples",
    "n_languages",
    "left_out",
    "pooled_over",
    "same_data",
    "iqm",
    "p_improvement",
    "bootstrap_low",
    "bootstrap_high",
)


def effects_table(report: ReportInput) -> pd.DataFrame:
    """Every contrast for every backbone, evaluation, metric and language, with the rows `avg`,
    `non_en` and `gap`; then the effects pooled over evaluations, and the differences of the pooled
    effects between backbones.

    Reads one metric of one evaluation at a time.
    """
    level = confidence(report)
    headline = report.expanded.get("headline")
    pools = [Pool() for _ in report.contrasts]
    computed: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for evaluation, metrics in report.metrics.items():
        for metric in (name for name in metrics if name in METRICS):
            resampled = _in_metric(report, evaluation, metric, pools, computed, level)
            intervals = bootstrap_intervals([pair for _, pair in resampled], metric, level)
            for (row, _), (low, high) in zip(resampled, intervals, strict=True):
                row |= {"bootstrap_low": low, "bootstrap_high": high}
    rows = []
    for number, (contrast, pool) in enumerate(zip(report.contrasts, pools, strict=True)):
        compared = [name for name, *_ in _compared(report, contrast)]
        for backbone in compared:
            rows += computed.get((number, backbone), [])
        rows += _pooled_rows(contrast, pool, compared, level, headline)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    # Two contrasts of one arm with `none` are one cell of the heat map, and one test.
    repeated = (table["family"] == HEAT_MAP) & table.duplicated(
        ["family", "backbone", "arm", "evaluation"]
    )
    table.loc[repeated, "family"] = EXPLORATORY
    return adjusted(table)


def _in_metric(
    report: ReportInput,
    evaluation: str,
    metric: str,
    pools: Sequence[Pool],
    computed: dict[tuple[int, str], list[dict[str, Any]]],
    level: float,
) -> list[tuple[dict[str, Any], Paired]]:
    """(row, its cells) of the averages that get a bootstrap interval.

    Args:
        report: the report's input.
        evaluation: name of the evaluation.
        metric: name of a metric that is a ratio of counts.
        pools: of each contrast, to which effects in the official metric are added.
        computed: (number of the contrast, backbone) → rows, to which this adds.
        level: confidence level.
    """
    official = metric == report.official_metrics[evaluation]
    resampled: list[tuple[dict[str, Any], Paired]] = []
    cache = ScoreCache()
    for number, contrast in enumerate(report.contrasts):
        cache.next_contrast()
        effects = _effects_on(report, contrast, evaluation, metric, cache)
        for backbone, each in effects.items():
            rows = _language_rows(report, contrast, backbone, each, level)
            computed.setdefault((number, backbone), []).extend(rows)
            average = next((row for row in rows if row["language"] == AVERAGE), None)
            if official and average is not None and average["p"] is not None:
                table, over = each.differences.estimands[AVERAGE]
                if pair := _paired(each, over, table.layout):
                    resampled.append((average, pair))
        if official and metric not in RETRIEVAL:
            of_contrast = {
                backbone: each.differences
                for backbone, each in effects.items()
                if not each.same_data
            }
            pools[number].add(evaluation, of_contrast)
    return resampled


def confidence(report: ReportInput) -> float:
    """The level of the report's intervals."""
    return float(report.expanded.get("plan", {}).get("confidence", LEVEL))


def backbones_of(report: ReportInput) -> list[str]:
    """The backbones that were scored, in order."""
    return list(dict.fromkeys(cell.backbone for cell in report.cells))


def _compared(report: ReportInput, contrast: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name in the table, backbone of the arm, backbone of the reference): each backbone with
    itself, or the two of a contrast between backbones.
    """
    if "backbone" not in contrast:
        return [(name, name, name) for name in backbones_of(report)]
    first, second = contrast["backbone"], contrast["reference_backbone"]
    return [(f"{first} minus {second}", first, second)]


@dataclass(frozen=True)
class Effects:
    """A contrast of one backbone on one evaluation in one metric.

    pairs: seeds → the arm's and the reference's cell. same_data: whether either arm was trained on
    the trained target's own data.
    """

    evaluation: str
    metric: str
    pairs: Mapping[Pair, tuple[Cell, Cell]]
    differences: Differences
    same_data: bool


def _effects_on(
    report: ReportInput,
    contrast: Mapping[str, Any],
    evaluation: str,
    metric: str,
    cache: ScoreCache,
) -> dict[str, Effects]:
    """Backbone → the contrast's effects, for the backbones that have paired cells.

    Args:
        report: the report's input.
        contrast: a contrast of the plan.
        evaluation: name of the evaluation.
        metric: name of the metric.
        cache: scores that other contrasts computed.
    """
    effects = {}
    for backbone, *sides in _compared(report, contrast):
        arms, references = (
            cells_of(report, of, contrast[side], evaluation)
            for of, side in zip(sides, ("arm", "reference"), strict=True)
        )
        if pairs := paired(arms, references):
            averaged = partial(report.averaged, evaluation)
            by_language = differences(pairs, evaluation, metric, cache, averaged)
            same = same_data(report, contrast, next(iter(arms.values())).trained_target)
            effects[backbone] = Effects(evaluation, metric, pairs, by_language, same)
    return effects


def _language_rows(
    report: ReportInput,
    contrast: Mapping[str, Any],
    backbone: str,
    effects: Effects,
    level: float,
) -> list[dict[str, Any]]:
    """One row per language and aggregate.

    Args:
        report: the report's input.
        contrast: a contrast of the plan.
        backbone: its name in the table.
        effects: of this backbone.
        level: confidence level.
    """
    by_language = effects.differences
    official = report.official_metrics[effects.evaluation]
    head = _head(contrast, backbone) | {
        "evaluation": effects.evaluation,
        "metric": effects.metric,
        "same_data": effects.same_data,
        "left_out": " ".join(by_language.left_out),
    }
    rows = []
    for language, (table, over) in by_language.estimands.items():
        counts = {
            "language": language,
            "n_examples": sum(by_language.examples[code] for code in over),
            "n_languages": len(over),
        }
        row = _row(head | counts, table, level)
        family = family_of(row, contrast, report.expanded.get("headline"), official)
        rows.append(row | {"family": family})
    return rows


def unpaired(report: ReportInput) -> Iterator[tuple[str, str, str, str]]:
    """(contrast, backbone, evaluation, reason) if both arms were scored and cannot be compared."""
    for contrast in report.contrasts:
        for backbone, *sides in _compared(report, contrast):
            for evaluation in report.metrics:
                arms, references = (
                    cells_of(report, of, contrast[side], evaluation)
                    for of, side in zip(sides, ("arm", "reference"), strict=True)
                )
                if not arms or not references:
                    continue
                cells = [cell for pair in paired(arms, references).values() for cell in pair]
                languages = [
                    {code for name, code in cell.scored if name == evaluation} for cell in cells
                ]
                reason = None
                if not cells:
                    reason = "no seeds in common"
                elif not set.intersection(*languages):
                    reason = "no language in common to all paired cells"
                if reason:
                    yield contrast["name"], backbone, evaluation, reason


def _head(contrast: Mapping[str, Any], backbone: str) -> dict[str, Any]:
    return {
        "contrast": contrast["name"],
        "backbone": backbone,
        "arm": contrast["arm"],
        "reference": contrast["reference"],
    }


def same_data(report: ReportInput, contrast: Mapping[str, Any], target: str) -> bool:
    """Whether either arm of a contrast was trained on the trained target's own data."""
    overlaps = {
        (row["arm"], row["trained_target"]): row["overlap"] for row in report.expanded["overlaps"]
    }
    return "same-data" in (overlaps.get((contrast[side], target)) for side in ("arm", "reference"))


def _pooled_rows(
    contrast: Mapping[str, Any],
    pool: Pool,
    backbones: Sequence[str],
    level: float,
    headline: str | None,
) -> Iterator[dict[str, Any]]:
    """For each backbone, the mean over evaluations that are neither retrieval nor trained on by
    either arm; then the differences between backbones.

    Args:
        contrast: a contrast of the plan.
        pool: its effects on each evaluation.
        backbones: names in the table, in order.
        level: confidence level.
        headline: name of the headline contrast.
    """
    head = {"evaluation": POOLED, "metric": OFFICIAL, "same_data": False}
    with_effects = [name for name in backbones if pool.parts.get(name)]
    for backbone in with_effects:
        for language in (NON_ENGLISH, ENGLISH, GAP, AVERAGE):
            table, coverage = pool.mean(backbone, language)
            if table is not None:
                row = _row(
                    _head(contrast, backbone) | head | {"language": language} | coverage,
                    table,
                    level,
                )
                if language == NON_ENGLISH:
                    row |= pool.robust(backbone, table.pairs)
                yield row | {"family": family_of(row, contrast, headline, OFFICIAL)}
    for first, second in combinations(with_effects, 2):
        table, coverage = pool.interaction(first, second)
        if table is not None:
            estimand = {"language": NON_ENGLISH, "family": INTERACTION}
            names = _head(contrast, f"{first} minus {second}")
            yield _row(names | head | estimand | coverage, table, level)


def _paired(effects: Effects, languages: Sequence[str], layout: SeedLayout) -> Paired | None:
    """The cells of an official average for the bootstrap; None if there are too few seeds."""
    if len(effects.pairs) < FEWEST_SEEDS or layout.shared:
        return None
    arms, references = (
        [
            {language: pair[side].scored[effects.evaluation, language] for language in languages}
            for pair in effects.pairs.values()
        ]
        for side in (0, 1)
    )
    return Paired(arms, references, layout)


def _row(head: Mapping[str, Any], table: Table, level: float) -> dict[str, Any]:
    # The effect on a gap, and the difference between two backbones, are differences of two effects.
    twice = 2 if head["language"] == GAP or head.get("family") == INTERACTION else 1
    estimate: Interval = table.interval(level, twice * LARGEST.get(head["metric"], 100.0))
    return {
        "n_seeds": table.layout.replicates,
        "seeds": table.layout.seeds,
        "pooled_over": "",
        "iqm": None,
        "p_improvement": None,
        "bootstrap_low": None,
        "bootstrap_high": None,
        **head,
        "effect": estimate.effect,
        "ci_low": estimate.low,
        "ci_high": estimate.high,
        "ci_method": estimate.method,
        "p": estimate.p,
        "mde": estimate.mde,
    }


def cells_of(report: ReportInput, backbone: str, arm: str, evaluation: str) -> dict[Pair, Cell]:
    """Seeds → cell, for the cells of an arm that were scored on an evaluation."""
    return {
        (cell.seed_intermediate, cell.seed_target): cell
        for cell in report.arms.get((backbone, arm), ())
        if evaluation in cell.evaluations
    }
