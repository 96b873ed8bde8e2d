"""The gold answers of an evaluation, from its canonical records."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from xstilts.data.records import read_records
from xstilts.data.wording import verbalize
from xstilts.tasks.task import Task

#: Format → columns of records.parquet with the answer.
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
    """An example and its gold answer.

    gold: a label, tag names, answer texts, the example's row (retrieval), or the names of the
    relevant candidates (ranking, mining). row: index in records.parquet, which identifies the
    example. id: as in the data set. cluster: examples that are resampled together have the same
    one; may be empty. context: the text that contains an answer, or the sentence (mining).
    parallel: the same for all translations; may be empty.
    """

    row: int
    id: str
    cluster: str
    gold: Any
    context: str = ""
    parallel: str = ""


def gold_answers(records: Path, task_format: str) -> list[Gold]:
    """The gold answers of a records.parquet in order. KeyError for a format that is not scored."""
    columns = _COLUMNS[task_format]
    rows = pq.read_table(
        records, columns=["id", "cluster", "text", "parallel", *columns]
    ).to_pylist()
    return [
        Gold(
            index,
            row["id"],
            row["cluster"],
            _gold(row, task_format, index),
            row["text"] or "",
            row["parallel"],
        )
        for index, row in enumerate(rows)
        if task_format != "ranking" or row["relevant"]  # candidates have no answers
    ]


def candidate_names(records: Path) -> list[str]:
    """The candidate name of each row of a records.parquet; empty for other rows."""
    names: list[str] = pq.read_table(records, columns=["candidate"]).column("candidate").to_pylist()
    return names


def encoded_gold(golds: Sequence[Gold], rows: Container[int], bad_rows: int) -> list[Gold]:
    """The gold answers of examples that were not left out as bad rows by encoding.

    If more examples are missing, all gold answers, so that scoring reports the first one without
    a prediction.

    Args:
        golds: of the records.
        rows: that were encoded.
        bad_rows: the number of bad rows of the encode step.
    """
    kept = [gold for gold in golds if gold.row in rows]
    return kept if len(golds) - len(kept) == bad_rows else list(golds)


def answers_in_words(records: Path, task: Task) -> list[Gold]:
    """The reference texts of each record for the `lm` objective."""
    golds = []
    for index, example in enumerate(read_records(records, with_images=False)):
        texts = (
            list(example.targets)
            if task.format == "generation"
            else [verbalize(task, example).answer]
        )
        if task.format == "span" and len(example.answers) > 1:
            texts = [text for text, _ in example.answers]
        golds.append(Gold(index, example.id, example.cluster, texts, parallel=example.parallel))
    return golds


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
