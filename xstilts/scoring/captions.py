"""CIDEr-D (Vedantam et al. 2015) of captions, without Java.

The official scorer cuts texts with Stanford's PTB tokenizer, a Java program, and drops its
punctuation tokens. Here words are runs of letters, digits and apostrophes in lower case, so scores
differ a little from published ones (contractions and hyphens); within this project they are
comparable. Document frequencies are those of the references that are scored.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"[\w']+")
_SIGMA, _LONGEST = 6.0, 4
Grams = list[Counter[tuple[str, ...]]]


def cider(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """CIDEr-D times 100, as papers print it (a caption equal to all its references: 1000).
    references: the captions of each picture.
    """
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} captions for {len(references)} pictures")
    golds = [[_grams(text) for text in texts] for texts in references]
    seen: Counter[tuple[str, ...]] = Counter()
    for texts in golds:
        seen.update({gram for grams in texts for counts in grams for gram in counts})
    total = math.log(max(2, len(references)))
    scores = [
        sum(_similarity(_grams(told), gold, seen, total) for gold in texts) / len(texts)
        for told, texts in zip(predictions, golds, strict=True)
    ]
    return 100.0 * sum(scores) / len(scores)


def _grams(text: str) -> Grams:
    words = _WORD.findall(text.lower())
    return [
        Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
        for n in range(1, _LONGEST + 1)
    ]


def _similarity(told: Grams, gold: Grams, seen: Counter[tuple[str, ...]], total: float) -> float:
    """The mean over n-gram lengths of the clipped tf-idf cosine, with a penalty for another
    length; times 10.
    """
    gap = sum(told[0].values()) - sum(gold[0].values())
    penalty = math.exp(-(gap**2) / (2 * _SIGMA**2))
    score = 0.0
    for one, other in zip(told, gold, strict=True):
        weights = {gram: total - math.log(max(1, seen[gram])) for gram in {**one, **other}}
        mine = {gram: count * weights[gram] for gram, count in one.items()}
        theirs = {gram: count * weights[gram] for gram, count in other.items()}
        norms = math.sqrt(sum(v * v for v in mine.values())) * math.sqrt(
            sum(v * v for v in theirs.values())
        )
        if norms:
            score += (
                sum(
                    min(value, theirs.get(gram, 0.0)) * theirs.get(gram, 0.0)
                    for gram, value in mine.items()
                )
                / norms
            )
    return 10.0 * penalty * score / _LONGEST
