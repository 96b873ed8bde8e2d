"""Chunks over all sentences of a file, counted in the sentence that they end in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xstilts.scoring.chunks import chunk_counts, chunks
from xstilts.tasks.registry import TASKS

OFFICIAL_TAGS = sorted({*TASKS["udpos"].labels, *TASKS["wikiann"].labels, "_"})
SENTENCES = st.lists(st.lists(st.sampled_from(OFFICIAL_TAGS), min_size=1, max_size=6), max_size=6)


def test_a_chunk_that_never_started_begins_with_the_file() -> None:
    """seqeval 0.0.12: get_entities([["O"], ["O-PER", "L-PER"]]) is [("PER", 0, 3)]."""
    assert chunks([["O"], ["O-PER", "L-PER"]]) == [set(), {("PER", 0, 3)}]


def test_a_chunk_that_never_started_begins_with_the_chunk_before_it() -> None:
    """seqeval 0.0.12: get_entities([["O", "B-LOC"], ["O-PER", "L-PER"]]) is [("LOC", 1, 1),
    ("PER", 1, 4)].
    """
    assert chunks([["O", "B-LOC"], ["O-PER", "L-PER"]]) == [{("LOC", 1, 1)}, {("PER", 1, 4)}]


def test_the_same_tags_after_other_chunks_are_another_chunk() -> None:
    assert chunk_counts([["B-LOC"], ["O-PER", "L-PER"]], [["O"], ["O-PER", "L-PER"]]) == [
        (0, 1, 0),
        (1, 1, 1),
    ]
    assert chunk_counts([["O", "B-LOC"], ["O-PER", "L-PER"]], [["O", "O"], ["O-PER", "L-PER"]]) == [
        (0, 1, 0),
        (0, 1, 1),
    ]


@given(SENTENCES)
def test_with_official_tags_a_sentence_does_not_depend_on_the_others(
    sentences: list[list[str]],
) -> None:
    together, start = chunks(sentences), 0
    for sentence, found in zip(sentences, together, strict=True):
        assert found == {
            (kind, first + start, last + start) for kind, first, last in chunks([sentence])[0]
        }
        start += len(sentence) + 1


def test_an_empty_tag_is_refused() -> None:
    with pytest.raises(ValueError, match="sentence 1: the tag at position 0 is empty"):
        chunks([["O"], [""]])


def test_a_sentence_of_other_length_is_refused() -> None:
    with pytest.raises(ValueError, match="sentence 1: 1 predicted tags for 2 gold tags"):
        chunk_counts([["O"], ["O"]], [["O"], ["O", "O"]])
