"""The counts of metrics as compact columns: what is kept of a prediction besides its text.

Metrics that share a function of counts (exact match, F1 and their mean) share its columns.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from xstilts.scoring.captions import by_picture
from xstilts.scoring.metrics import CORPUS, METRICS

Column = npt.NDArray[Any]

#: Raise it when a metric counts something else. Counts of another version are made again.
VERSION = 1


def group(metric: str) -> str:
    """The first metric that has the same counts: its name is that of their columns."""
    counts = METRICS[metric].counts
    return next(name for name, other in METRICS.items() if other.counts is counts)


def column_names(metric: str) -> list[str]:
    """The columns with a metric's counts, `<group>.<number>`."""
    return [f"{group(metric)}.{number}" for number in range(len(METRICS[metric].numerator))]


def count_columns(
    metrics: Iterable[str], predictions: Sequence[Any], golds: Sequence[Any], language: str
) -> dict[str, Column]:
    """The counts of all metrics that are ratios of sums: column → [n], in its smallest exact type.

    Args:
        metrics: names of metrics; those of whole corpora have no counts.
        predictions: parsed JSON, one per example.
        golds: parsed JSON, one per example.
        language: the examples' language.
    """
    columns: dict[str, Column] = {}
    for metric in metrics:
        names = column_names(metric) if metric in METRICS else []
        if names and names[0] not in columns:
            counts = METRICS[metric].counts(predictions, golds, language)
            columns |= {name: smallest(counts[:, k]) for k, name in enumerate(names)}
    return columns


def corpus_values(
    metrics: Iterable[str],
    predictions: Sequence[Any],
    golds: Sequence[Any],
    clusters: Sequence[str],
) -> dict[str, float]:
    """The metrics that are not ratios of sums: name → 0..100 (CIDEr 0..1000).

    Args:
        metrics: names of metrics.
        predictions: parsed JSON, one per example.
        golds: parsed JSON, one per example.
        clusters: the cluster of each example, for CIDEr its picture.
    """
    values = {}
    for metric in metrics:
        if metric in CORPUS:
            pairs = (predictions, golds)
            if metric == "cider":
                pairs = by_picture(clusters, predictions, golds)
            values[metric] = CORPUS[metric](*pairs)
    return values


def smallest(values: npt.NDArray[np.float64]) -> Column:
    """The same numbers in the smallest type that has all of them exactly."""
    for kind in (np.uint8, np.uint16, np.uint32, np.float32):
        with np.errstate(invalid="ignore", over="ignore"):
            narrow = values.astype(kind)
        if np.array_equal(narrow.astype(np.float64), values):
            return narrow
    return values


def joined(parts: Sequence[Mapping[str, Column]]) -> dict[str, Column]:
    """The columns of several languages, one after another, in a type that has all numbers."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
