"""Averages over evaluations, each with what it is taken over: a mean of other evaluations is
another number.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from xstilts.official.layout import TABLES

#: First metrics of evaluations that rank or match sentences.
RETRIEVAL = ("retrieval_accuracy", "map_at_20", "bucc_f1")


def averages(
    rows: pd.DataFrame,
    metrics: Mapping[str, Sequence[str]],
    same_data: Collection[tuple[str, str]],
    targets: Mapping[str, str],
    benchmark: str,
) -> list[dict[str, Any]]:
    """One row a backbone and arm, seeds averaged. rows: `backbone, arm, evaluation, value` of
    official scores, averaged over languages; same_data: (arm, trained target) whose data are the
    same; targets: evaluation → its trained target.

    all: over every evaluation that the cell has (over). official: the unweighted mean over the
    tasks of the benchmark (evaluate.py) that are there (official_over), with the names of the
    others (official_lacks). without_retrieval. without_same_data: over the evaluations that are
    trained on no arm's own data, the same ones for every arm, so that arms can be compared by
    it.
    """
    retrieval = {name for name, given in metrics.items() if given[0] in RETRIEVAL}
    shared = {
        name for name in metrics if any(target == targets.get(name) for _, target in same_data)
    }
    official = {task.evaluation: name for name, task in TABLES[benchmark].items()}
    means = (
        rows.groupby(["backbone", "arm", "evaluation"], sort=False)["value"].mean().reset_index()
    )
    found = []
    for (backbone, arm), part in means.groupby(["backbone", "arm"], sort=False):
        values: dict[str, float] = dict(zip(part["evaluation"], part["value"], strict=True))
        tasks = {official[name]: value for name, value in values.items() if name in official}
        found.append(
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
    return found


def _mean(values: Any) -> float | None:
    found = list(values)
    return float(sum(found) / len(found)) if found else None
