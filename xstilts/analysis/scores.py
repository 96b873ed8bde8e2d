"""The table of scores, `results.parquet`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from xstilts.analysis.estimands import AVERAGE, ENGLISH, GAP, NON_ENGLISH
from xstilts.analysis.inputs import Cell, ReportInput, Scored

COLUMNS = (
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
)


def results_table(report: ReportInput) -> pd.DataFrame:
    """One row per cell, checkpoint, evaluation, language and metric.

    `language` is a language or an aggregate: `avg`, the official unweighted mean over the
    benchmark's languages; `non_en`, the same without English; `gap`, English minus `non_en`.
    `checkpoint` is `selected`, or `last` for the weights of the last update if English dev selected
    earlier ones.
    """
    rows: list[dict[str, Any]] = []
    averaged = {
        evaluation: report.averaged(evaluation, languages)
        for evaluation, languages in _languages(report.cells).items()
    }
    for cell in report.cells:
        for evaluation, selected in _by_evaluation(cell).items():
            last = {language: scored.last for language, scored in selected.items() if scored.last}
            for metric in report.metrics[evaluation]:
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
                for checkpoint, scored in (("selected", selected), ("last", last)):
                    languages = [code for code in averaged[evaluation] if code in scored]
                    rows += [
                        {**head, "checkpoint": checkpoint, **row}
                        for row in _values(scored, metric, languages)
                    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    for column in ("seed", "seed_intermediate", "seed_target"):
        table[column] = table[column].astype("Int64")
    return table


def averages_table(results: pd.DataFrame) -> pd.DataFrame:
    """One row per backbone, arm and evaluation of a table of scores: the official average, its mean
    over seeds, and the standard error over them (missing with one seed).

    The official metric of an evaluation is the first of its rows.
    """
    rows = results[(results["checkpoint"] == "selected") & (results["language"] == AVERAGE)]
    official = results.groupby("evaluation", sort=False)["metric"].transform("first")
    rows = rows[rows["metric"] == official.loc[rows.index]]
    keys = ["backbone", "arm", "evaluation", "metric"]
    means = rows.groupby(keys, sort=False)["value"].agg(["mean", "sem", "count"]).reset_index()
    return means.rename(columns={"mean": "score", "sem": "standard_error", "count": "cells"})


def _values(
    scored: Mapping[str, Scored], metric: str, averaged: Sequence[str]
) -> Iterator[dict[str, Any]]:
    values = {language: each.value(metric) for language, each in scored.items()}
    for language, each in scored.items():
        yield {
            "split": each.split,
            "language": language,
            "n": len(each.ids),
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


def _languages(cells: Sequence[Cell]) -> dict[str, list[str]]:
    """evaluation → every language that some cell was scored in."""
    languages: dict[str, dict[str, None]] = {}
    for cell in cells:
        for evaluation, language in cell.scored:
            languages.setdefault(evaluation, {})[language] = None
    return {evaluation: list(codes) for evaluation, codes in languages.items()}


def _by_evaluation(cell: Cell) -> dict[str, dict[str, Scored]]:
    evaluations: dict[str, dict[str, Scored]] = {}
    for (evaluation, language), scored in cell.scored.items():
        evaluations.setdefault(evaluation, {})[language] = scored
    return evaluations
