"""CIDEr-D (Vedantam et al. 2015) of captions, without Java.

The official scorer uses Stanford's PTB tokenizer, a Java program, and drops punctuation tokens.
Here words are runs of letters, digits and apostrophes in lower case, so scores differ slightly from
published ones (contractions, hyphens); within this project they are comparable. Document
frequencies are those of the scored references.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

_WORD = re.compile(r"[\w']+")
_SIGMA, _MAX_N = 6.0, 4
Grams = list[Counter[tuple[str, ...]]]


def cider(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """CIDEr-D times 100, as papers print it: 1000 for a caption equal to all its references.

    Args:
        predictions: one caption per image.
        references: the captions of each image.
    """
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} captions for {len(references)} images")
    golds = [[_grams(text) for text in texts] for texts in references]
    seen: Counter[tuple[str, ...]] = Counter()
    for texts in golds:
        seen.update({gram for grams in texts for counts in grams for gram in counts})
    total = math.log(max(2, len(references)))
    scores = [
        sum(_similarity(_grams(prediction), gold, seen, total) for gold in texts) / len(texts)
        for prediction, texts in zip(predictions, golds, strict=True)
    ]
    return 100.0 * sum(scores) / len(scores)


def by_picture(
    clusters: Sequence[str], predictions: Sequence[Any], golds: Sequence[Any]
) -> tuple[list[Any], list[list[str]]]:
    """One caption and all references per picture (cluster): COCO has one row per reference."""
    captions: dict[str, Any] = {}
    references: dict[str, list[str]] = {}
    for cluster, prediction, gold in zip(clusters, predictions, golds, strict=True):
        captions.setdefault(cluster, prediction)
        references.setdefault(cluster, []).extend(gold)
    return list(captions.values()), list(references.values())


def _grams(text: str) -> Grams:
    words = _WORD.findall(text.lower())
    return [
        Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
        for n in range(1, _MAX_N + 1)
    ]


def _similarity(
    prediction: Grams, gold: Grams, seen: Counter[tuple[str, ...]], total: float
) -> float:
    """The mean over n-gram lengths of the clipped tf-idf cosine, with a penalty for a different
    length; times 10.
    """
    gap = sum(prediction[0].values()) - sum(gold[0].values())
    penalty = math.exp(-(gap**2) / (2 * _SIGMA**2))
    score = 0.0
    for predicted, true in zip(prediction, gold, strict=True):
        weights = {gram: total - math.log(max(1, seen[gram])) for gram in {**predicted, **true}}
        vector = {gram: count * weights[gram] for gram, count in predicted.items()}
        gold_vector = {gram: count * weights[gram] for gram, count in true.items()}
        norms = math.sqrt(sum(v * v for v in vector.values())) * math.sqrt(
            sum(v * v for v in gold_vector.values())
        )
        if norms:
            product = sum(
                min(value, gold_vector.get(gram, 0.0)) * gold_vector.get(gram, 0.0)
                for gram, value in vector.items()
            )
            score += product / norms
    return 10.0 * penalty * score / _MAX_N
