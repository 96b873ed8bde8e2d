"""The tables of a report: scores, and effects (arm minus reference) with their intervals and
corrected p values.

Statistics: layout (which seeds pairs share), variance (standard errors), estimands (what is
averaged), multiplicity (what is corrected together). docs/methods.md explains them.
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
    Summed,
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
from xstilts.plan.seed_layout import Layout, Pair
from xstilts.scoring.metrics import METRICS

LEVEL = 0.95
#: The metric of pooled rows: each evaluation's official one.
OFFICIAL = "official"
#: The largest score of metrics that do not end at 100.
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


def results_table(given: ReportInput) -> pd.DataFrame:
    """One row for each cell, evaluation, language (and `avg`: the official unweighted mean over
    the benchmark's languages; `non_en`: over those that are not English; `gap`: English minus
    `non_en`) and metric. checkpoint: `selected` counts; `last` rows stand beside where English
    dev chose earlier weights.
    """
    rows = []
    averaged = {
        evaluation: given.averaged(evaluation, known)
        for evaluation, known in _known(given.cells).items()
    }
    for cell in given.cells:
        for evaluation, scored in _by_evaluation(cell).items():
            for metric in given.metrics[evaluation]:
                head = {
                    "backbone": cell.backbone,
                    "arm": cell.arm,
                    "seed": cell.seed,
                    "seed_intermediate": cell.seed_intermediate,
                    "seed_target": cell.seed_target,
                    "trained_target": cell.trained_target,
                    "evaluation": evaluation,
                    "metric": metric,
                }
                last = {language: one.last for language, one in scored.items() if one.last}
                for checkpoint, chosen in (("selected", scored), ("last", last)):
                    rows += [
                        {**head, "checkpoint": checkpoint, **row}
                        for row in _values(
                            chosen,
                            metric,
                            [lang for lang in averaged[evaluation] if lang in chosen],
                        )
                    ]
    order = [
        "backbone",
        "arm",
        "seed",
        "seed_intermediate",
        "seed_target",
        "trained_target",
        "checkpoint",
        "evaluation",
        "split",
        "language",
        "metric",
        "value",
        "n",
    ]
    table = pd.DataFrame(rows, columns=order)
    for column in ("seed", "seed_intermediate", "seed_target"):
        table[column] = table[column].astype("Int64")
    return table


def _values(
    scored: Mapping[str, Scored], metric: str, averaged: Sequence[str]
) -> Iterator[dict[str, Any]]:
    values = {language: one.value(metric) for language, one in scored.items()}
    for language, one in scored.items():
        yield {
            "split": one.split,
            "language": language,
            "n": len(one.ids),
            "value": values[language],
        }
    if averaged:
        splits = "+".join(sorted({scored[language].split for language in averaged}))
        count = sum(len(scored[language].ids) for language in averaged)
        mean = float(np.mean([values[language] for language in averaged]))
        yield {"split": splits, "language": AVERAGE, "n": count, "value": mean}
    others = [language for language in averaged if language != ENGLISH]
    if others:
        rest = sum(len(scored[language].ids) for language in others)
        mean = float(np.mean([values[language] for language in others]))
        yield {"split": splits, "language": NON_ENGLISH, "n": rest, "value": mean}
    if ENGLISH in values and others:
        gap = values[ENGLISH] - mean
        yield {"split": splits, "language": GAP, "n": count, "value": gap}


def _known(cells: Sequence[Cell]) -> dict[str, list[str]]:
    """evaluation → every language that a cell was scored in."""
    known: dict[str, dict[str, None]] = {}
    for cell in cells:
        for evaluation, language in cell.scored:
            known.setdefault(evaluation, {})[language] = None
    return {evaluation: list(languages) for evaluation, languages in known.items()}


def _by_evaluation(cell: Cell) -> dict[str, dict[str, Scored]]:
    found: dict[str, dict[str, Scored]] = {}
    for (evaluation, language), scored in cell.scored.items():
        found.setdefault(evaluation, {})[language] = scored
    return found


def effects_table(given: ReportInput) -> pd.DataFrame:
    """Every contrast for every backbone, evaluation, language and metric, with the rows `avg`,
    `non_en` and `gap`; then the same pooled over evaluations, and the differences of the pooled
    effect between backbones. Columns as COLUMNS.
    """
    summed, level = Summed(), confidence(given)
    rows = [
        row
        for contrast in given.contrasts
        for row in _contrast_rows(given, contrast, summed, level)
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    # Two contrasts of the same arm with `none` are one square of the heat map, and one test.
    again = (table["family"] == HEAT_MAP) & table.duplicated(
        ["family", "backbone", "arm", "evaluation"]
    )
    table.loc[again, "family"] = EXPLORATORY
    return adjusted(table)


def confidence(given: ReportInput) -> float:
    """The level of the report's intervals."""
    return float(given.expanded.get("plan", {}).get("confidence", LEVEL))


def _contrast_rows(
    given: ReportInput, contrast: Mapping[str, Any], summed: Summed, level: float
) -> Iterator[dict[str, Any]]:
    headline = given.expanded.get("headline")
    pools: dict[str, dict[str, Differences]] = {}
    for backbone in dict.fromkeys(cell.backbone for cell in given.cells):
        for evaluation, metrics in given.metrics.items():
            arms = cells_of(given.cells, backbone, contrast["arm"], evaluation)
            references = cells_of(given.cells, backbone, contrast["reference"], evaluation)
            pairs = paired(arms, references)
            if not pairs:
                continue
            same = same_data(given, contrast, next(iter(arms.values())).trained_target)
            for metric in (name for name in metrics if name in METRICS):
                found = differences(
                    pairs, evaluation, metric, summed, partial(given.averaged, evaluation)
                )
                if metric == metrics[0] and metric not in RETRIEVAL and not same:
                    pools.setdefault(backbone, {})[evaluation] = found
                head = _head(contrast, backbone) | {
                    "evaluation": evaluation,
                    "metric": metric,
                    "same_data": same,
                }
                for language, (table, over) in found.estimands.items():
                    more = {
                        "n_examples": sum(found.examples[code] for code in over),
                        "n_languages": len(over),
                        "left_out": " ".join(found.left_out),
                    }
                    row = _row(head | {"language": language} | more, table, level)
                    if language == AVERAGE and metric == metrics[0] and row["p"] is not None:
                        row |= _bootstrap(pairs, over, evaluation, metric, table.layout, level)
                    yield row | {"family": family_of(row, contrast, headline, metrics[0])}
    yield from _pooled_rows(contrast, pools, level, headline)


def unpaired(given: ReportInput) -> Iterator[tuple[str, str, str, str]]:
    """(contrast, backbone, evaluation, reason) where both arms were scored and nothing can be
    compared.
    """
    for contrast in given.contrasts:
        for backbone in dict.fromkeys(cell.backbone for cell in given.cells):
            for evaluation in given.metrics:
                arms, references = (
                    cells_of(given.cells, backbone, contrast[side], evaluation)
                    for side in ("arm", "reference")
                )
                if not arms or not references:
                    continue
                cells = [cell for both in paired(arms, references).values() for cell in both]
                spoken = [
                    {code for name, code in cell.scored if name == evaluation} for cell in cells
                ]
                if not cells:
                    yield contrast["name"], backbone, evaluation, "no seeds in common"
                elif not set.intersection(*spoken):
                    yield (
                        contrast["name"],
                        backbone,
                        evaluation,
                        "no language that all paired cells have",
                    )


def _head(contrast: Mapping[str, Any], backbone: str) -> dict[str, Any]:
    return {
        "contrast": contrast["name"],
        "backbone": backbone,
        "arm": contrast["arm"],
        "reference": contrast["reference"],
    }


def same_data(given: ReportInput, contrast: Mapping[str, Any], target: str) -> bool:
    """Whether either arm of a contrast was trained on the trained target's own data."""
    overlaps = {
        (row["arm"], row["trained_target"]): row["overlap"] for row in given.expanded["overlaps"]
    }
    return "same-data" in (overlaps.get((contrast[side], target)) for side in ("arm", "reference"))


def _pooled_rows(
    contrast: Mapping[str, Any],
    pools: Mapping[str, Mapping[str, Differences]],
    level: float,
    headline: str | None,
) -> Iterator[dict[str, Any]]:
    """The mean over evaluations that are neither retrieval nor the own data of either arm, for
    each backbone, and the differences between backbones.
    """
    head = {"evaluation": POOLED, "metric": OFFICIAL, "same_data": False}
    for backbone, found in pools.items():
        for language in (NON_ENGLISH, ENGLISH, GAP, AVERAGE):
            tables, more = _pool(found, language)
            table = pooled(tables)
            if table is not None:
                row = _row(
                    _head(contrast, backbone) | head | {"language": language} | more, table, level
                )
                if language == NON_ENGLISH:
                    row |= _robust(found, table.pairs)
                yield row | {"family": family_of(row, contrast, headline, OFFICIAL)}
    for one, other in combinations(pools, 2):
        yield from _interaction_row(contrast, {one: pools[one], other: pools[other]}, head, level)


def _interaction_row(
    contrast: Mapping[str, Any],
    pools: Mapping[str, Mapping[str, Differences]],
    head: dict[str, Any],
    level: float,
) -> Iterator[dict[str, Any]]:
    """The first backbone's pooled effect minus the second's, over the evaluations and languages
    of both. What only one of them has is named in left_out.
    """
    first, second = pools.values()
    dropped = [
        f"{name}: whole" for name in {**first, **second} if name not in first or name not in second
    ]
    sides: tuple[dict[str, Differences], dict[str, Differences]] = ({}, {})
    for name in (name for name in first if name in second):
        languages = [set(side[name].averaged) for side in (first, second)]
        apart = [
            code
            for code in {**first[name].languages, **second[name].languages}
            if code in languages[0] ^ languages[1]
        ]
        if apart:
            dropped.append(f"{name}: {' '.join(apart)}")
        for kept, side in zip(sides, (first, second), strict=True):
            kept[name] = side[name].restricted(languages[0] & languages[1])
    (tables, more), (others, _) = (_pool(side, NON_ENGLISH) for side in sides)
    one, other = pooled(tables), pooled(others)
    table = None if one is None or other is None else interaction(one, other)
    if table is not None:
        more = more | {"left_out": "; ".join([*dropped, *filter(None, [more["left_out"]])])}
        name = " minus ".join(pools)
        yield _row(
            _head(contrast, name) | head | {"language": NON_ENGLISH, "family": INTERACTION} | more,
            table,
            level,
        )


def _pool(
    found: Mapping[str, Differences], language: str
) -> tuple[dict[str, Table], dict[str, Any]]:
    """(evaluation → its table of an estimand, what is in it: languages, examples, evaluations,
    and which of these have fewer seeds than others, so that the mean has fewer).
    """
    chosen = {
        name: one.estimands[language] for name, one in found.items() if language in one.estimands
    }
    codes = {code for _, over in chosen.values() for code in over}
    examples = sum(
        found[name].examples[code] for name, (_, over) in chosen.items() for code in over
    )
    tables = {name: table for name, (table, _) in chosen.items()}
    return tables, {
        "n_languages": len(codes),
        "n_examples": examples,
        "pooled_over": " ".join(tables),
        "left_out": _fewer(tables),
    }


def _fewer(tables: Mapping[str, Table]) -> str:
    """The evaluations that lack seeds of other evaluations; empty where all have the same."""
    every = {pair for table in tables.values() for pair in table.pairs}
    lacking = {
        name: len(table.pairs) for name, table in tables.items() if len(table.pairs) < len(every)
    }
    return "; ".join(f"{name} has {count} of {len(every)} seeds" for name, count in lacking.items())


def _robust(found: Mapping[str, Differences], pairs: Sequence[Pair]) -> dict[str, float]:
    """Beside the mean over non-English languages: the interquartile mean over its evaluations,
    languages and pairs, and the probability of improvement.
    """
    effects = [
        one.languages[code].of(pairs).effects
        for one in found.values()
        if NON_ENGLISH in one.estimands
        for code in one.estimands[NON_ENGLISH][1]
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
    shape: Layout,
    level: float,
) -> dict[str, float | None]:
    """The second interval of an official average where seeds are many, else nothing."""
    if len(pairs) < FEWEST_SEEDS or shape.shared:
        return {"bootstrap_low": None, "bootstrap_high": None}

    def scored(cell: Cell) -> dict[str, Scored]:
        return {language: cell.scored[evaluation, language] for language in languages}

    arms, references = (
        [scored(a) for a, _ in pairs.values()],
        [scored(r) for _, r in pairs.values()],
    )
    low, high = bootstrap_interval(arms, references, shape, metric, level)
    return {"bootstrap_low": low, "bootstrap_high": high}


def _row(head: Mapping[str, Any], table: Table, level: float) -> dict[str, Any]:
    # The effect on a gap, and the difference between two backbones, are differences of two effects.
    twice = 2 if head["language"] == GAP or head.get("family") == INTERACTION else 1
    found: Interval = table.interval(level, twice * LARGEST.get(head["metric"], 100.0))
    return {
        "n_seeds": table.layout.replicates,
        "seeds": table.layout.seeds,
        "pooled_over": "",
        "iqm": None,
        "p_improvement": None,
        "bootstrap_low": None,
        "bootstrap_high": None,
        **head,
        "effect": found.effect,
        "ci_low": found.low,
        "ci_high": found.high,
        "ci_method": found.method,
        "p": found.p,
        "mde": found.mde,
    }


def cells_of(cells: Sequence[Cell], backbone: str, arm: str, evaluation: str) -> dict[Pair, Cell]:
    return {
        (cell.seed_intermediate, cell.seed_target): cell
        for cell in cells
        if cell.backbone == backbone
        and cell.arm == arm
        and any(name == evaluation for name, _ in cell.scored)
    }
