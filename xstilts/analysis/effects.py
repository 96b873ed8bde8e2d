"""The table of effects, `effects.parquet`: arm minus reference, intervals, adjusted p-values.

The statistics are in these modules: plan.seed_layout (which seeds the pairs share), variance
(standard errors), estimands (what is averaged), multiplicity (what is corrected together).
docs/methods.md explains them.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from xstilts.analysis.averages import RETRIEVAL
from xstilts.analysis.bootstrap import FEWEST_SEEDS, bootstrap_interval
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
    interaction,
    interquartile_mean,
    paired,
    pooled,
    probability_of_improvement,
)
from xstilts.analysis.inputs import Cell, ReportInput, Scored
from xstilts.analysis.multiplicity import EXPLORATORY, HEAT_MAP, INTERACTION, adjusted, family_of
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
    """
    cache, level = ScoreCache(), confidence(report)
    rows = [
        row
        for contrast in report.contrasts
        for row in _contrast_rows(report, contrast, cache, level)
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    # Two contrasts of one arm with `none` are one cell of the heat map, and one test.
    repeated = (table["family"] == HEAT_MAP) & table.duplicated(
        ["family", "backbone", "arm", "evaluation"]
    )
    table.loc[repeated, "family"] = EXPLORATORY
    return adjusted(table)


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


def _contrast_rows(
    report: ReportInput, contrast: Mapping[str, Any], cache: ScoreCache, level: float
) -> Iterator[dict[str, Any]]:
    headline = report.expanded.get("headline")
    pools: dict[str, dict[str, Differences]] = {}
    for backbone, *sides in _compared(report, contrast):
        for evaluation, metrics in report.metrics.items():
            arms, references = (
                cells_of(report.cells, of, contrast[side], evaluation)
                for of, side in zip(sides, ("arm", "reference"), strict=True)
            )
            pairs = paired(arms, references)
            if not pairs:
                continue
            official = metrics[0]
            same = same_data(report, contrast, next(iter(arms.values())).trained_target)
            averaged = partial(report.averaged, evaluation)
            for metric in (name for name in metrics if name in METRICS):
                by_language = differences(pairs, evaluation, metric, cache, averaged)
                if metric == official and metric not in RETRIEVAL and not same:
                    pools.setdefault(backbone, {})[evaluation] = by_language
                head = _head(contrast, backbone) | {
                    "evaluation": evaluation,
                    "metric": metric,
                    "same_data": same,
                    "left_out": " ".join(by_language.left_out),
                }
                for language, (table, over) in by_language.estimands.items():
                    counts = {
                        "language": language,
                        "n_examples": sum(by_language.examples[code] for code in over),
                        "n_languages": len(over),
                    }
                    row = _row(head | counts, table, level)
                    if language == AVERAGE and metric == official and row["p"] is not None:
                        row |= _bootstrap(pairs, over, evaluation, metric, table.layout, level)
                    yield row | {"family": family_of(row, contrast, headline, official)}
    yield from _pooled_rows(contrast, pools, level, headline)


def unpaired(report: ReportInput) -> Iterator[tuple[str, str, str, str]]:
    """(contrast, backbone, evaluation, reason) if both arms were scored and cannot be compared."""
    for contrast in report.contrasts:
        for backbone, *sides in _compared(report, contrast):
            for evaluation in report.metrics:
                arms, references = (
                    cells_of(report.cells, of, contrast[side], evaluation)
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
    pools: Mapping[str, Mapping[str, Differences]],
    level: float,
    headline: str | None,
) -> Iterator[dict[str, Any]]:
    """For each backbone, the mean over evaluations that are neither retrieval nor trained on by
    either arm; then the differences between backbones.
    """
    head = {"evaluation": POOLED, "metric": OFFICIAL, "same_data": False}
    for backbone, evaluations in pools.items():
        for language in (NON_ENGLISH, ENGLISH, GAP, AVERAGE):
            tables, coverage = _pool(evaluations, language)
            table = pooled(tables)
            if table is not None:
                row = _row(
                    _head(contrast, backbone) | head | {"language": language} | coverage,
                    table,
                    level,
                )
                if language == NON_ENGLISH:
                    row |= _robust(evaluations, table.pairs)
                yield row | {"family": family_of(row, contrast, headline, OFFICIAL)}
    for first, second in combinations(pools, 2):
        both = {first: pools[first], second: pools[second]}
        yield from _interaction_row(contrast, both, head, level)


def _interaction_row(
    contrast: Mapping[str, Any],
    pools: Mapping[str, Mapping[str, Differences]],
    head: dict[str, Any],
    level: float,
) -> Iterator[dict[str, Any]]:
    """The first backbone's pooled effect minus the second's, over the evaluations and languages
    that both have. `left_out` names what only one of them has.
    """
    first, second = pools.values()
    dropped = [
        f"{name}: whole" for name in {**first, **second} if name not in first or name not in second
    ]
    sides: tuple[dict[str, Differences], dict[str, Differences]] = ({}, {})
    for name in (name for name in first if name in second):
        languages = [set(side[name].averaged) for side in (first, second)]
        unshared = [
            code
            for code in {**first[name].languages, **second[name].languages}
            if code in languages[0] ^ languages[1]
        ]
        if unshared:
            dropped.append(f"{name}: {' '.join(unshared)}")
        for kept, side in zip(sides, (first, second), strict=True):
            kept[name] = side[name].restricted(languages[0] & languages[1])
    (first_tables, coverage), (second_tables, _) = (_pool(side, NON_ENGLISH) for side in sides)
    first_table, second_table = pooled(first_tables), pooled(second_tables)
    if first_table is None or second_table is None:
        return
    table = interaction(first_table, second_table)
    if table is not None:
        coverage["left_out"] = "; ".join([*dropped, *filter(None, [coverage["left_out"]])])
        estimand = {"language": NON_ENGLISH, "family": INTERACTION}
        backbones = " minus ".join(pools)
        yield _row(_head(contrast, backbones) | head | estimand | coverage, table, level)


def _pool(
    evaluations: Mapping[str, Differences], language: str
) -> tuple[dict[str, Table], dict[str, Any]]:
    """(evaluation → its table of an estimand, what the tables cover: languages, examples,
    evaluations, and evaluations with fewer seeds than others, which reduce the mean's).
    """
    chosen = {
        name: each.estimands[language]
        for name, each in evaluations.items()
        if language in each.estimands
    }
    codes = {code for _, over in chosen.values() for code in over}
    examples = sum(
        evaluations[name].examples[code] for name, (_, over) in chosen.items() for code in over
    )
    tables = {name: table for name, (table, _) in chosen.items()}
    return tables, {
        "n_languages": len(codes),
        "n_examples": examples,
        "pooled_over": " ".join(tables),
        "left_out": _fewer_seeds(tables),
    }


def _fewer_seeds(tables: Mapping[str, Table]) -> str:
    """The evaluations that lack seeds which others have; empty if all have the same."""
    every = {pair for table in tables.values() for pair in table.pairs}
    fewer = {
        name: len(table.pairs) for name, table in tables.items() if len(table.pairs) < len(every)
    }
    return "; ".join(f"{name} has {count} of {len(every)} seeds" for name, count in fewer.items())


def _robust(evaluations: Mapping[str, Differences], pairs: Sequence[Pair]) -> dict[str, float]:
    """Robust companions of the mean over non-English languages: the interquartile mean over its
    evaluations, languages and pairs, and the probability of improvement.
    """
    effects = [
        each.languages[code].of(pairs).effects
        for each in evaluations.values()
        if NON_ENGLISH in each.estimands
        for code in each.estimands[NON_ENGLISH][1]
    ]
    return {
        "iqm": interquartile_mean(np.concatenate(effects)),
        "p_improvement": 100 * probability_of_improvement(effects),
    }


def _bootstrap(
    pairs: Mapping[Pair, tuple[Cell, Cell]],
    languages: Sequence[str],
    evaluation: str,
    metric: str,
    layout: SeedLayout,
    level: float,
) -> dict[str, float | None]:
    """The bootstrap interval of an official average if there are enough seeds.

    Args:
        pairs: seeds → the arm's and the reference's cell.
        languages: the languages of the average.
        evaluation: name of the evaluation.
        metric: its official metric.
        layout: which seeds the pairs share.
        level: coverage of the interval.
    """
    if len(pairs) < FEWEST_SEEDS or layout.shared:
        return {"bootstrap_low": None, "bootstrap_high": None}

    def scored(cell: Cell) -> dict[str, Scored]:
        return {language: cell.scored[evaluation, language] for language in languages}

    arms, references = (
        [scored(arm) for arm, _ in pairs.values()],
        [scored(reference) for _, reference in pairs.values()],
    )
    low, high = bootstrap_interval(arms, references, layout, metric, level)
    return {"bootstrap_low": low, "bootstrap_high": high}


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


def cells_of(cells: Sequence[Cell], backbone: str, arm: str, evaluation: str) -> dict[Pair, Cell]:
    """Seeds → cell, for the cells of an arm that were scored on an evaluation."""
    return {
        (cell.seed_intermediate, cell.seed_target): cell
        for cell in cells
        if cell.backbone == backbone
        and cell.arm == arm
        and any(name == evaluation for name, _ in cell.scored)
    }
