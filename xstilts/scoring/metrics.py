"""The metrics, as sums of per-example counts, so that every statistic can be computed again from predictions.

Each metric is a ratio of two weighted sums of counts: `100 · (numerator · S) / (denominator · S)`, S the counts summed
over examples. Resampling examples and the delta method therefore need nothing but the counts.
Official definitions: XTREME-R's `evaluate.py`. token_accuracy is the better-behaved number beside udpos_f1.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xstilts.scoring import squad
from xstilts.scoring.chunks import chunk_counts

Array = npt.NDArray[np.float64]
Counts = Callable[[Sequence[Any], Sequence[Any]], Array]


class Metric(NamedTuple):
    """counts(predictions, golds) → float array [n, k] of one language; the ratio's weights, each of length k."""

    counts: Counts
    numerator: tuple[float, ...]
    denominator: tuple[float, ...]

    def value(self, total: npt.ArrayLike) -> Any:
        """The metric, 0..100, of counts summed over examples: [..., k] → [...]. 0 where there is nothing to score."""
        return ratio_value(self.ratio(total))

    def ratio(self, counts: npt.ArrayLike) -> Array:
        """[..., k] counts → [..., 2]: the numerator and the denominator of the metric. Linear in the counts."""
        counts = np.asarray(counts, dtype=np.float64)
        return np.stack([counts @ np.asarray(self.numerator), counts @ np.asarray(self.denominator)], axis=-1)


def ratio_value(ratio: Array) -> Any:
    """[..., 2] summed numerators and denominators → 0..100; 0 where the denominator is 0."""
    top, bottom = ratio[..., 0], ratio[..., 1]
    value = 100.0 * np.divide(top, bottom, out=np.zeros_like(top), where=bottom != 0)
    return float(value) if value.ndim == 0 else value


def _rows(count: Callable[[Any, Any], Sequence[float]], width: int) -> Counts:
    """counts for a function of one (prediction, gold) that returns `width` numbers."""

    def counts(predictions: Sequence[Any], golds: Sequence[Any]) -> Array:
        if len(predictions) != len(golds):
            raise ValueError(f"{len(predictions)} predictions for {len(golds)} gold answers")
        rows = [count(prediction, gold) for prediction, gold in zip(predictions, golds, strict=True)]
        return np.asarray(rows, dtype=np.float64).reshape(len(rows), width)

    return counts


def _correct(prediction: Any, gold: Any) -> tuple[float, float]:
    return float(prediction == gold), 1.0


def _qa(prediction: str, golds: Sequence[str]) -> tuple[float, float, float]:
    return squad.best(squad.exact_match, prediction, golds), squad.best(squad.f1, prediction, golds), 1.0


def _tokens(prediction: Sequence[str], gold: Sequence[str]) -> tuple[float, float]:
    if len(prediction) != len(gold):
        raise ValueError(f"{len(prediction)} predicted tags for {len(gold)} gold tags")
    return float(sum(p == g for p, g in zip(prediction, gold, strict=True))), float(len(gold))


_ACCURACY = Metric(_rows(_correct, 2), (1, 0), (0, 1))
_CHUNK_F1 = Metric(_rows(chunk_counts, 3), (2, 0, 0), (0, 1, 1))  # 2·both / (predicted + gold)
_EM_F1 = _rows(_qa, 3)

#: name → metric. `qa` is the official score of a question answering task: (EM + F1) / 2.
METRICS: Mapping[str, Metric] = {
    "accuracy": _ACCURACY,
    "squad_em": Metric(_EM_F1, (1, 0, 0), (0, 0, 1)),
    "squad_f1": Metric(_EM_F1, (0, 1, 0), (0, 0, 1)),
    "qa": Metric(_EM_F1, (0.5, 0.5, 0), (0, 0, 1)),
    "udpos_f1": _CHUNK_F1,
    "ner_f1": _CHUNK_F1,
    "token_accuracy": Metric(_rows(_tokens, 2), (1, 0), (0, 1)),
    "retrieval_accuracy": _ACCURACY,
}


def task_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """The metrics to report for a task, its score first: the names, with `qa` before SQuAD's pair.

    Raises KeyError for a metric that does not exist.
    """
    for name in names:
        if name not in METRICS:
            raise KeyError(f"unknown metric {name!r}; there are {', '.join(METRICS)}")
    qa = ("qa",) if {"squad_em", "squad_f1"} <= set(names) and "qa" not in names else ()
    return (*qa, *names)
