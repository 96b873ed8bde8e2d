"""Canonical records: which rows are kept, dropped or bad, and the negative control."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from xstilts.data.records import (
    first_clusters,
    make_records,
    read_records,
    read_rows,
    shuffled_labels,
)
from xstilts.errors import DataError
from xstilts.sources.mirrors import open_mirror
from xstilts.step import Step
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Example


def records(
    folder: Path, task: str, source_rows: list[dict[str, Any]], **more: Any
) -> tuple[list[Example], dict[str, Any]]:
    source = TASKS[task].splits["select"]
    target = folder / "mirror" / source.path / str(source.config)
    target.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.Table.from_pylist(source_rows), target / f"{source.split}-00000-of-00001.parquet"
    )
    spec = {
        "task": task, "split": "select", "language": "en", "rows": None, "labels": "true",
        "source": {"path": source.path, "config": source.config, "split": source.split, "identity": {}}, **more,
    }  # fmt: skip
    files, info = make_records(
        Step("records", spec), open_mirror(str(folder / "mirror")), folder / "out"
    )
    return read_records(files["records.parquet"]), info


def snli(label: int, premise: str = "a dog") -> dict[str, Any]:
    return {"premise": premise, "hypothesis": "an animal", "label": label}


def png(colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (24, 24), colour).save(out, "PNG")
    return out.getvalue()


def test_rows_become_examples_and_rows_without_gold_are_dropped(tmp_path: Path) -> None:
    examples, info = records(tmp_path, "snli", [snli(0), snli(-1), snli(2)])
    assert [(e.text, e.text_pair, e.label) for e in examples] == [
        ("a dog", "an animal", 0),
        ("a dog", "an animal", 2),
    ]
    assert (info["rows"], info["dropped"], info["bad_rows"]) == (2, 1, 0)
    assert info["licence"] == "cc-by-sa-4.0"


def test_a_few_bad_rows_are_reported_and_left_out(tmp_path: Path) -> None:
    examples, info = records(tmp_path, "snli", [*[snli(1)] * 30, snli(7)])
    assert len(examples) == 30
    assert info["bad"] == [{"row": 30, "reason": "ValueError: label 7 is not between 0 and 2"}]


def test_too_many_bad_rows_fail_the_step(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 bad rows of 4, more than 5%; row 2: .*empty"):
        records(tmp_path, "snli", [snli(1), snli(1), snli(1, premise=""), snli(1, premise="")])


def test_a_truncated_picture_is_a_bad_row(tmp_path: Path) -> None:
    def row(data: bytes) -> dict[str, Any]:
        return {
            "image": {"bytes": data, "path": "a.png"},
            "filename": "a.png",
            "cocoid": 7,
            "caption": "a red square",
        }

    examples, info = records(tmp_path, "coco_captions", [row(png())] * 30 + [row(png()[:60])])
    assert examples[0].images == (png(),)
    assert info["bad"][0]["row"] == 30
    assert "image cannot be decoded" in info["bad"][0]["reason"]


def test_a_cap_keeps_the_first_rows_of_a_test_set_in_order(tmp_path: Path) -> None:
    examples, _ = records(tmp_path, "snli", [snli(i % 3, f"premise {i}") for i in range(9)], rows=4)
    assert [e.text for e in examples] == [f"premise {i}" for i in range(4)]


def test_shuffled_labels_keep_their_distribution_and_change_rows() -> None:
    examples = [Example(id=str(i), text="t", label=i % 3) for i in range(300)]
    shuffled = shuffled_labels(examples)
    assert sorted(e.label or 0 for e in shuffled) == sorted(e.label or 0 for e in examples)
    agreeing = sum(a.label == b.label for a, b in zip(examples, shuffled, strict=True))
    assert 60 < agreeing < 140


def test_shuffled_answers_occur_in_their_own_context() -> None:
    example = Example(
        id="a", text="the red ball is in the park .", question="where?", answers=(("park", 23),)
    )
    for shuffled in shuffled_labels([example, example]):
        ((text, start),) = shuffled.answers
        assert shuffled.text[start : start + len(text)] == text


def test_a_cap_on_ranking_rows_keeps_all_candidates_of_the_questions() -> None:
    """Two questions a paragraph: five are two paragraphs, however many sentences these have in a
    language.
    """

    def paragraphs(sentences: int) -> list[Example]:
        return [
            Example(
                id=f"{k}{kind}{n}", text="x", relevant=("a",) if kind == "q" else (), cluster=str(k)
            )
            for k in range(4)
            for kind, count in (("q", 2), ("s", sentences))
            for n in range(count)
        ]

    for sentences in (3, 7):
        kept = first_clusters(paragraphs(sentences), 5)
        assert [example.id for example in kept if example.relevant] == ["0q0", "0q1", "1q0", "1q1"]
        assert len(kept) == 2 * (2 + sentences)
    assert first_clusters(paragraphs(3), 1) == paragraphs(3)[:5], "one paragraph at least"
    assert first_clusters(paragraphs(3), None) == paragraphs(3)


@pytest.mark.parametrize(
    ("task", "row", "key"),
    [
        ("xnli", {"premise": "a", "hypothesis": "b", "label": 0}, "7"),
        ("pawsx", {"id": 3, "sentence1": "a", "sentence2": "b", "label": 0}, "3"),
        (
            "xcopa",
            {
                "idx": 4,
                "premise": "a",
                "question": "cause",
                "choice1": "b",
                "choice2": "c",
                "label": 0,
            },
            "4",
        ),
        (
            "xquad",
            {
                "id": "q",
                "context": "a",
                "question": "b",
                "answers": {"text": ["a"], "answer_start": [0]},
            },
            "q",
        ),
        (
            "mlqa",
            {
                "id": "q",
                "context": "a",
                "question": "b",
                "answers": {"text": ["a"], "answer_start": [0]},
            },
            "q",
        ),
        (
            "tydiqa",
            {
                "id": "swahili-1",
                "context": "a",
                "question": "b",
                "answers": {"text": ["a"], "answer_start": [0]},
            },
            "",
        ),
        ("udpos", {"tokens": ["a"], "pos_tags": [0]}, ""),
        ("wikiann", {"tokens": ["a"], "ner_tags": [0]}, ""),
        ("tatoeba", {"sentence1": "a", "sentence2": "b"}, ""),
        ("bucc", {"source_sentence": "a", "target_sentence": "b"}, ""),
        ("bucc_mining", {"part": "dev", "id": "fr-1", "text": "a", "answers": []}, ""),
    ],
)
def test_only_translations_have_a_parallel_key(task: str, row: dict[str, Any], key: str) -> None:
    """The row number of XNLI's aligned files, an id that all languages share, or nothing: row
    numbers of UD-POS, WikiANN and Tatoeba are equal in all languages, and their sentences are
    not translations of each other.
    """
    rows = [row] * 8
    (examples,), bad, _ = read_rows(TASKS[task], rows, [7], "sw", None)
    assert not bad
    assert examples.parallel == key


def test_ranking_questions_have_a_parallel_key_and_mentions_do_not() -> None:
    answers = [{"text": "A.", "answer_start": 0}]
    article = {
        "paragraphs": [
            {
                "context": "A. B.",
                "sentence_breaks": [[0, 2], [3, 5]],
                "qas": [{"id": "q", "question": "?", "answers": answers}],
            }
        ]
    }
    examples, _, _ = read_rows(TASKS["lareqa"], [article], [0], "de", None)
    assert [(example.parallel, example.relevant, example.candidate) for example in examples] == [
        ("q", ("de/0.0.0",), ""), ("de/0.0.0", (), "de/0.0.0"), ("de/0.0.1", (), "de/0.0.1"),
    ]  # fmt: skip
    (entity,), _, _ = read_rows(
        TASKS["mewsli_candidates"], [{"entity_id": "Q1", "description": "a town"}], [0], "en", None
    )
    assert (entity.candidate, entity.parallel) == ("Q1", "")
    assert not TASKS["mewslix"].parallel


def test_a_candidate_without_a_name_is_a_bad_row() -> None:
    examples, bad, _ = read_rows(
        TASKS["mewsli_candidates"], [{"entity_id": "", "description": "a town"}], [0], "en", None
    )
    assert not examples
    assert "either a query with answers or a named candidate" in bad[0]["reason"]


def test_the_hypotheses_of_one_premise_are_a_cluster() -> None:
    rows = [
        {"premise": premise, "hypothesis": str(n), "label": n}
        for premise in ("a dog", "a cat")
        for n in range(3)
    ]
    examples, _, _ = read_rows(TASKS["xnli"], rows, range(6), "en", None)
    assert [example.cluster == examples[0].cluster for example in examples] == [True] * 3 + [
        False
    ] * 3


def test_rows_with_one_id_are_all_kept_in_their_order(tmp_path: Path) -> None:
    source_rows = [{**snli(n % 3, f"premise {n}"), "uid": "same"} for n in range(4)]
    examples, info = records(tmp_path, "snli", source_rows)
    assert [(example.id, example.text) for example in examples] == [
        ("same", f"premise {n}") for n in range(4)
    ]
    assert info["rows"] == 4
