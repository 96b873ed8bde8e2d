"""SQuAD's exact match and F1 as XTREME's `third_party/evaluate_squad.py` defines them.

English normalisation for every language: that is what the official scores of XQuAD and TyDiQA are made of, although it
segments nothing in Chinese, Japanese and Thai.
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
    """1.0 when both normalise to the same text, else 0.0."""
    return float(normalise(prediction) == normalise(gold))


def f1(prediction: str, gold: str) -> float:
    """Harmonic mean of precision and recall over the bags of normalised words; 0.0 when they share none."""
    predicted, true = normalise(prediction).split(), normalise(gold).split()
    shared = sum((Counter(predicted) & Counter(true)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(true)
    return 2 * precision * recall / (precision + recall)


def best(score: Callable[[str, str], float], prediction: str, golds: Sequence[str]) -> float:
    """The best score of a prediction over the gold answers. Raises ValueError when there is no gold answer."""
    if not golds:
        raise ValueError("a question has no gold answer")
    return max(score(prediction, gold) for gold in golds)
