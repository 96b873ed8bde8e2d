"""SQuAD's exact match and F1 as XTREME's `third_party/evaluate_squad.py` defines them.

English normalisation for every language: that is what the official scores of XQuAD and TyDiQA are
made of, although it segments nothing in Chinese, Japanese and Thai.
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
    """Harmonic mean of precision and recall over the bags of normalised words; 0.0 when they
    share none.
    """
    predicted, true = normalise(prediction).split(), normalise(gold).split()
    shared = sum((Counter(predicted) & Counter(true)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(true)
    return 2 * precision * recall / (precision + recall)


def character_f1(prediction: str, gold: str) -> float:
    """F1 over the bags of characters of the normalised answers, spaces left out: for text that
    spaces do not part.
    """
    predicted, true = ("".join(normalise(text).split()) for text in (prediction, gold))
    shared = sum((Counter(predicted) & Counter(true)).values())
    return 2 * shared / (len(predicted) + len(true)) if shared else 0.0


def best_threshold(
    answered: Sequence[float], empty: Sequence[float], margins: Sequence[float]
) -> tuple[float, float]:
    """(score 0..100, threshold) of SQuAD v2 where a question is answered if its margin is above
    a threshold that is tuned on these very questions: English dev, as the official script's
    `best_f1`. answered, empty: a question's score if it is answered and if it is not; margins:
    log p(answer) - log p(no answer).
    """
    order = sorted(range(len(margins)), key=lambda i: -margins[i])
    total = sum(empty)
    found = (total, float("inf"))
    for place, i in enumerate(order):
        total += answered[i] - empty[i]
        last = place + 1 == len(order) or margins[order[place + 1]] < margins[i]
        if last and total > found[0]:
            found = (total, margins[i])
    return 100.0 * found[0] / len(margins), found[1]


def best(score: Callable[[str, str], float], prediction: str, golds: Sequence[str]) -> float:
    """The best score of a prediction over the gold answers. Raises ValueError when there is no
    gold answer.
    """
    if not golds:
        raise ValueError("a question has no gold answer")
    return max(score(prediction, gold) for gold in golds)
