"""The tokens of words, answers and windows of a text: pure functions on character offsets.

The rules come from google-research/xtreme (commit 838c13b): `utils_preprocess.py`
(`udpos_tokenize_preprocess`, `panx_tokenize_preprocess`) for words,
`third_party/processors/squad.py` (`squad_convert_example_to_features`, `_new_check_is_max_context`)
for windows.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

Offsets = Sequence[tuple[int, int]]
#: Unicode categories of characters that belong to the one before them: combining marks, and format
#: characters such as U+200B.
_COMBINING = ("Mn", "Mc", "Me", "Cf")


@dataclass(frozen=True)
class WordTokens:
    """The tokens of one word of a sentence. lead: how many of `ids` are white space before the
    word, which are never tagged.
    """

    word: int
    ids: list[int]
    lead: int

    def tagged_token(self, subtoken: str) -> int:
        """The index in `ids` of the `first` or `last` token of the word itself."""
        return self.lead if subtoken == "first" else len(self.ids) - 1


def with_combining_characters(text: str, offsets: Offsets) -> list[tuple[int, int]]:
    """Offsets extended by the combining and format characters that directly follow.

    These may have a token of their own (byte-level BPE) or none (XLM-R's tokens of `cafe` + U+0301
    end before the accent). The official answers consist of whole whitespace-separated words, which
    contain these characters.
    """
    extended = []
    for start, end in offsets:
        while (
            start < end < len(text)
            and text[end] > "\x7f"
            and unicodedata.category(text[end]) in _COMBINING
        ):
            end += 1
        extended.append((start, end))
    return extended


def sentence(words: Sequence[str]) -> tuple[str, list[int]]:
    """(words joined by spaces, the word of each character or -1 for spaces between words)."""
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
    limit: int,
) -> list[WordTokens]:
    """The tokens of every word, in order.

    White space belongs to the word after it, and a token with characters of several words to the
    last of them. A word without any token, or with more than `limit`, becomes the token
    `placeholder`, as in the official preprocessing.

    Args:
        ids: of the sentence.
        offsets: characters of each token.
        owner: the word of each character, -1 between words.
        words: number of words.
        placeholder: token for words without tokens of their own.
        limit: maximum number of tokens of a word.
    """
    tokens_of: list[list[int]] = [[] for _ in range(words)]
    lead = [0] * words
    spaces: list[int] = []
    for token, (start, end) in zip(ids, offsets, strict=True):
        word = max(owner[start:end], default=-1)
        if word < 0:
            spaces.append(token)
            continue
        if not tokens_of[word]:
            tokens_of[word], lead[word] = spaces, len(spaces)
            spaces = []
        tokens_of[word].append(token)
    result = []
    for word, tokens in enumerate(tokens_of):
        if not 0 < len(tokens) - lead[word] <= limit:
            result.append(WordTokens(word, [placeholder], 0))
        elif len(tokens) > limit:  # fits only without the white space before it
            result.append(WordTokens(word, tokens[lead[word] :], 0))
        else:
            result.append(WordTokens(word, tokens, lead[word]))
    return result


def pieces(words: Sequence[WordTokens], limit: int) -> list[list[WordTokens]]:
    """The words split greedily into runs of at most `limit` tokens; one empty piece for a sentence
    without words.
    """
    runs: list[list[WordTokens]] = [[]]
    size = 0
    for word in words:
        if runs[-1] and size + len(word.ids) > limit:
            runs.append([])
            size = 0
        runs[-1].append(word)
        size += len(word.ids)
    return runs


def answer_tokens(offsets: Offsets, text: str, start: int) -> tuple[int, int] | None:
    """The first and last token with any character of the answer; None if there is none."""
    end = start + len(text)
    inside = [index for index, (a, b) in enumerate(offsets) if a < end and b > start and b > a]
    return (inside[0], inside[-1]) if inside else None


def windows(tokens: int, size: int, step: int) -> list[tuple[int, int]]:
    """Token ranges (first, end) of the windows of a context: one every `step` tokens until the end.

    500 tokens, size 370, step 128: starts 0, 128, 256. There is always at least one window.
    ValueError for a step above `size`, which would lose tokens between windows.
    """
    if not 0 < step <= size:
        raise ValueError(
            f"stride {step}: windows have space for {size} context tokens; stride must be 1 to "
            f"{size}"
        )
    ranges = [(0, min(size, tokens))]
    while ranges[-1][1] < tokens:
        first = ranges[-1][0] + step
        ranges.append((first, min(first + size, tokens)))
    return ranges


def _context(token: int, first: int, end: int) -> float:
    return min(token - first, end - 1 - token) + 0.01 * (end - first)


def max_context_ranges(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """For each window the token range (first, end) in which an answer may start.

    A token counts in the window with the most context, min(tokens to the left, tokens to the
    right) + 0.01 × the window's length; of equals, in the first. Together the ranges cover every
    token once; a range can be empty.
    """
    if len(ranges) == 1:
        return [ranges[0]]
    best: list[list[int]] = [[] for _ in ranges]
    oldest = newest = 0  # the windows that contain the token
    for token in range(ranges[-1][1]):
        while ranges[oldest][1] <= token:
            oldest += 1
        while newest + 1 < len(ranges) and ranges[newest + 1][0] <= token:
            newest += 1
        candidates = range(oldest, newest + 1)
        # max() returns the first of equals.
        best[max(candidates, key=lambda window: _context(token, *ranges[window]))].append(token)
    return [
        (tokens[0], tokens[-1] + 1) if tokens else (first, first)
        for tokens, (first, _) in zip(best, ranges, strict=True)
    ]
