"""Queries and candidates of LAReQA and Mewsli-X, as the official code makes them."""

import json
from typing import Any

import pytest

from xstilts.tasks.benchmarks.lareqa import question_and_sentence
from xstilts.tasks.benchmarks.mewslix import (
    entity,
    mention_and_entity,
    mention_text,
    mentions,
)
from xstilts.tasks.sentences import sentence_spans

CONTEXT = (
    "Officials met on Monday in the capital. " * 6
    + "The {old} bridge in Prague was closed. It reopened later."
)
SPAN = {"start": CONTEXT.index("Prague"), "end": CONTEXT.index("Prague") + 6, "text": "Prague"}
QUERY = "Prague: The (old) bridge in { Prague } was closed."
SENTENCES = [{"start": first, "end": last} for first, last in sentence_spans(CONTEXT)]
DESCRIBED = {"entity_id": "Q1085", "description": "Prague is a city.\nIt lies on the  Vltava. Cut."}


@pytest.mark.parametrize("sentences", [[], [(first["start"], first["end"]) for first in SENTENCES]])
def test_a_query_keeps_the_sentence_of_its_mention(sentences: list[tuple[int, int]]) -> None:
    assert mention_text(CONTEXT, SPAN["start"], SPAN["end"], sentences) == QUERY  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("context", "mention", "expected"),
    [
        ("{a} b { c", "b", "b: (a) { b } { c"),  # only balanced braces
        ("x {y} z", "{y}", "{y}: x { {y} } z"),  # not those of the mention
        ("one\ntwo three", "two", "two: one { two } three"),
        ("彼は東京にいた。大阪は遠い。", "大阪", "大阪: { 大阪 } は遠い。"),
        (
            "He met J. Smith in U.S. courts. Then left.",
            "Smith",
            "Smith: He met J. { Smith } in U.S. courts.",
        ),
    ],
)
def test_marks_around_a_mention(context: str, mention: str, expected: str) -> None:
    start = context.index(mention)
    assert mention_text(context, start, start + len(mention)) == expected


def test_a_mention_across_sentences_keeps_them_all() -> None:
    assert mention_text("A b. C d. E f.", 2, 6, [(0, 4), (5, 9), (10, 14)]) == "b. C: A { b. C } d."


def test_the_data_sets_own_sentences_decide() -> None:
    assert (
        mention_text("One. Two three. Four", 9, 14, [(0, 20)]) == "three: One. Two { three } . Four"
    )


@pytest.mark.parametrize("span", [(5, 5), (-1, 3), (3, 999)])
def test_an_empty_mention_is_a_bad_row(span: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="mention_span"):
        mention_text("some text", *span)


NESTED_CONTEXT = {"text": CONTEXT, "document_id": "d", "sentence_spans": SENTENCES}
NESTED_MENTION = {"example_id": "m", "mention_span": SPAN, "entity_id": "Q1085"}
LAYOUTS: dict[str, dict[str, Any]] = {
    "columns": {"context": NESTED_CONTEXT, "mention": NESTED_MENTION, "entity": DESCRIBED},
    "official": {"contextual_mention": {"context": NESTED_CONTEXT, "mention": NESTED_MENTION}, "entity": DESCRIBED},
    "spans as datasets writes them": {
        "context": {**NESTED_CONTEXT, "sentence_spans": {key: [span[key] for span in SENTENCES] for key in ("start", "end")}},
        "mention": NESTED_MENTION, "entity": DESCRIBED,
    },
    "texts of JSON": {
        "mention": json.dumps({"context": NESTED_CONTEXT, "mention": NESTED_MENTION}), "entity": json.dumps(DESCRIBED),
    },
    "texts": {"mention": QUERY, "entity": "Prague is a city. It lies on the Vltava. Cut.", "example_id": "m"},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_training_pair_is_the_same_in_every_layout(layout: str) -> None:
    example = mention_and_entity(LAYOUTS[layout], 3, "en")
    assert (example.id, example.text) == ("m", QUERY)
    assert example.text_pair == "Prague is a city. It lies on the Vltava. Cut."


def test_flat_queries_and_nested_ones_are_the_same() -> None:
    (nested,) = mentions({"context": NESTED_CONTEXT, "mentions": [NESTED_MENTION]}, 0, "en")
    (flat,) = mentions({"mention": QUERY, "entity_id": "Q1085", "example_id": "m"}, 0, "en")
    assert (
        (nested.id, nested.text, nested.relevant)
        == (flat.id, flat.text, flat.relevant)
        == ("m", QUERY, ("Q1085",))
    )


def test_a_flat_query_without_an_id_is_named_by_its_row() -> None:
    assert mentions({"mention": QUERY, "entity_id": "Q1085"}, 7, "en")[0].id == "7"


def test_a_mention_whose_text_is_elsewhere_is_a_bad_row() -> None:
    moved = {**NESTED_MENTION, "mention_span": {**SPAN, "start": 0, "end": 6}}
    (query,) = mentions({"context": NESTED_CONTEXT, "mentions": [moved]}, 0, "en")
    assert "mention_span 0-6 is 'Offici' in the context, but its text is 'Prague'" in query.flaw


def test_a_candidate_is_the_sentences_of_its_description() -> None:
    spans = [{"start": 0, "end": 17}, {"start": 18, "end": 42}]
    assert (
        entity({**DESCRIBED, "sentence_spans": spans}, 0, "en").text
        == "Prague is a city. It lies on the Vltava."
    )


def squad(context: str, answer: str) -> dict[str, Any]:
    return {
        "id": "q", "title": "t", "context": context, "question": "Who?",
        "answers": {"text": [answer], "answer_start": [context.index(answer)]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("context", "answer", "sentence"),
    [
        ("Dr. A. Smith came. He left at 5 p.m. on Monday.", "left", "He left at 5 p.m. on Monday."),
        ("It was No. 5.[note 1] The rest vs. Them won!", "5", "It was No. 5.[note 1]"),
        ("Born in 1900 (b. 1900) he wrote. “So!” he said.", "So", "“So!” he said."),
    ],
)
def test_a_training_sentence_is_that_of_the_official_sentence_breaker(
    context: str, answer: str, sentence: str
) -> None:
    example = question_and_sentence(squad(context, answer), 0, "en")
    assert example is not None
    assert example.text_pair == sentence + context
