"""Sentences as XTREME-R's own sentence breaker finds them."""

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from xstilts.tasks.sentences import sentence_spans

#: SHA-256 of the JSON of the spans that google-research/xtreme third_party/processors/sb_sed.py
#: (838c13b) gives for the paragraphs of the 4,000 SQuAD rows of the slices.
OFFICIAL_SPANS = "2ad6a16109facb42ea3cdd72fe9a675de25665549389124832dcf8e57bac9cdf"


@pytest.mark.parametrize(
    "sentences",
    [
        ["One came.", "Two left!", "“Three?”", "4 stayed."],
        ["Dr. A. B. Smith met Gen. Lee on Jan. 5 vs. Nobody.", "He won."],
        ["It is so.[note 1][c]", "The rest is not."],
        ["Sold to J. K. Rowling for Rs. 5 as No. 7 of Vol. II.", "It sold."],
        ["They play in Washington, D.C.", "They win on the Wii U.", "Fans cheer."],
        ["No capital follows. so this is one sentence"],
    ],
)
def test_sentences(sentences: list[str]) -> None:
    text = "  ".join(sentences)
    assert [text[first:last] for first, last in sentence_spans(text)] == sentences


def test_a_line_end_does_not_end_a_sentence() -> None:
    assert sentence_spans("one\ntwo.\nThree") == [(0, 8), (9, 14)]


def test_a_text_without_words_has_no_sentences() -> None:
    assert sentence_spans(" \n ") == []


def test_squad_paragraphs_have_the_official_sentences(hub: Path) -> None:
    (path,) = (hub / "rajpurkar/squad/plain_text").glob("train-*.parquet")
    contexts = pq.read_table(path, columns=["context"]).column("context").to_pylist()
    spans = [sentence_spans(context) for context in contexts]
    assert hashlib.sha256(json.dumps(spans).encode()).hexdigest() == OFFICIAL_SPANS
