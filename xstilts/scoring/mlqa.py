"""MLQA's own exact match and F1 (Lewis et al. 2020; xtreme third_party/evaluate_mlqa.py):
punctuation of all scripts and the articles of the language are removed, and Chinese is split into
characters.
"""

import re
import string
import unicodedata
from collections import Counter
from functools import cache

_ARTICLES = {
    "en": r"\b(a|an|the)\b",
    "es": r"\b(un|una|unos|unas|el|la|los|las)\b",
    "vi": r"\b(của|là|cái|chiếc|những)\b",
    "de": r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
    "ar": r"\sال^|ال",  # as the official script has it
}
_HAN = re.compile(r"[\u4e00-\u9fa5]")
#: Languages without spaces between words that the official script splits into characters.
MIXED = ("zh",)


@cache
def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def normalise(answer: str, language: str) -> list[str]:
    """The words of an answer: lower case, no punctuation, no articles of its language; Han
    characters one by one.
    """
    text = "".join(character for character in answer.lower() if not _is_punctuation(character))
    if language in _ARTICLES:
        text = re.sub(_ARTICLES[language], " ", text)
    if language in MIXED:
        text = _HAN.sub(lambda match: f" {match[0]} ", text)
    return text.split()


def exact_match(prediction: str, gold: str, language: str) -> float:
    """1.0 if both normalise to the same words, else 0.0."""
    return float(" ".join(normalise(prediction, language)) == " ".join(normalise(gold, language)))


def f1(prediction: str, gold: str, language: str) -> float:
    """Harmonic mean of precision and recall over the bags of normalised words; 0.0 if they share
    none.
    """
    predicted, true = normalise(prediction, language), normalise(gold, language)
    shared = sum((Counter(predicted) & Counter(true)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(true)
    return 2 * precision * recall / (precision + recall)
