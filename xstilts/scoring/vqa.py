"""Visual question answering: VQA accuracy (Antol et al. 2015) and the overlap of boxes.

The normalisation is that of the official VQA evaluation (vqaEval.py): commas between digits, full
stops without a following digit, punctuation, number words and articles. Deviation: its table that
restores apostrophes (`dont`) is not used.
"""

import re
from collections.abc import Sequence

_NUMBERS = {
    word: str(value)
    for value, word in enumerate("zero one two three four five six seven eight nine ten".split())
} | {"none": "0"}  # fmt: skip
_ARTICLES = {"a", "an", "the"}
_PUNCTUATION = re.compile(r"""[;/\[\]"{}()=+\\_<>@`,?!\-]""")
_PERIOD = re.compile(r"\.(?!\d)")
_COMMA = re.compile(r"(?<=\d),(?=\d)")


def normalise(answer: str) -> str:
    """The normal form in which VQA compares answers."""
    text = answer.replace("\n", " ").replace("\t", " ").strip().lower()
    text = _COMMA.sub("", text)
    text = _PERIOD.sub("", _PUNCTUATION.sub(" ", text))
    words = [_NUMBERS.get(word, word) for word in text.split() if word not in _ARTICLES]
    return " ".join(words)


def accuracy(prediction: str, answers: Sequence[str]) -> float:
    """0..1: the mean over annotators of min(1, equal answers of the others / 3).

    Args:
        prediction: an answer.
        answers: the training answer, then those of the annotators; without annotators, the
            accuracy is equality with the training answer.
    """
    predicted, others = normalise(prediction), [normalise(answer) for answer in answers[1:]]
    if not others:
        return float(predicted == normalise(answers[0]))
    equal = sum(predicted == other for other in others)
    each = [min(1.0, (equal - (predicted == other)) / 3) for other in others]
    return sum(each) / len(each)


def box_overlap(prediction: str, gold: str) -> float:
    """Intersection over union of two boxes written `[left, top, right, bottom]`; 0 for text that is
    not a box.
    """
    boxes = [
        [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", text)] for text in (prediction, gold)
    ]
    if any(len(box) != 4 for box in boxes):
        return 0.0
    (a, b, c, d), (e, f, g, h) = boxes
    width, height = min(c, g) - max(a, e), min(d, h) - max(b, f)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((c - a) * (d - b) + (g - e) * (h - f) - shared)
