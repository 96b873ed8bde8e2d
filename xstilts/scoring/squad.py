"""SQuAD's exact match and F1 as XTREME's `third_party/evaluate_squad.py` defines them.

English normalisation is used for every language, as in the official scores of XQuAD and TyDiQA,
although it does not segment Chinese, Japanese and Thai.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(answer: str) -> str:
    """Lower case, no ASCII punctuation, no English articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, gold: str) -> float:
    """1.0 if both normalise to the same text, else 0.0."""
    return float(normalise(prediction) == normalise(gold))


def f1(prediction: str, gold: str) -> float:
    """Harmonic mean of precision and recall over the bags of normalised words; 0.0 if they share
    none.
    """
    predicted, true = normalise(prediction).split(), normalise(gold).split()
    shared = sum((Counter(predicted) & Counter(true)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(true)
    return 2 * precision * recall / (precision + recall)


def character_f1(prediction: str, gold: str) -> float:
    """F1 over the bags of characters of the normalised answers without spaces, for languages that
    do not separate words with spaces.
    """
    predicted, true = ("".join(normalise(text).split()) for text in (prediction, gold))
    shared = sum((Counter(predicted) & Counter(true)).values())
    return 2 * shared / (len(predicted) + len(true)) if shared else 0.0


def best_threshold(
    answered: Sequence[float], empty: Sequence[float], margins: Sequence[float]
) -> tuple[float, float]:
    """(score 0..100, threshold) of SQuAD v2 with the best no-answer threshold for these questions,
    as the official script's `best_f1` on English dev. Questions with a margin at or above it are
    answered.

    Args:
        answered: the score of each question if it is answered.
        empty: the score of each question if it is not answered.
        margins: log p(answer) - log p(no answer).
    """
    order = sorted(range(len(margins)), key=lambda i: -margins[i])
    total = sum(empty)
    best_total, threshold = total, float("inf")
    for rank, i in enumerate(order):
        total += answered[i] - empty[i]
        last_of_equals = rank + 1 == len(order) or margins[order[rank + 1]] < margins[i]
        if last_of_equals and total > best_total:
            best_total, threshold = total, margins[i]
    return 100.0 * best_total / len(margins), threshold


def best(score: Callable[[str, str], float], prediction: str, golds: Sequence[str]) -> float:
    """The best score of a prediction over the gold answers. ValueError if there are none."""
    if not golds:
        raise ValueError("a question has no gold answer")
    return max(score(prediction, gold) for gold in golds)
