"""Words, answers and windows in tokens, on small exact arrays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xstilts.data.alignment import (
    WordTokens,
    answer_tokens,
    max_context_ranges,
    pieces,
    sentence,
    windows,
    with_combining_characters,
    word_tokens,
)

UNKNOWN = 99


@pytest.mark.parametrize(
    ("text", "tokens", "expected"),
    [
        ("cafe\u0301 x", [(0, 4), (6, 7)], [(0, 5), (6, 7)]),  # a combining mark (Mn)
        (
            "Milk.[6]\u200b and",
            [(0, 5), (5, 8), (10, 13)],
            [(0, 5), (5, 9), (10, 13)],
        ),  # a format character (Cf)
        ("\u0915\u093f x", [(0, 1), (3, 4)], [(0, 2), (3, 4)]),  # a spacing mark (Mc)
        (
            "1\u20dd\u200d",
            [(0, 1)],
            [(0, 3)],
        ),  # an enclosing mark (Me), then a format character, at the end
        ("e\u0301", [(0, 1), (1, 2)], [(0, 2), (1, 2)]),  # the mark has a token of its own
        ("x\u200b y", [(0, 1), (2, 4)], [(0, 2), (2, 4)]),  # not the space that follows
        ("ab, c", [(0, 2), (4, 5)], [(0, 2), (4, 5)]),  # punctuation is not a mark
        ("\u200ba", [(1, 2)], [(1, 2)]),  # nothing before it
        ("\u0915\u094d", [(0, 1), (0, 2)], [(0, 2), (0, 2)]),  # two tokens from one character on
        ("\u200b", [(0, 0)], [(0, 0)]),  # a token without characters stays as it is
    ],
)
def test_a_token_is_extended_by_combining_and_format_characters_after_it(text, tokens, expected):
    assert with_combining_characters(text, tokens) == expected


def test_a_sentence_is_its_words_joined_by_single_spaces():
    assert sentence(["ab", "", "c"]) == ("ab  c", [0, 0, -1, -1, 2])
    assert sentence([]) == ("", [])


def of(ids, offsets, words, limit=8):
    text, owner = sentence(words)
    assert all(end <= len(text) for _, end in offsets)
    return word_tokens(ids, offsets, owner, len(words), UNKNOWN, limit)


@pytest.mark.parametrize(
    ("ids", "offsets", "words", "expected"),
    [
        ([1, 2, 3], [(0, 2), (3, 4), (4, 5)], ["ab", "cd"], [(0, [1], 0), (1, [2, 3], 0)]),
        ([1, 3], [(0, 1), (4, 5)], ["a", "\u200b", "b"], [(0, [1], 0), (1, [UNKNOWN], 0), (2, [3], 0)]),
        ([3], [(2, 3)], ["\ufeff", "b"], [(0, [UNKNOWN], 0), (1, [3], 0)]),
        ([1], [(0, 1)], ["a", "\u200c", "\ufe0f"], [(0, [1], 0), (1, [UNKNOWN], 0), (2, [UNKNOWN], 0)]),
        ([], [], ["\u200f\u200f"], [(0, [UNKNOWN], 0)]),
        ([1, 2, 3], [(0, 1), (1, 2), (2, 3)], ["a", "b"], [(0, [1], 0), (1, [2, 3], 1)]),  # 2 is the space
        ([1, 2, 3], [(0, 1), (1, 3), (3, 5)], ["a", "\u3000", "b"], [(0, [1], 0), (1, [2], 0), (2, [3], 0)]),
        ([1, 2], [(0, 1), (1, 6)], ["a", "\xa0", "\xa0b"], [(0, [1], 0), (1, [UNKNOWN], 0), (2, [2], 0)]),
        ([1, 2], [(0, 1), (1, 2)], ["a", ""], [(0, [1], 0), (1, [UNKNOWN], 0)]),
    ],
)  # fmt: skip
def test_every_word_has_tokens_or_the_placeholder(ids, offsets, words, expected):
    assert of(ids, offsets, words) == [WordTokens(*word) for word in expected]


def test_a_word_longer_than_a_piece_becomes_the_placeholder():
    ids, offsets = [1, 2, 3, 4], [(0, 1), (2, 3), (3, 4), (4, 5)]
    assert of(ids, offsets, ["a", "bcd"], limit=3)[1] == WordTokens(1, [2, 3, 4], 0)
    assert of(ids, offsets, ["a", "bcd"], limit=2)[1] == WordTokens(1, [UNKNOWN], 0)


def test_a_word_that_only_fits_without_the_space_before_it_loses_the_space():
    ids, offsets = [1, 9, 2, 3], [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert of(ids, offsets, ["a", "bc"], limit=3)[1] == WordTokens(1, [9, 2, 3], 1)
    assert of(ids, offsets, ["a", "bc"], limit=2)[1] == WordTokens(1, [2, 3], 0)


def test_a_word_is_tagged_at_its_first_or_last_token_and_never_at_the_space_before():
    assert WordTokens(0, [9, 2, 3], 1).tagged_token("first") == 1
    assert WordTokens(0, [9, 2, 3], 1).tagged_token("last") == 2


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), max_size=12), st.integers(1, 7),
)  # fmt: skip
def test_pieces_contain_every_word_once_in_order_and_are_as_long_as_possible(shapes, limit):
    ids, offsets, owner = [], [], []
    for word, (spaces, length) in enumerate(shapes):
        for kind in [-1] * spaces + [word] * length:
            offsets.append((len(owner), len(owner) + 1))
            ids.append(len(owner))
            owner.append(kind)
    words = word_tokens(ids, offsets, owner, len(shapes), UNKNOWN, limit)
    runs = pieces(words, limit)
    assert [word.word for piece in runs for word in piece] == list(range(len(shapes)))
    sizes = [sum(len(word.ids) for word in piece) for piece in runs]
    assert all(size <= limit for size in sizes)
    assert all(
        size + len(later[0].ids) > limit for size, later in zip(sizes, runs[1:], strict=False)
    )


def test_the_tokens_of_an_answer_are_those_with_any_of_its_characters():
    offsets = [(0, 3), (3, 4), (4, 4), (4, 9), (10, 12)]
    assert answer_tokens(offsets, "x" * 3, 2) == (0, 3)
    assert answer_tokens(offsets, "x" * 4, 4) == (3, 3)
    assert answer_tokens(offsets, " ", 9) is None


def test_windows_begin_every_step_tokens_like_the_official_doc_stride():
    """500 context tokens, a question of 10, max_seq_length 384 and XLM-R's 4 special tokens
    leave 370.
    """
    assert windows(500, 370, 128) == [(0, 370), (128, 498), (256, 500)]
    assert windows(498, 370, 128) == [(0, 370), (128, 498)]
    assert windows(370, 370, 128) == [(0, 370)]
    assert windows(0, 370, 128) == [(0, 0)]
    assert windows(5, 2, 2) == [(0, 2), (2, 4), (4, 5)]


@pytest.mark.parametrize("step", [0, 371])
def test_windows_that_would_lose_tokens_are_refused(step):
    with pytest.raises(ValueError, match="stride must be 1 to 370"):
        windows(500, 370, step)


def test_an_answer_starts_in_the_window_with_the_most_context():
    """Of windows (0, 10), (4, 14), (8, 15) token 7 has min(7, 2) + 0.1 on one side in the first
    and min(3, 6) + 0.1 in the second; token 6 has 3.1 in the first and 2.1 in the second.
    """
    assert max_context_ranges([(0, 10), (4, 14), (8, 15)]) == [(0, 7), (7, 11), (11, 15)]
    assert max_context_ranges([(0, 3)]) == [(0, 3)]
    assert max_context_ranges([(0, 0)]) == [(0, 0)]
    assert max_context_ranges([(0, 100), (50, 101)]) == [(0, 75), (75, 101)]


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 20))
def test_the_start_ranges_of_all_windows_cover_every_token_once(tokens, limit, step):
    ranges = windows(tokens, limit, min(step, limit))
    starts = max_context_ranges(ranges)
    assert sorted(token for first, end in starts for token in range(first, end)) == list(
        range(tokens)
    )
    for (first, end), (a, b) in zip(ranges, starts, strict=True):
        assert a == b or first <= a < b <= end
        for token in range(a, b):
            mine, others = (
                [min(token - f, e - 1 - token) + 0.01 * (e - f) for f, e in kind if f <= token < e]
                for kind in ([(first, end)], ranges)
            )
            assert mine[0] == max(others)
