"""The right answers of an evaluation, from its canonical records."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from xstilts.data.records import read_records
from xstilts.data.wording import verbalize
from xstilts.tasks.task import Task

#: The columns of records.parquet that hold the answer of each format.
_COLUMNS = {
    "classification": ["label"],
    "multiple_choice": ["label"],
    "tagging": ["tags"],
    "span": ["answers"],
    "retrieval": [],
    "ranking": ["relevant"],
    "mining": ["relevant"],
}


@dataclass(frozen=True)
class Gold:
    """One example and its answer as predictions are written: a label, tag names, answer texts,
    (retrieval) the example's own row, or (ranking, mining) the names of the candidates that answer
    it.

    row: position in records.parquet, which identifies the example. id: the data set's own,
    written out. cluster: what it is resampled with besides itself, or empty. context: the text
    that an answer is cut from, or (mining) the sentence. parallel: equal for its translations,
    or empty.
    """

    row: int
    id: str
    cluster: str
    gold: Any
    context: str = ""
    parallel: str = ""


def gold_answers(records: Path, task_format: str) -> list[Gold]:
    """The answers of a records.parquet, in its order. Raises KeyError for a format that is not
    scored.
    """
    columns = _COLUMNS[task_format]
    rows = pq.read_table(
        records, columns=["id", "cluster", "text", "parallel", *columns]
    ).to_pylist()
    return [
        Gold(
            place,
            row["id"],
            row["cluster"],
            _gold(row, task_format, place),
            row["text"] or "",
            row["parallel"],
        )
        for place, row in enumerate(rows)
        if task_format != "ranking" or row["relevant"]  # candidates have no answers
    ]


def candidate_names(records: Path) -> list[str]:
    """The name of each row of a records.parquet as a candidate; empty where it is none."""
    names: list[str] = pq.read_table(records, columns=["candidate"]).column("candidate").to_pylist()
    return names


def encoded_gold(golds: Sequence[Gold], rows: Container[int], bad_rows: int) -> list[Gold]:
    """The gold of examples that encoding did not leave out as bad rows. rows: those that are
    encoded. All of the gold where more is missing than that, so that whoever looks for a
    prediction names it.
    """
    kept = [gold for gold in golds if gold.row in rows]
    return kept if len(golds) - len(kept) == bad_rows else list(golds)


def answers_in_words(records: Path, task: Task) -> list[Gold]:
    """What the `lm` objective would have a model say to each record: the reference texts."""
    found = []
    for place, example in enumerate(read_records(records, with_images=False)):
        texts = (
            list(example.targets)
            if task.format == "generation"
            else [verbalize(task, example).answer]
        )
        if task.format == "span" and len(example.answers) > 1:
            texts = [text for text, _ in example.answers]
        found.append(Gold(place, example.id, example.cluster, texts, parallel=example.parallel))
    return found


def _gold(row: dict[str, Any], task_format: str, position: int) -> Any:
    if task_format == "retrieval":
        return position
    if task_format in ("ranking", "mining"):
        return list(row["relevant"])
    if task_format == "span":
        return [
            answer["text"] if isinstance(answer, dict) else answer[0] for answer in row["answers"]
        ]
    return (
        row["label"] if task_format in ("classification", "multiple_choice") else list(row["tags"])
    )
