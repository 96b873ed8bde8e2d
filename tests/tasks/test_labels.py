"""Labels are read by name, whatever number or order a file gives them."""

from pathlib import Path
from typing import Any

import datasets
import pytest

from xstilts.data.records import read_rows
from xstilts.errors import DataError
from xstilts.mirror.probe import LOCK, probe
from xstilts.sources.loader import load_rows
from xstilts.sources.mirrors import open_mirror
from xstilts.tasks.benchmarks.udpos import UPOS
from xstilts.tasks.labels import LabelColumn
from xstilts.tasks.registry import TASKS

NLI = LabelColumn("label", ("entailment", "neutral", "contradiction"), {"-": ""})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2, 2),
        (2.0, 2),
        (True, 1),
        ("neutral", 1),
        ("Contradiction", 2),
        ("1", 1),
        (-1, None),
        ("-1", None),
        ("-", None),
    ],
)
def test_a_label_is_a_name_or_a_number(value: Any, expected: int | None) -> None:
    assert NLI.id_of(value) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("not_entailment", "label 'not_entailment' is not one of entailment, neutral, contradiction"),
        (3, "label 3 is not between 0 and 2"), ("3", "label 3 is not between 0 and 2"), (0.5, "label: 0.5 is not a label"),
        (None, "label is null"), ([1], r"label: \[1\] is not a label"),
    ],
)  # fmt: skip
def test_another_value_is_refused(value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        NLI.id_of(value)


def write(
    mirror: Path,
    name: str,
    rows: dict[str, list[Any]],
    column: str,
    names: list[str],
    many: bool = False,
) -> None:
    label = datasets.ClassLabel(names=names)
    features = {key: datasets.Value("string") for key in rows}
    features |= {"tokens": datasets.List(datasets.Value("string"))} if many else {}
    features |= {column: datasets.List(label) if many else label}
    table = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    (mirror / name).parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(mirror / name)


def snli(mirror: Path, names: list[str], shard: str = "train-00000-of-00001") -> None:
    for split in (shard, "validation-00000-of-00001"):
        rows = {"premise": ["a", "b", "c"], "hypothesis": ["d", "e", "f"], "label": [0, 1, -1]}
        write(mirror, f"stanfordnlp/snli/plain_text/{split}.parquet", rows, "label", names)


def read(mirror: Path, task: str, split: str = "train", language: str = "en") -> list[Any]:
    definition = TASKS[task]
    rows = load_rows(
        open_mirror(str(mirror)), definition.splits[split], language, definition.label_column
    )
    examples, bad, _ = read_rows(definition, rows, range(len(rows)), language, None)
    assert bad == []
    return examples


def test_classes_in_another_order_are_read_by_name(tmp_path: Path) -> None:
    snli(tmp_path, ["contradiction", "entailment", "neutral"])
    assert [example.label for example in read(tmp_path, "snli")] == [2, 0]
    row = probe(str(tmp_path), LOCK, ["snli"])[0]
    assert row["status"] == "ok"
    assert row["reason"] == (
        "the classes of column label are in the order contradiction, entailment, neutral; "
        "they are read by name"
    )


def test_tags_in_another_order_are_read_by_name(tmp_path: Path) -> None:
    rows = {"tokens": [["the", "cat"]], "pos_tags": [[0, 1]]}
    name = "google/xtreme/udpos.German/test-00000-of-00001.parquet"
    write(tmp_path, name, rows, "pos_tags", list(reversed([*UPOS, "_"])), many=True)
    assert read_tags(tmp_path) == []  # `_` is no tag
    write(tmp_path, name, rows, "pos_tags", list(reversed(UPOS)), many=True)
    assert read_tags(tmp_path) == [("X", "VERB")]


def read_tags(mirror: Path) -> list[tuple[str, ...]]:
    definition = TASKS["udpos"]
    rows = load_rows(
        open_mirror(str(mirror)),
        definition.splits["test"].alternatives[0],
        "de",
        definition.label_column,
    )
    return [
        example.tags for example in read_rows(definition, rows, range(len(rows)), "de", None)[0]
    ]


def test_paws_names_its_classes_by_numbers(tmp_path: Path) -> None:
    rows = {"id": ["1", "2"], "sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [0, 1]}
    write(
        tmp_path,
        "google-research-datasets/paws-x/en/test-00000-of-00001.parquet",
        rows,
        "label",
        ["1", "0"],
    )
    assert [example.label for example in read(tmp_path, "pawsx", "test")] == [1, 0]


def test_an_unknown_class_is_refused_with_file_and_column(tmp_path: Path) -> None:
    snli(tmp_path, ["entailment", "not_entailment", "contradiction"])
    with pytest.raises(
        DataError,
        match=r"train-00000-of-00001\.parquet: the column label has the class 'not_entailment'",
    ):
        read(tmp_path, "snli")
    row = probe(str(tmp_path), LOCK, ["snli"])[0]
    assert (row["status"], "not_entailment" in row["reason"]) == ("changed", True)


def test_files_of_a_split_that_number_their_classes_differently_are_refused(tmp_path: Path) -> None:
    snli(tmp_path, ["entailment", "neutral", "contradiction"], "train-00000-of-00002")
    snli(tmp_path, ["neutral", "entailment", "contradiction"], "train-00001-of-00002")
    with pytest.raises(
        DataError,
        match=r"train-00001-of-00002\.parquet: the classes of column label are neutral, ent",
    ):
        read(tmp_path, "snli")


def test_names_in_json_lines_are_read_as_labels(tmp_path: Path) -> None:
    path = tmp_path / "stanfordnlp/snli/plain_text/train.jsonl"
    path.parent.mkdir(parents=True)
    lines = [
        f'{{"premise": "a", "hypothesis": "b", "label": {label}}}'
        for label in ('"neutral"', '"-"', "2")
    ]
    path.write_text("\n".join(lines))
    assert [example.label for example in read(tmp_path, "snli")] == [1, 2]


@pytest.mark.parametrize(
    "name", [name for name, task in TASKS.items() if task.label_column and task.labels]
)
def test_a_task_reads_the_labels_that_it_says_it_has(name: str) -> None:
    task = TASKS[name]
    assert task.label_column is not None
    assert task.label_column.labels == task.labels
