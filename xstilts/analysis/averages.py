"""Averages over evaluations, each with the evaluations it covers: means over different evaluations
are not comparable.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from xstilts.official.layout import TABLES

#: Official metrics of evaluations that rank or match sentences.
RETRIEVAL = ("retrieval_accuracy", "map_at_20", "bucc_f1")


def averages(
    scores: pd.DataFrame,
    metrics: Mapping[str, Sequence[str]],
    same_data: Collection[tuple[str, str]],
    targets: Mapping[str, str],
    benchmark: str,
) -> list[dict[str, Any]]:
    """One row per backbone and arm, averaged over seeds.

    Each row has four averages. `all`: over every scored evaluation (`over`). `official`: the
    unweighted mean over the benchmark's tasks that were scored (`official_over`); `official_lacks`
    names the others. `without_retrieval`. `without_same_data`: without every evaluation whose
    training data any arm was trained on. This set is the same for all arms, so it compares them
    fairly.

    Args:
        scores: `backbone, arm, evaluation, value` in the official metric, averaged over languages.
        metrics: evaluation → its metrics, the official one first.
        same_data: (arm, trained target) pairs that share training data.
        targets: evaluation → its trained target.
        benchmark: `xtreme` or `xtreme-r`.
    """
    retrieval = {name for name, names in metrics.items() if names[0] in RETRIEVAL}
    overlapping = {target for _, target in same_data}
    shared = {name for name in metrics if targets.get(name) in overlapping}
    official = {task.evaluation: name for name, task in TABLES[benchmark].items()}
    means = (
        scores.groupby(["backbone", "arm", "evaluation"], sort=False)["value"].mean().reset_index()
    )
    rows = []
    for (backbone, arm), part in means.groupby(["backbone", "arm"], sort=False):
        values: dict[str, float] = dict(zip(part["evaluation"], part["value"], strict=True))
        tasks = {official[name]: value for name, value in values.items() if name in official}
        rows.append(
            {
                "backbone": backbone,
                "arm": arm,
                "all": _mean(values.values()),
                "evaluations": len(values),
                "over": list(values),
                "without_retrieval": _mean(
                    value for name, value in values.items() if name not in retrieval
                ),
                "without_same_data": _mean(
                    value for name, value in values.items() if name not in shared
                ),
                "same_data": sorted(shared & set(values)),
                "benchmark": benchmark,
                "official": _mean(tasks.values()),
                "official_over": list(tasks),
                "official_lacks": [name for name in TABLES[benchmark] if name not in tasks],
            }
        )
    return rows


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return float(sum(numbers) / len(numbers)) if numbers else None
