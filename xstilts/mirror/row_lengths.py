"""Measures the lengths of tasks' rows with a tokenizer: the figures of `RowEstimate`.

    python -m xstilts.mirror.row_lengths MIRROR --tokenizer FOLDER

Rows are encoded as in a run, with the lengths of the recipe set `vlm` and without images, whose
tokens depend on the backbone. A split that the mirror lacks is replaced by another of the task.
"""

import argparse
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from xstilts.data.encode import Encoder
from xstilts.data.records import read_rows
from xstilts.data.sequence import BadRow, TextImageProcessor
from xstilts.errors import DataError
from xstilts.sources.loader import load_rows
from xstilts.sources.mirrors import Mirror, open_mirror
from xstilts.sources.source_files import missing_reason
from xstilts.tasks.languages import INVENTED
from xstilts.tasks.recipes import recipe_of
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Example, Source, Task

#: Rows of each language that are measured.
ROWS = 300
#: Splits of a source that replace one that the mirror lacks.
_OTHER_SPLITS = ("validation", "test", "train", "dev_r1")


@dataclass(frozen=True)
class RowLengths:
    """Means over the rows of a task that a mirror has.

    Attributes:
        task: Its name.
        split: Split of the source.
        languages: Number of languages.
        rows: Number of rows. Candidates of a ranking count with their queries.
        text: Text tokens of a row with a head, or of an `lm` row if the task has no head.
        segments: Sequences of such a row that are read apart.
        windows: Encoded rows of such a row.
        lm: Text tokens of a row under `lm`, with its answer; None if the task has no such rows.
        answer: Of these, the supervised tokens.
        images: Images of a row.
    """

    task: str
    split: str
    languages: int
    rows: int
    text: float
    segments: float
    windows: float
    lm: float | None
    answer: float | None
    images: float


def measure(
    mirror: Mirror,
    processor: TextImageProcessor,
    tasks: Mapping[str, Task],
    rows: int = ROWS,
) -> Iterator[RowLengths]:
    """The lengths of every task that the mirror has rows of.

    Args:
        mirror: To read from.
        processor: Of a decoder.
        tasks: To measure.
        rows: Most rows of each language.
    """
    for task in tasks.values():
        split, by_language = _examples(mirror, task, rows)
        if by_language:
            yield _lengths(task, processor, tasks, split, by_language)


def _examples(mirror: Mirror, task: Task, rows: int) -> tuple[str, dict[str, list[Example]]]:
    """(split, language → examples) of the first split that the mirror has; empty without one."""
    main = "test" if task.role == "evaluation" else "train"
    known = [task.splits[name] for name in (main, "text", "select") if name in task.splits]
    sources = [source for candidate in known for source in _alternatives(candidate)]
    others = [replace(source, split=name) for source in sources for name in _OTHER_SPLITS]
    for source in [*sources, *others]:
        languages = [code for code in task.languages if code not in INVENTED]
        found = {
            code: examples
            for code in languages
            if missing_reason(mirror, source, code) is None
            and (examples := _read(mirror, task, source, code, rows))
        }
        if found:
            return source.split, found
    return "", {}


def _alternatives(source: Source) -> Iterator[Source]:
    yield source
    for alternative in source.alternatives:
        yield from _alternatives(alternative)


def _read(mirror: Mirror, task: Task, source: Source, language: str, rows: int) -> list[Example]:
    try:
        table = load_rows(mirror, source, language, task.label_column)
    except DataError:  # a split of these rows without what the task reads, such as hidden labels
        return []
    order = list(range(len(table)))
    random.Random(f"lengths/{task.name}").shuffle(order)
    if task.format == "ranking":  # candidates belong to the paragraphs of their queries
        order.sort()
    return read_rows(task, table, order, language, rows)[0]


def _lengths(
    task: Task,
    processor: TextImageProcessor,
    tasks: Mapping[str, Task],
    split: str,
    by_language: Mapping[str, Sequence[Example]],
) -> RowLengths:
    examples = [example for group in by_language.values() for example in group]
    head = {}
    if task.objectives[0] == "head" or task.role == "evaluation":
        objective = "eval" if task.role == "evaluation" else "head"
        head = _means(task, processor, tasks, objective, examples)
    words = (
        _means(task, processor, tasks, "lm", examples)
        if "lm" in task.objectives and "train" in task.splits
        else {}
    )
    main = head or words
    return RowLengths(
        task=task.name,
        split=split,
        languages=len(by_language),
        rows=len(examples),
        text=main["tokens"],
        segments=main["segments"] / main["windows"],
        windows=main["windows"],
        lm=words.get("tokens"),
        answer=words.get("supervised"),
        images=fmean(len(example.images) for example in examples),
    )


def _means(
    task: Task,
    processor: TextImageProcessor,
    tasks: Mapping[str, Task],
    objective: str,
    examples: Sequence[Example],
) -> dict[str, float]:
    """Means per row. Windows and pieces of one row are added; rows of a ranking are its queries."""
    of = tasks[(task.trained_target or (task.name,))[-1]]
    lengths = recipe_of(of, "vlm", "qwen_vl", "lora")
    tags = task.labels or tuple(sorted({tag for example in examples for tag in example.tags}))
    encoder = Encoder(task, processor, objective, lengths, "last", tags)
    sums, count = dict.fromkeys(("tokens", "segments", "windows", "supervised"), 0), 0
    for index, example in enumerate(examples):
        try:
            encoded = list(encoder.rows(replace(example, images=()), index))
        except BadRow:
            continue
        count += bool(example.relevant) or task.format != "ranking" or task.role != "evaluation"
        for row in encoded:
            sums["tokens"] += row["length"]
            sums["windows"] += 1
            sums["segments"] += len(row["segments"])
            sums["supervised"] += row["supervised"]
    return {name: total / max(1, count) for name, total in sums.items()}


def _processor(folder: Path, family: str) -> TextImageProcessor:
    from transformers import AutoTokenizer

    from xstilts.models.processor import Processor

    return Processor(family, AutoTokenizer.from_pretrained(folder, local_files_only=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one JSON object per task."""
    parser = argparse.ArgumentParser(prog="python -m xstilts.mirror.row_lengths")
    parser.add_argument("mirror", help="folder or s3:// prefix")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of a tokenizer")
    parser.add_argument("--family", default="qwen2", help="text-only family of the tokenizer")
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of each language")
    options = parser.parse_args(arguments)
    processor = _processor(options.tokenizer, options.family)
    mirror = open_mirror(options.mirror)
    for lengths in measure(mirror, processor, TASKS, options.rows):
        print(json.dumps(_rounded(asdict(lengths))), flush=True)
    return 0


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: round(value, 2) if isinstance(value, float) else value
        for name, value in values.items()
    }


if __name__ == "__main__":
    sys.exit(main())
