"""Adversarial files, and what google-research/xtreme evaluate.py (commit 838c13b) makes of them:
the same number, or a refusal that names the file and the line or key.

The official values were computed by running its `evaluate_one_task` on these very texts, with
seqeval 0.0.12 and Python 3.11 in an environment of its own; CRASH stands for an exception there.
None of its code is here.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

from xstilts.errors import DataError
from xstilts.official.grade import score_language
from xstilts.official.layout import TABLES

# fmt: off
#: The official script ends with an exception.
CRASH: Literal["crash"] = "crash"
#: Line separators for `str.splitlines()` that do not end a line of a Python text file: VT, FF, FS,
#: GS, RS, NEL, LS, PS.
NOT_LINE_ENDS = ("\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")


class Case(NamedTuple):
    """task, language: as official. prediction, label: the texts of the two files. official:
    accuracy, F1, (EM, F1) or mAP@20, or CRASH. refusal: what our error says after the name of
    the file; empty where our scores are the official ones.
    """

    name: str
    task: str
    language: str
    prediction: str
    label: str
    official: tuple[float, ...] | Literal["crash"]
    refusal: str = ""


def squad(*entries: tuple[object, list[str]]) -> str:
    """A SQuAD document of (id, answers)."""
    qas = [{"id": name, "answers": [{"text": text} for text in texts]} for name, texts in entries]
    return json.dumps({"data": [{"paragraphs": [{"qas": qas}]}]}, ensure_ascii=False)


def plain(**answers: object) -> str:
    """A JSON object by id."""
    return json.dumps(answers, ensure_ascii=False)


def _lines() -> Iterator[tuple[Any, ...]]:
    for c in NOT_LINE_ENDS:
        yield f"{c!r} inside a line is text", "xnli", "en", f"neutral{c}x\nneutral\n", f"neutral{c}x\nentailment\n", (50.0,)
        yield f"{c!r} at the end of a line is stripped", "xnli", "en", f"neutral{c}\nneutral\n", "neutral\nentailment\n", (50.0,)
        yield f"{c!r} alone is a blank line", "panx", "en", f"B-PER\n{c}\nI-PER\n\n", "B-PER\n\nB-PER\n\n", (100.0,)
        yield f"{c!r} inside a tag is text", "udpos", "en", f"NOUN{c}NOUN\nVERB\n\n", "NOUN\nVERB\n\n", (50.0,)
        official, refusal = (CRASH, ":1: needs an object with an integer label") if c < " " else ((100.0,), "")
        row = f'{{"label": 1, "note": "a{c}b"}}\n'
        yield f"{c!r} inside a JSON line", "xcopa", "et", row, '{"label": 1}\n', official, refusal
        yield f"{c!r} inside a pair is text", "bucc2018", "de", f"de-1{c}\ten-1\nde-2\ten-2\n", "de-1\ten-1\nde-2\ten-2\n", (50.0,)
    yield "CR LF ends a line", "xnli", "en", "neutral\r\nneutral\r\n", "neutral\nentailment\n", (50.0,)
    yield "CR alone ends a line", "xnli", "en", "neutral\rneutral\r", "neutral\nentailment\n", (50.0,)
    yield "a missing last line end", "xnli", "en", "neutral\nneutral", "neutral\nentailment\n", (50.0,)
    yield "a trailing blank line in both files counts as right", "xnli", "en", "neutral\nneutral\n\n", "neutral\nentailment\n\n", (66.66666666666666,)
    yield "a trailing blank line in one file", "xnli", "en", "neutral\n\n", "neutral\n", CRASH, ": 2 lines, and 1 in"
    yield "a blank line is a label like others", "xnli", "en", "\nneutral\n", "neutral\nneutral\n", (50.0,)
    yield "a byte order mark is text", "xnli", "en", "\ufeffneutral\nneutral\n", "neutral\nneutral\n", (50.0,)
    yield "a byte order mark in both files", "xnli", "en", "\ufeffneutral\nneutral\n", "\ufeffneutral\nneutral\n", (100.0,)
    yield "no-break and ideographic spaces are stripped", "xnli", "en", "\u3000neutral\u00a0\n", "neutral\n", (100.0,)
    yield "a zero-width space is text", "xnli", "en", "neutral\u200b\nneutral\n", "neutral\nneutral\n", (50.0,)
    yield "upper case is another label", "xnli", "en", "Neutral\nneutral\n", "neutral\nneutral\n", (50.0,)
    yield "a column after the label is part of it", "xnli", "en", "neutral\tx\nneutral\n", "neutral\nneutral\n", (50.0,)
    yield "an empty file", "xnli", "en", "", "neutral\n", CRASH, ": 0 lines, and 1 in"
    yield "two empty files", "xnli", "en", "", "", CRASH, ": has no line"
    yield "bytes that are not UTF-8", "xnli", "en", "neutral\n\udcff\n", "neutral\nneutral\n", CRASH, ":2: is not UTF-8"
    yield "other spellings of a number are other labels", "tatoeba", "de", "01\n+1\n1.0\n 1 \n", "1\n1\n1\n1\n", (25.0,)
    yield "full-width digits are other labels", "pawsx", "de", "\uff11\n1\n", "1\n1\n", (50.0,)


def _tags() -> Iterator[tuple[Any, ...]]:
    yield "a missing last line end after tags", "panx", "en", "B-PER\nO", "B-PER\nB-LOC", (66.66666666666666,)
    yield "an empty sentence in both files", "panx", "en", "B-PER\n\n\nO\n\n", "B-PER\n\n\nB-LOC\n\n", (66.66666666666666,)
    yield "a leading blank line in both files", "panx", "en", "\nB-PER\n", "\nB-PER\n", (100.0,)
    yield "trailing blank lines in both files", "panx", "en", "B-PER\n\n\n\n", "B-PER\n\n\n\n", (100.0,)
    yield "an empty sentence in one file", "panx", "en", "B-PER\n\n\nO\n\n", "B-PER\n\nO\n\n", CRASH, ": 3 sentences, and 2 in"
    yield "one tag too many", "udpos", "en", "DET\n\nNOUN\nVERB\nX\n\nADJ\n\n", "DET\n\nNOUN\nVERB\n\nADJ\n\n", (66.66666666666666,), (
        ":3: sentence 2 has 3 tags, and 2 in"
    )
    yield "one tag too few", "udpos", "en", "DET\n\nNOUN\n\nADJ\n\n", "DET\n\nNOUN\nVERB\n\nADJ\n\n", (57.14285714285715,), (
        ":3: sentence 2 has 1 tag, and 2 in"
    )
    yield "two empty tag files", "udpos", "en", "", "", (0.0,), ": has no sentence"
    yield "a chunk that began in the sentence before", "panx", "en", "O\n\nO-PER\nL-PER\n\n", "O\n\nO-PER\nL-PER\n\n", (100.0,)
    yield "a chunk whose begin is the last chunk's", "panx", "en", (
        "B-PER\nO\n\nO-PER\nL-PER\n\n"), "O\nO\n\nO-PER\nL-PER\n\n", (66.66666666666666,)
    yield "a chunk whose begin is the same by accident", "panx", "en", (
        "B-PER\nO\n\nO-PER\nL-PER\n\n"), "B-LOC\nO\n\nO-PER\nL-PER\n\n", (50.0,)
    yield "a bare tag that begins with O", "udpos", "en", "OTHER\nNOUN\n\nOTHER\nOTHER\n\n", "NOUN\nOTHER\n\nOTHER\nNOUN\n\n", (0.0,)
    yield "tags of type O", "panx", "en", "B-O\nI-O\n\nL-O\nO\n\n", "I-O\nL-O\n\nL-O\nL-PER\n\n", (0.0,)
    yield "tags that begin with a point", "panx", "en", ".\n.-PER\nI-PER\n\n", "O\n.-PER\nI-PER\n\n", (100.0,)
    yield "runs of equal bare tags are one chunk", "udpos", "en", "NOUN\nNOUN\nVERB\n\n", "NOUN\nVERB\nVERB\n\n", (0.0,)
    yield "bare tags that begin with S are not", "udpos", "en", "SYM\nSYM\nSCONJ\nSCONJ\n\n", "SYM\nSYM\nSYM\nSCONJ\n\n", (75.0,)
    yield "INTJ begins like I", "udpos", "en", "INTJ\nINTJ\nNOUN\n\n", "NOUN\nINTJ\nNOUN\n\n", (40.0,)
    yield "IOB1 and IOBES", "panx", "en", "I-PER\nI-PER\nE-LOC\nS-ORG\n\n", "B-PER\nI-PER\nS-LOC\nE-ORG\n\n", (100.0,)
    yield "a hyphen in the type", "panx", "en", "B-a-b\nI-c-b\n\n", "B-b\nI-b\n\n", (100.0,)
    yield "a tag without a type", "panx", "en", "B-\nI-\n-\n_\n\n", "B-\nI-PER\n-\n_\n\n", (33.33333333333333,)
    yield "lower case", "panx", "en", "b-per\ni-per\n\n", "B-PER\nI-PER\n\n", (0.0,)
    yield "nothing but O", "panx", "en", "O\nO\n\n", "O\nO\n\n", (0.0,)
    yield "a column after the tag is part of it", "panx", "en", "B-PER x\nI-PER\n\n", "B-PER\nI-PER\n\n", (0.0,)


RIGHT = (("a", ["cat"]), ("a", ["cat"]), ("b", ["dog"]), ("c", ["the"]), ("d", ["cow"]))


def _answers() -> Iterator[tuple[Any, ...]]:
    yield "a question that is listed twice counts twice", "xquad", "en", plain(a="cat", b="dog", c="a", d="x"), squad(*RIGHT), (80.0, 60.0)
    yield "the same for MLQA", "mlqa", "en", plain(a="cat", b="dog", c="a", d="x"), squad(*RIGHT), (80.0, 60.0)
    yield "one id with two gold answers", "tydiqa", "en", plain(a="cat"), squad(("a", ["cat"]), ("a", ["a dog"])), (50.0, 50.0)
    yield "of duplicate keys the last counts", "xquad", "en", '{"a": "dog", "a": "cat"}', squad(("a", ["cat"])), (100.0, 100.0)
    yield "duplicate keys in the labels", "xquad", "en", plain(b="cat"), (
        '{"data": [{"paragraphs": [{"qas": [{"id": "a", "id": "b", "answers": [{"text": "x", "text": "cat"}]}]}]}]}'), (100.0, 100.0)
    yield "wrapped predictions", "xquad", "en", plain(data={"a": "cat"}, version="1.1"), squad(("a", ["cat"])), (100.0, 100.0)
    yield "twice wrapped predictions", "xquad", "en", plain(data={"data": {"a": "cat"}}), squad(("a", ["cat"])), (0.0, 0.0), (
        ": data needs a string, and has"
    )
    yield "an id called data", "xquad", "en", plain(data="cat", a="cat"), squad(("data", ["cat"]), ("a", ["cat"])), CRASH, (
        ": expected a JSON object by id, not text (the value of its key `data`"
    )
    yield "an id called data, wrapped", "xquad", "en", plain(data={"data": "cat", "a": "x"}), (
        squad(("data", ["cat"]), ("a", ["cat"]))), (50.0, 50.0)
    yield "an integer id", "xquad", "en", plain(**{"1": "cat"}), squad((1, ["cat"])), CRASH, (
        ": data[0].paragraphs[0].qas[0] needs a string as its id, and has 1"
    )
    yield "an id that is null", "xquad", "en", plain(a="cat"), squad(("a", ["cat"]), (None, ["cat"])), CRASH, (
        ": data[0].paragraphs[0].qas[1] needs a string as its id, and has None"
    )
    yield "an entry without an id", "xquad", "en", plain(a="cat"), '{"data": [{"paragraphs": [{"qas": [{"answers": []}]}]}]}', CRASH, (
        ": data[0].paragraphs[0].qas[0] is not a SQuAD question (KeyError: 'id')"
    )
    yield "answers as the hub has them", "xquad", "en", plain(a="cat"), (
        '{"data": [{"paragraphs": [{"qas": [{"id": "a", "answers": {"text": ["cat"], "answer_start": [0]}}]}]}]}'
    ), CRASH, ": data[0].paragraphs[0].qas[0] is not a SQuAD question (TypeError"
    yield "a document that is a list of articles", "xquad", "en", plain(a="cat"), (
        '[{"paragraphs": [{"qas": [{"id": "a", "answers": [{"text": "cat"}]}]}]}]'), (100.0, 100.0)
    yield "a document without data", "xquad", "en", plain(a="cat"), '{"paragraphs": []}', CRASH, ": data[0] is not SQuAD format"
    yield "an answer that is null", "xquad", "en", plain(a=None), squad(("a", ["cat"])), CRASH, ": a needs a string, and has 'None'"
    yield "an answer that is a list", "mlqa", "en", plain(a=["cat"]), squad(("a", ["cat"])), CRASH, ": a needs a string, and has"
    yield "predictions as a list", "xquad", "en", '["a"]', squad(("a", ["cat"])), CRASH, ": expected a JSON object by id, not a list"
    yield "a question that is not answered", "xquad", "en", plain(a="cat"), squad(("a", ["cat"]), ("b", ["cat"])), (50.0, 50.0)
    yield "an answer to no question", "xquad", "en", plain(a="cat", z="cat"), squad(("a", ["dog", "cat"])), (100.0, 100.0)
    yield "an empty answer", "xquad", "en", plain(a="", b=""), squad(("a", ["cat"]), ("b", [""])), (50.0, 0.0)
    yield "answers of articles alone are equal and share nothing", "xquad", "en", plain(a="the"), squad(("a", ["an"])), (100.0, 0.0)
    yield "a question without gold answers", "xquad", "en", plain(a="cat"), squad(("a", [])), CRASH, ": the question a has no answer"
    yield "a question without gold answers, unanswered", "xquad", "en", plain(b="cat"), squad(("a", []), ("b", ["cat"])), (50.0, 50.0), (
        ": the question a has no answer"
    )
    yield "labels without questions", "xquad", "en", plain(a="cat"), squad(), CRASH, ": has no question"
    yield "a byte order mark before JSON", "xquad", "en", "\ufeff" + plain(a="cat"), squad(("a", ["cat"])), CRASH, (
        ":1: is not JSON"
    )
    yield "a comma too many", "xquad", "en", '{"a": "cat",\n}', squad(("a", ["cat"])), CRASH, ":2: is not JSON"
    yield "nesting without end", "xquad", "en", "[" * 100_000, squad(("a", ["cat"])), CRASH, ": is not JSON that Python can read"
    yield "a number of 5,000 digits", "xquad", "en", '{"a": ' + "1" * 5_000 + "}", squad(("a", ["cat"])), CRASH, (
        ": is not JSON that Python can read"
    )
    yield "separators and controls inside an answer", "xquad", "en", plain(a="a\u2028cat\x85", b="\u200bcat"), (
        squad(("a", ["cat"]), ("b", ["cat"]))), (50.0, 50.0)
    yield "SQuAD removes ASCII punctuation alone", "xquad", "es", plain(a="¿gato?", b="«gato»!", c="(gato)"), (
        squad(("a", ["gato"]), ("b", ["gato"]), ("c", ["gato"]))), (33.333333333333336, 33.333333333333336)
    yield "SQuAD removes English articles in every language", "xquad", "de", plain(a="a Katze", b="die Katze", c="thé"), (
        squad(("a", ["Katze"]), ("b", ["Katze"]), ("c", ["e"]))), (33.333333333333336, 55.55555555555555)
    yield "lower case is Python's", "xquad", "tr", plain(a="İstanbul", b="ISPARTA", c="STRASSE"), (
        squad(("a", ["istanbul"]), ("b", ["ısparta"]), ("c", ["straße"]))), (0.0, 0.0)


#: MLQA's language → (prediction, gold answer, EM, F1): articles, punctuation and segmentation of
#: its own.
MLQA: dict[str, list[tuple[str, str, float, float]]] = {
    "en": [
        ("the «cat»!", "cat", 100.0, 100.0), ("theory of a cat", "theory of cat", 100.0, 100.0),
        ("An  apple—pie", "apple pie", 0.0, 0.0), ("cat’s", "cats", 100.0, 100.0),
    ],
    "es": [
        ("¿El gato?", "gato", 100.0, 100.0), ("unas gatas", "las gatas", 100.0, 100.0),
        ("láser la mano", "laser mano", 0.0, 50.0), ("un ¡uno!", "uno", 100.0, 100.0),
    ],
    "de": [
        ("dem Haus", "Haus", 100.0, 100.0), ("„Der“ Hund", "eines Hund", 100.0, 100.0),
        ("derselbe", "selbe", 0.0, 0.0), ("EINEM großen", "grossen", 0.0, 0.0),
    ],
    "vi": [
        ("của con mèo", "con mèo", 100.0, 100.0), ("là những mèo", "mèo", 100.0, 100.0),
        ("củacon", "con", 0.0, 0.0), ("cu\u0309a con", "con", 0.0, 66.66666666666666),
    ],
    "ar": [
        ("الكتاب", "كتاب", 100.0, 100.0), ("في البيت، الكبير", "في بيت كبير", 100.0, 100.0),
        ("كتاب؟", "كتاب", 100.0, 100.0), ("قال", "ق", 100.0, 100.0),
    ],
    "hi": [
        ("यह एक बिल्ली है।", "यह एक बिल्ली है", 100.0, 100.0), ("the बिल्ली", "बिल्ली", 0.0, 66.66666666666666),
        ("१२॥", "१२", 100.0, 100.0), ("क्‍या", "क्या", 0.0, 0.0),
    ],
    "zh": [
        ("中国ABC中", "中国 abc 中", 100.0, 100.0), ("「北京」，上海。", "北京上海", 100.0, 100.0),
        ("𠀀𠀁", "𠀀 𠀁", 0.0, 0.0), ("3.5公里", "35公里", 100.0, 100.0), ("北京", "北", 0.0, 66.66666666666666),
    ],
}


def _mlqa() -> Iterator[tuple[Any, ...]]:
    for language, rows in MLQA.items():
        for number, (prediction, gold, exact, f1) in enumerate(rows, 1):
            name = f"articles, punctuation and words of {language} ({number})"
            yield name, "mlqa", language, plain(a=prediction), squad(("a", [gold])), (exact, f1)


TWENTY = [f"Q{place}" for place in range(20)]


def _rankings() -> Iterator[tuple[Any, ...]]:
    yield "gold ids are stripped", "mewslix", "de", plain(a=["Q2", "Q1"]), plain(a=[" Q1\n"]), (50.0,)
    yield "predicted ids are not", "mewslix", "de", plain(a=["Q1 ", "Q1"]), plain(a=["Q1"]), (50.0,)
    yield "ids with a space on both sides", "mewslix", "de", plain(a=["Q1 "]), plain(a=["Q1 "]), (0.0,)
    yield "the 20th and the 21st candidate", "mewslix", "de", plain(a=[*TWENTY[1:], "Q0"], b=[*TWENTY, "Q20"]), (
        plain(a=["Q0"], b=["Q20"])), (2.5,)
    yield "a duplicate candidate takes a place", "mewslix", "de", plain(a=["Q2", "Q2", "Q1", "Q1"]), plain(a=["Q1"]), (33.33333333333333,)
    yield "queries that only one side has", "mewslix", "de", plain(a=["Q1"], z=["Q1"]), plain(a=["Q1"], b=["Q1"]), (50.0,)
    yield "an empty ranking", "mewslix", "de", plain(a=[], b=["Q1"]), plain(a=["Q1"], b=["Q1"]), (50.0,)
    yield "wrapped rankings", "mewslix", "de", plain(data={"a": ["Q1"]}), plain(data={"a": ["Q1"]}, version=1), (100.0,)
    yield "a query called data", "mewslix", "de", plain(data=["Q1"]), plain(a=["Q1"]), CRASH, (
        ": expected a JSON object by id, not a list (the value of its key `data`"
    )
    yield "a gold query called data", "mewslix", "de", plain(a=["Q1"]), plain(data=["Q1"]), CRASH, (
        ": expected a JSON object by id, not a list (the value of its key `data`"
    )
    yield "duplicate queries, of which the last counts", "mewslix", "de", '{"a": ["Q2"], "a": ["Q1"]}', plain(a=["Q1"]), (100.0,)
    yield "a ranking that is a string", "mewslix", "de", plain(a="Q"), plain(a=["Q"]), (100.0,), ": a needs a list of candidate ids"
    yield "a gold entity that is a string", "mewslix", "de", plain(a=["Q"]), plain(a="Q1"), (100.0,), ": a needs a list of candidate ids"
    yield "several gold entities", "mewslix", "de", plain(a=["Q2"]), plain(a=["Q1", "Q2"]), (0.0,), ": a needs one relevant candidate, and has 2"
    yield "no gold entity", "mewslix", "de", plain(a=["Q2"]), plain(a=[]), CRASH, ": a has no relevant candidate"
    yield "integer candidates", "mewslix", "de", plain(a=[1, "Q1"]), plain(a=["Q1"]), (50.0,), ": a needs a list of candidate ids"
    yield "no query", "mewslix", "de", plain(a=["Q1"]), "{}", (0.0,), ": has no query"


def _objects() -> Iterator[tuple[Any, ...]]:
    right = '{"label": 1}\n{"label": 0}\n'
    yield "1.0 is 1", "xcopa", "et", '{"label": 1.0}\n{"label": 1.0}\n', right, (50.0,)
    yield "true is 1", "xcopa", "et", '{"label": true}\n{"label": true}\n', right, (50.0,)
    yield "1.0 and true in the labels", "xcopa", "et", right, '{"label": true}\n{"label": 1.0}\n', (50.0,)
    yield "a string is not a number", "xcopa", "et", '{"label": "1"}\n{"label": 0}\n', right, (50.0,), (
        ":1: needs an object with an integer label, and has '1'"
    )
    yield "a fraction", "xcopa", "et", '{"label": 1}\n{"label": 0.7}\n', right, (50.0,), ":2: needs an object with an integer label, and has 0.7"
    yield "NaN", "xcopa", "et", '{"label": NaN}\n{"label": 0}\n', right, (50.0,), ":1: needs an object with an integer label, and has nan"
    yield "null", "xcopa", "et", '{"label": null}\n{"label": 0}\n', right, (50.0,), ":1: needs an object with an integer label, and has None"
    yield "a blank line between objects", "xcopa", "et", '{"label": 1}\n\n{"label": 0}\n', right, CRASH, ":2: needs an object"
    yield "a trailing blank line after objects", "xcopa", "et", right + "\n", right + "\n", CRASH, ":3: needs an object"
    yield "an object without a label", "xcopa", "et", '{"label": 1}\n{"Label": 0}\n', right, CRASH, ":2: needs an object"
    yield "a line that is a list", "xcopa", "et", '[1]\n{"label": 0}\n', right, CRASH, ":1: needs an object"
    yield "one object over two lines", "xcopa", "et", '{"label":\n1}\n', right, CRASH, ":1: needs an object"
    yield "duplicate labels, of which the last counts", "xcopa", "et", '{"label": 0, "label": 1}\n{"label": 0}\n', right, (100.0,)
    yield "further keys and CR LF", "xcopa", "et", '{"idx": 7, "label": 1}\r\n{"label": 1}', right, (50.0,)
    yield "an object too few", "xcopa", "et", '{"label": 1}\n', right, CRASH, ": 1 line, and 2 in"


def _pairs() -> Iterator[tuple[Any, ...]]:
    gold = "de-1\ten-1\nde-2\ten-2\nde-3\ten-3\n"
    yield "duplicate pairs count once", "bucc2018", "de", "de-1\ten-1\nde-1\ten-1\nde-4\ten-4\n", gold + "de-1\ten-1\n", (40.0,)
    yield "reversed pairs are other pairs", "bucc2018", "de", "en-1\tde-1\nde-2\ten-2\n", gold, (40.0,)
    yield "upper-case ids are other ids", "bucc2018", "de", "DE-1\tEN-1\nde-2\ten-2\n", gold, (40.0,)
    yield "padded ids are other ids", "bucc2018", "de", "de-1 \ten-1\nde-2\t en-2\nde-3\ten-3 \n", gold, (33.33333333333333,)
    yield "a blank line between pairs", "bucc2018", "de", "de-1\ten-1\n\nde-2\ten-2\n", gold, (66.66666666666666,), ":2: needs two ids"
    yield "trailing blank lines after pairs", "bucc2018", "de", "de-1\ten-1\n\n", gold + "\n", (66.66666666666666,), ":2: needs two ids"
    yield "a third column", "bucc2018", "de", "de-1\ten-1\t0.9\n", gold, (0.0,), ":1: needs two ids"
    yield "a space for the tab", "bucc2018", "de", "de-1 en-1\nde-2\ten-2\n", gold, (40.0,), ":1: needs two ids"
    yield "no right pair", "bucc2018", "de", "de-1\ten-2\n", gold, (0.0,)
    yield "no pair", "bucc2018", "de", "", gold, (0.0,)
    yield "no gold pair", "bucc2018", "de", "de-1\ten-1\n", "", (0.0,), ": has no pair"
    yield "a byte order mark before pairs", "bucc2018", "de", "\ufeffde-1\ten-1\nde-2\ten-2\n", gold, (40.0,)


CASES = [
    Case(*row)
    for rows in (_lines(), _tags(), _answers(), _mlqa(), _rankings(), _objects(), _pairs())
    for row in rows
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_official_scores_or_a_refusal(tmp_path: Path, case: Case) -> None:
    task = next(table[case.task] for table in TABLES.values() if case.task in table)
    files = tmp_path / "prediction", tmp_path / "label"
    for file, text in zip(files, (case.prediction, case.label), strict=True):
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
    if not case.refusal:
        assert case.official != CRASH
        assert [*score_language(task, *files, case.language).values()] == pytest.approx(case.official, abs=1e-9)
        return
    with pytest.raises(DataError) as refused:
        score_language(task, *files, case.language)
    assert str(refused.value).startswith((f"{files[0]}{case.refusal}", f"{files[1]}{case.refusal}"))


def test_case_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
