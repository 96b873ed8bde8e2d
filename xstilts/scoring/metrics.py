"""Metrics as sums of per-example counts, from which every statistic can be computed again.

Each metric is a ratio of two weighted sums of counts: `100 · (numerator · S) / (denominator · S)`,
where S are the counts summed over examples. Resampling examples and the delta method therefore need
only the counts. The official definitions are those of XTREME-R's `evaluate.py`. Further metrics
behave better: token_accuracy and macro_f1 next to udpos_f1, and char_f1 for languages that do not
separate words with spaces.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xstilts.scoring import mlqa, squad, vqa
from xstilts.scoring.captions import cider
from xstilts.scoring.chunks import chunk_counts

Array = npt.NDArray[np.float64]
Counts = Callable[[Sequence[Any], Sequence[Any], str], Array]


class Metric(NamedTuple):
    """counts(predictions, golds, language) → float array [n, k]. numerator, denominator: weights of
    length k.
    """

    counts: Counts
    numerator: tuple[float, ...]
    denominator: tuple[float, ...]

    def value(self, total: npt.ArrayLike) -> Any:
        """The metric, 0..100, of counts summed over examples: [..., k] → [...]. 0 for a denominator
        of 0.
        """
        return ratio_value(self.ratio(total))

    def ratio(self, counts: npt.ArrayLike) -> Array:
        """[..., k] counts → [..., 2]: the numerator and the denominator of the metric. Linear in
        the counts.
        """
        counts = np.asarray(counts, dtype=np.float64)
        return np.stack(
            [counts @ np.asarray(self.numerator), counts @ np.asarray(self.denominator)], axis=-1
        )


def ratio_value(ratio: Array) -> Any:
    """[..., 2] summed numerators and denominators → 0..100; 0 for a denominator of 0."""
    top, bottom = ratio[..., 0], ratio[..., 1]
    value = 100.0 * np.divide(top, bottom, out=np.zeros_like(top), where=bottom != 0)
    return float(value) if value.ndim == 0 else value


def _rows(count: Callable[[Any, Any], Sequence[float]], width: int) -> Counts:
    """Counts from a function of one (prediction, gold) that returns `width` numbers."""
    return _rows_in(lambda prediction, gold, _: count(prediction, gold), width)


def _rows_in(count: Callable[[Any, Any, str], Sequence[float]], width: int) -> Counts:
    """Like _rows, for a function that needs the language."""

    def counts(predictions: Sequence[Any], golds: Sequence[Any], language: str = "en") -> Array:
        if len(predictions) != len(golds):
            raise ValueError(f"{len(predictions)} predictions for {len(golds)} gold answers")
        rows = [
            count(prediction, gold, language)
            for prediction, gold in zip(predictions, golds, strict=True)
        ]
        return np.asarray(rows, dtype=np.float64).reshape(len(rows), width)

    return counts


def _correct(prediction: Any, gold: Any) -> tuple[float, float]:
    return float(prediction == gold), 1.0


def _qa(prediction: str, golds: Sequence[str]) -> tuple[float, float, float]:
    return (
        squad.best(squad.exact_match, prediction, golds),
        squad.best(squad.f1, prediction, golds),
        1.0,
    )


def _mlqa(prediction: str, golds: Sequence[str], language: str) -> tuple[float, float, float]:
    em = max(mlqa.exact_match(prediction, gold, language) for gold in golds)
    return em, max(mlqa.f1(prediction, gold, language) for gold in golds), 1.0


def _characters(prediction: str, golds: Sequence[str]) -> tuple[float, float]:
    return squad.best(squad.character_f1, prediction, golds), 1.0


def _unanswerable(
    prediction: str | Sequence[str], golds: Sequence[str]
) -> tuple[float, float, float]:
    """SQuAD v2: the empty text is right if there is no gold answer. prediction: one text, or one
    for EM and one for F1, since the official script uses different no-answer thresholds.
    """
    exact, overlap = (prediction, prediction) if isinstance(prediction, str) else prediction
    if not golds:
        return float(not exact), float(not overlap), 1.0
    return squad.best(squad.exact_match, exact, golds), squad.best(squad.f1, overlap, golds), 1.0


def _chunks(predictions: Sequence[Any], golds: Sequence[Any], language: str = "en") -> Array:
    if len(predictions) != len(golds):
        raise ValueError(f"{len(predictions)} predictions for {len(golds)} gold answers")
    return np.asarray(chunk_counts(predictions, golds), dtype=np.float64).reshape(len(golds), 3)


def _tokens(prediction: Sequence[str], gold: Sequence[str]) -> tuple[float, float]:
    if len(prediction) != len(gold):
        raise ValueError(f"{len(prediction)} predicted tags for {len(gold)} gold tags")
    return float(sum(p == g for p, g in zip(prediction, gold, strict=True))), float(len(gold))


def _average_precision(prediction: Sequence[str], gold: Sequence[str]) -> tuple[float, float]:
    """Average precision at 20. A repeated candidate takes a rank without being another hit (xtreme
    utils_lareqa.py average_precision_at_k). ValueError if there is no relevant candidate.
    """
    if not gold:
        raise ValueError("a query has no relevant candidate")
    hits, total = 0, 0.0
    targets = set(gold)
    relevant = len(targets)
    for rank, candidate in enumerate(prediction[:20], 1):
        if candidate in targets:
            targets.remove(candidate)
            hits += 1
            total += hits / rank
    return total / min(relevant, 20), 1.0


def _mined(prediction: str, gold: Sequence[str]) -> tuple[float, float, float]:
    """Numbers of (right, mined, gold) pairs of a sentence, which is mined with one other or none
    (the empty text).
    """
    return float(prediction in gold), float(bool(prediction)), float(len(gold))


_ACCURACY = Metric(_rows(_correct, 2), (1, 0), (0, 1))
_CHUNK_F1 = Metric(_chunks, (2, 0, 0), (0, 1, 1))  # 2·both / (predicted + gold)
_PAIRS_FOUND = _rows(_mined, 3)
_EM_F1, _MLQA, _V2 = _rows(_qa, 3), _rows_in(_mlqa, 3), _rows(_unanswerable, 3)

#: name → metric. `qa` is the official score of a question answering task: (EM + F1) / 2.
METRICS: Mapping[str, Metric] = {
    "accuracy": _ACCURACY,
    "squad_em": Metric(_EM_F1, (1, 0, 0), (0, 0, 1)),
    "squad_f1": Metric(_EM_F1, (0, 1, 0), (0, 0, 1)),
    "qa": Metric(_EM_F1, (0.5, 0.5, 0), (0, 0, 1)),
    "udpos_f1": _CHUNK_F1,
    "ner_f1": _CHUNK_F1,
    "char_f1": Metric(_rows(_characters, 2), (1, 0), (0, 1)),
    "mlqa_em": Metric(_MLQA, (1, 0, 0), (0, 0, 1)),
    "mlqa_f1": Metric(_MLQA, (0, 1, 0), (0, 0, 1)),
    "mlqa": Metric(_MLQA, (0.5, 0.5, 0), (0, 0, 1)),
    "squad_v2_em": Metric(_V2, (1, 0, 0), (0, 0, 1)),
    "squad_v2_f1": Metric(_V2, (0, 1, 0), (0, 0, 1)),
    "squad_v2": Metric(_V2, (0.5, 0.5, 0), (0, 0, 1)),
    "binary_f1": Metric(_rows(lambda p, g: (p == g == 1, p == 1, g == 1), 3), (2, 0, 0), (0, 1, 1)),
    "vqa_accuracy": Metric(_rows(lambda p, g: (vqa.accuracy(p, g), 1.0), 2), (1, 0), (0, 1)),
    "box_iou50": Metric(
        _rows(lambda p, g: (float(vqa.box_overlap(p, g[0]) >= 0.5), 1.0), 2), (1, 0), (0, 1)
    ),
    "token_accuracy": Metric(_rows(_tokens, 2), (1, 0), (0, 1)),
    "retrieval_accuracy": _ACCURACY,
    "bucc_f1": Metric(_PAIRS_FOUND, (2, 0, 0), (0, 1, 1)),  # of sets of pairs: evaluate.py bucc_f1
    "bucc_precision": Metric(_PAIRS_FOUND, (1, 0, 0), (0, 1, 0)),
    "bucc_recall": Metric(_PAIRS_FOUND, (1, 0, 0), (0, 0, 1)),
    "map_at_20": Metric(_rows(_average_precision, 2), (1, 0), (0, 1)),
}


def macro_f1(predictions: Sequence[Sequence[str]], golds: Sequence[Sequence[str]]) -> float:
    """0..100: the mean token F1 over all gold and predicted tags (scikit-learn's f1_score,
    macro).
    """
    both: Counter[str] = Counter()
    predicted: Counter[str] = Counter()
    true: Counter[str] = Counter()
    for prediction, gold in zip(predictions, golds, strict=True):
        predicted.update(prediction)
        true.update(gold)
        both.update(p for p, g in zip(prediction, gold, strict=True) if p == g)
    tags = sorted(predicted.keys() | true.keys())  # a sum in set order differs between processes
    return 100.0 * sum(2 * both[tag] / (predicted[tag] + true[tag]) for tag in tags) / len(tags)


#: Statistics of a whole language that are not a ratio of sums. They are reported in the results,
#: but not in effects.
CORPUS: Mapping[str, Callable[[Sequence[Any], Sequence[Any]], float]] = {
    "macro_f1": macro_f1,
    "cider": cider,
}
#: Pairs whose mean is the official score of a question answering task.
_PAIRS = {
    "qa": ("squad_f1", "squad_em"),
    "mlqa": ("mlqa_f1", "mlqa_em"),
    "squad_v2": ("squad_v2_f1", "squad_v2_em"),
}


def task_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """The metrics to report for a task, main score first: the mean of EM and F1 if both are named,
    the named metrics, and F1 over characters for question answering.

    Raises KeyError for an unknown metric.
    """
    for name in names:
        if name not in METRICS and name not in CORPUS:
            raise KeyError(f"unknown metric {name!r}; allowed: {', '.join([*METRICS, *CORPUS])}")
    means = tuple(
        mean for mean, pair in _PAIRS.items() if set(pair) <= set(names) and mean not in names
    )
    characters = ("char_f1",) if {"qa", "mlqa"} & {*means} and "char_f1" not in names else ()
    return (*means, *names, *characters)
