"""Which tokens a text's words, answers and windows have. Pure functions over character offsets.

Sources of the rules: google-research/xtreme (commit 838c13b) `utils_preprocess.py`
(`udpos_tokenize_preprocess`, `panx_tokenize_preprocess`) for words,
`third_party/processors/squad.py` (`squad_convert_example_to_features`, `_new_check_is_max_context`)
for windows.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

Offsets = Sequence[tuple[int, int]]
#: Unicode categories that belong to the character before them: combining marks, and format
#: characters such as U+200B.
_ATTACHED = ("Mn", "Mc", "Me", "Cf")


@dataclass(frozen=True)
class WordTokens:
    """The tokens of one word of a sentence. lead: how many of `ids` are white space before the
    word, which never answer for it.
    """

    word: int
    ids: list[int]
    lead: int

    def answering(self, subtoken: str) -> int:
        """The position in `ids` of the `first` or `last` token of the word itself."""
        return self.lead if subtoken == "first" else len(self.ids) - 1


def with_attached(text: str, offsets: Offsets) -> list[tuple[int, int]]:
    """Offsets whose ends take in the combining and format characters that follow directly,
    whether a token of their own covers them (byte-level BPE) or none does (XLM-R's tokens of
    `cafe` + U+0301 end before the accent). Officially an answer's characters are those of whole
    whitespace words, which hold these characters too.
    """
    made = []
    for start, end in offsets:
        while (
            start < end < len(text)
            and text[end] > "\x7f"
            and unicodedata.category(text[end]) in _ATTACHED
        ):
            end += 1
        made.append((start, end))
    return made


def sentence(words: Sequence[str]) -> tuple[str, list[int]]:
    """(words joined by spaces, for each character the word that it belongs to, -1 for the spaces
    between).
    """
    owner: list[int] = []
    for index, word in enumerate(words):
        owner += [-1] * bool(index) + [index] * len(word)
    return " ".join(words), owner


def word_tokens(
    ids: Sequence[int],
    offsets: Offsets,
    owner: Sequence[int],
    words: int,
    placeholder: int,
    room: int,
) -> list[WordTokens]:
    """The tokens of every word, in order. owner: for each character its word, -1 between words.

    White space goes with the word after it; a token that holds characters of several words belongs
    to the last of them. A word without any token, or with more than `room`, is the one token
    `placeholder`, as in the official preprocessing.
    """
    held: list[list[int]] = [[] for _ in range(words)]
    lead = [0] * words
    spaces: list[int] = []
    for token, (start, end) in zip(ids, offsets, strict=True):
        word = max(owner[start:end], default=-1)
        if word < 0:
            spaces.append(token)
            continue
        if not held[word]:
            held[word], lead[word] = spaces, len(spaces)
            spaces = []
        held[word].append(token)
    made = []
    for word, tokens in enumerate(held):
        if not 0 < len(tokens) - lead[word] <= room:
            made.append(WordTokens(word, [placeholder], 0))
        elif len(tokens) > room:  # with the space before it: without
            made.append(WordTokens(word, tokens[lead[word] :], 0))
        else:
            made.append(WordTokens(word, tokens, lead[word]))
    return made


def pieces(words: Sequence[WordTokens], room: int) -> list[list[WordTokens]]:
    """Runs of words of at most `room` tokens, each as long as it can be; one empty piece for a
    sentence without words.
    """
    made: list[list[WordTokens]] = [[]]
    held = 0
    for word in words:
        if made[-1] and held + len(word.ids) > room:
            made.append([])
            held = 0
        made[-1].append(word)
        held += len(word.ids)
    return made


def answer_tokens(offsets: Offsets, text: str, start: int) -> tuple[int, int] | None:
    """First and last token that hold any character of the answer; None when none does."""
    end = start + len(text)
    inside = [place for place, (a, b) in enumerate(offsets) if a < end and b > start and b > a]
    return (inside[0], inside[-1]) if inside else None


def windows(tokens: int, room: int, step: int) -> list[tuple[int, int]]:
    """Token ranges (first, end) of the windows of a context: one every `step` tokens, each of
    `room` tokens, until one reaches the end. 500 tokens, room 370, step 128: starts 0, 128, 256.
    At least one window, also of no tokens. ValueError for a step over `room`, which would lose
    tokens between windows.
    """
    if not 0 < step <= room:
        raise ValueError(
            f"windows of {room} context tokens cannot begin every {step} tokens: stride must be 1 to {room}"
        )
    made = [(0, min(room, tokens))]
    while made[-1][1] < tokens:
        first = made[-1][0] + step
        made.append((first, min(first + room, tokens)))
    return made


def _context(token: int, first: int, end: int) -> float:
    return min(token - first, end - 1 - token) + 0.01 * (end - first)


def fullest_context(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """For each window the token range (first, end) in which an answer may start there: the
    tokens that have their maximum context in it, min(tokens to the left, tokens to the right) +
    0.01 × the window's length, the earlier window of equals. Together the ranges hold every
    token once; one can be empty.
    """
    if len(ranges) == 1:
        return [ranges[0]]
    best: list[list[int]] = [[] for _ in ranges]
    oldest = newest = 0  # the windows that hold the token
    for token in range(ranges[-1][1]):
        while ranges[oldest][1] <= token:
            oldest += 1
        while newest + 1 < len(ranges) and ranges[newest + 1][0] <= token:
            newest += 1
        held = range(oldest, newest + 1)
        best[max(held, key=lambda window: _context(token, *ranges[window]))].append(
            token
        )  # of equals the first
    return [
        (own[0], own[-1] + 1) if own else (first, first)
        for own, (first, _) in zip(best, ranges, strict=True)
    ]
