"""The records step: source rows → canonical records, as Parquet. Bad rows are counted and reported;
if there are too many, the step fails.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xstilts.data.image_conditions import apply_condition, caption_of
from xstilts.errors import DataError
from xstilts.step import Step
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import UNUSABLE, Example, Source, Task

#: The step fails if more than this share of rows is bad, unless the plan sets `most_bad_rows`.
MAX_BAD_SHARE = 0.05
#: How many bad rows a manifest lists.
MAX_REPORTED = 50

_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "text": pa.string(),
        "text_pair": pa.string(),
        "question": pa.string(),
        "choices": pa.list_(pa.string()),
        "label": pa.int32(),
        "tokens": pa.list_(pa.string()),
        "tags": pa.list_(pa.string()),
        "answers": pa.list_(pa.struct({"text": pa.string(), "start": pa.int32()})),
        "targets": pa.list_(pa.string()),
        "images": pa.list_(pa.string()),
        "cluster": pa.string(),
        "relevant": pa.list_(pa.string()),
        "candidate": pa.string(),
        "parallel": pa.string(),
    }
)


def make_records(
    step: Step, mirror: Any, out: Path, tasks: Mapping[str, Task] = TASKS
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Runs a records step. Returns its files, records.parquet and possibly images.parquet, and info
    with rows, bad rows and licence.

    All image conditions of a task share rows: the rows of the source are checked with their images
    before the condition is applied. If the spec has captions (the plan has a `caption` arm of the
    task), a row without a caption is a bad row in every condition.
    """
    from xstilts.sources.loader import load_rows

    spec, task = step.spec, tasks[step.spec["task"]]
    source_spec = spec["source"]
    source = source_of(source_spec)
    # At the commit that is part of the step's fingerprint.
    rows = load_rows(mirror.at(source_spec), source, spec["language"], task.label_column)
    # The row cap applies to training rows after a seeded shuffle, and to others in order, so that
    # parallel languages stay parallel.
    stream = random.Random(f"records/{spec['task']}")
    if "smoothing" in source_spec:
        order = rows.sample(stream, source_spec["smoothing"])
    else:
        order = list(range(len(rows)))
        if spec["split"] == "train":
            stream.shuffle(order)
    # The candidates for a question are the sentences of its paragraph, so the cap must not split a
    # paragraph.
    whole = task.format == "ranking" and spec["split"] == "test" and not task.pool
    captions = _captions(spec.get("captions"), mirror)
    examples, bad, dropped = read_rows(
        task, rows, order, spec["language"], None if whole else spec["rows"], captions
    )
    examples = first_clusters(examples, spec["rows"]) if whole else examples
    _check_share(step, bad, len(examples))
    if spec["labels"] == "shuffled":
        examples = shuffled_labels(examples)
    if spec.get("images", "real") != "real":
        examples = apply_condition(examples, spec["images"], captions)
    files = write_records(examples, out)
    tags: list[str] = []
    if task.format == "tagging" and not task.labels:
        tags = sorted({tag for example in examples for tag in example.tags})
    info = {
        "rows": len(examples),
        "bad": bad[:MAX_REPORTED],
        "bad_rows": len(bad),
        "dropped": dropped,
        "licence": task.licence,
        "source_rows": len(rows),
        **({"tags": tags} if tags else {}),
    }
    return files, info


def _check_share(step: Step, bad: Sequence[Mapping[str, Any]], examples: int) -> None:
    """DataError if the share of bad rows is above the limit, or no row is left."""
    limit, total = float(step.settings.get("most_bad", MAX_BAD_SHARE)), len(bad) + examples
    if examples and len(bad) <= limit * total:
        return
    source = step.spec["source"]
    where = f"{source['path']} ({source['config']}, {source['split']})"
    if not bad:
        raise DataError(
            f"{where}: no usable rows; correct the source, or set another under `splits`"
        )
    reasons = "; ".join(f"row {row['row']}: {row['reason']}" for row in bad[:3])
    raise DataError(
        f"{where}: {len(bad)} bad rows of {total}, more than {limit:.0%}; {reasons}; correct the "
        "source, set another one under `splits`, or allow a larger share with most_bad_rows"
    )


def _captions(source: Mapping[str, Any] | None, mirror: Any) -> dict[str, str] | None:
    """SHA-256 of an image → its caption, from `captions/<task>` of a mirror; None if the spec has
    no captions. DataError if the columns are missing or an image has two captions.
    """
    from xstilts.sources.loader import load_rows

    if source is None:
        return None
    rows = load_rows(mirror.at(source), source_of(source), "en")
    where = f"{source['path']} ({source['split']})"
    try:
        pairs = [
            (str(row["sha256"]), row["caption"])
            for row in (rows[index] for index in range(len(rows)))
        ]
    except (KeyError, ValueError) as error:
        raise DataError(
            f"{where}: the columns sha256 and caption are required ({type(error).__name__}: "
            f"{error})"
        ) from error
    captions: dict[str, str] = {}
    for sha, caption in pairs:
        if caption is None or not str(caption).strip():
            continue  # rows with this image become bad rows
        if captions.setdefault(sha, str(caption)) != str(caption):
            raise DataError(f"{where}: two different captions of the image {sha}; remove one")
    return captions


def read_rows(
    task: Task,
    rows: Any,
    order: Iterable[int],
    language: str,
    cap: int | None,
    captions: Mapping[str, str] | None = None,
) -> tuple[list[Example], list[dict[str, Any]], int]:
    """(records, bad rows with reasons, number of rows that the task drops).

    Args:
        task: that reads the rows.
        rows: by index.
        order: indices of the rows to read.
        language: of the rows.
        cap: the maximum number of records.
        captions: SHA-256 of an image → its caption, if every record needs one.
    """
    examples: list[Example] = []
    bad: list[dict[str, Any]] = []
    dropped = 0
    for index in order:
        if cap is not None and len(examples) >= cap:
            break
        try:
            row = rows[index]
            result = task.to_example(row, index, language)
        except UNUSABLE as error:
            bad.append({"row": index, "reason": f"{type(error).__name__}: {error}"[:300]})
            continue
        row_examples = [result] if isinstance(result, Example) else list(result or ())
        dropped += not row_examples
        origin = row.get("origin") if isinstance(row, dict) else None
        for example in row_examples:
            try:
                check_example(task, example)
                if captions is not None and not caption_of(example, captions).strip():
                    raise ValueError(
                        "an image has no caption, and the plan has an arm with captions"
                    )
            except UNUSABLE as error:
                name = f" {example.id}" if len(row_examples) > 1 else ""
                bad.append({"row": index, "reason": f"{type(error).__name__}{name}: {error}"[:300]})
                continue
            name = f"{origin}:{example.id}" if origin is not None else example.id
            examples.append(replace(example, id=name, parallel=parallel_key(task, example, index)))
    return examples[:cap], bad, dropped


def parallel_key(task: Task, example: Example, index: int) -> str:
    """The key that an example shares with its translations, or an empty text. index: of its row in
    the source.
    """
    return {"": "", "id": example.id, "row": str(index)}[task.parallel]


def first_clusters(examples: Sequence[Example], queries: int | None) -> list[Example]:
    """The first clusters (paragraphs) with at most `queries` queries in all, but at least one
    cluster. They contain all their candidates, and are the same in parallel languages.
    """
    query_counts = Counter(example.cluster for example in examples if example.relevant)
    kept: set[str] = set()
    total = 0
    for cluster in dict.fromkeys(example.cluster for example in examples):
        total += query_counts[cluster]
        if queries is not None and kept and total > queries:
            break
        kept.add(cluster)
    return [example for example in examples if example.cluster in kept]


def source_of(spec: Mapping[str, Any]) -> Source:
    """The source in the spec of a records step."""
    return Source(
        spec["path"],
        spec["config"],
        spec["split"],
        field=spec.get("field"),
        plus=tuple(source_of(part) for part in spec.get("plus", ())),
        pictures=source_of(spec["pictures"]) if spec.get("pictures") else None,
        pictures_key=spec.get("pictures_key", ""),
        each=bool(spec.get("each")),
        files=tuple(spec.get("files", ())),
    )


def check_example(task: Task, example: Example) -> None:
    """Raises ValueError for a record that the format of its task cannot use."""
    if example.flaw:
        raise ValueError(example.flaw)
    for text in _texts(example):
        surrogates = (i for i, letter in enumerate(text) if "\ud800" <= letter <= "\udfff")
        if (position := next(surrogates, None)) is not None:
            raise ValueError(
                f"lone surrogate at character {position}: the text was decoded incorrectly"
            )
    if task.format in ("classification", "multiple_choice") and example.label is None:
        raise ValueError("the label is missing")
    if example.label is not None:
        count = len(example.choices) if task.format == "multiple_choice" else len(task.labels)
        if not 0 <= example.label < count:
            raise ValueError(f"label {example.label} is not between 0 and {count - 1}")
    required = {
        "classification": example.text.strip()
        and (example.text_pair is None or example.text_pair.strip()),
        "multiple_choice": example.text.strip()
        and len(example.choices) > 1
        and all(c.strip() for c in example.choices),
        "tagging": all(token.strip() for token in example.tokens),
        "span": example.text.strip() and (example.question or "").strip(),
        "generation": example.targets and example.targets[0].strip(),
        "retrieval": example.text.strip() and (example.text_pair or "").strip(),
        "ranking": example.text.strip()
        and (example.text_pair is None or example.text_pair.strip()),
        "mining": example.text.strip(),
    }
    if not required[task.format]:
        raise ValueError("a required text is empty")
    if (
        task.format == "ranking"
        and task.role == "evaluation"
        and bool(example.relevant) == bool(example.candidate)
    ):
        raise ValueError("a ranking row must be either a query with answers or a named candidate")
    if task.captioned and not example.caption.strip():
        raise ValueError("the caption is empty, which can replace the image")
    if example.images:
        from xstilts.tasks.pictures import check_picture

        for data in example.images:
            check_picture(data)


def _texts(example: Example) -> Iterator[str]:
    """All texts of a record."""
    yield from (
        example.id,
        example.text,
        example.text_pair or "",
        example.question or "",
        example.caption,
    )
    yield from (
        *example.choices,
        *example.tokens,
        *example.targets,
        *(text for text, _ in example.answers),
    )


def shuffled_labels(examples: list[Example]) -> list[Example]:
    """The negative control: every answer moves to another row, so that it teaches nothing.

    Labels, tag lists and captions are permuted by one seeded permutation without fixed points. A
    span moves to a random word of its context, since the answer of another row does not occur
    there.
    """
    stream = random.Random("shuffled labels")
    order = list(range(len(examples)))
    stream.shuffle(order)
    donors = {order[i]: order[(i + 1) % len(order)] for i in range(len(order))}
    return [
        _with_answer_of(example, examples[donors[i]], stream) for i, example in enumerate(examples)
    ]


def _with_answer_of(example: Example, donor: Example, stream: random.Random) -> Example:
    if example.answers:
        words = example.text.split()
        chosen = stream.randrange(len(words))
        start = len(" ".join(words[:chosen])) + (1 if chosen else 0)
        position = example.text.find(words[chosen], min(start, len(example.text)))
        start = position if position >= 0 else example.text.index(words[chosen])
        return replace(example, answers=((words[chosen], start),))
    if example.choices:
        label = (donor.label or 0) % len(example.choices)
        return replace(example, label=label)
    if example.tags:
        tags = (donor.tags * (len(example.tags) // max(1, len(donor.tags)) + 1))[
            : len(example.tags)
        ]
        return replace(example, tags=tags)
    return replace(example, label=donor.label, targets=donor.targets)


def write_records(examples: list[Example], out: Path) -> dict[str, Path]:
    """Writes records.parquet and, if there are images, images.parquet (sha256, bytes)."""
    images: dict[str, bytes] = {}
    rows = []
    for example in examples:
        shas = [hashlib.sha256(data).hexdigest() for data in example.images]
        images.update(zip(shas, example.images, strict=True))
        rows.append(
            {
                "id": example.id,
                "text": example.text,
                "text_pair": example.text_pair,
                "question": example.question,
                "choices": example.choices,
                "label": example.label,
                "tokens": example.tokens,
                "tags": example.tags,
                "answers": [{"text": text, "start": start} for text, start in example.answers],
                "targets": example.targets,
                "images": shas,
                "cluster": example.cluster,
                "relevant": example.relevant,
                "candidate": example.candidate,
                "parallel": example.parallel,
            }
        )
    out.mkdir(parents=True, exist_ok=True)
    files = {"records.parquet": out / "records.parquet"}
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), files["records.parquet"])
    if images:
        files["images.parquet"] = out / "images.parquet"
        table = pa.table(
            {"sha256": list(images), "bytes": pa.array(list(images.values()), pa.binary())}
        )
        pq.write_table(table, files["images.parquet"])
    return files


def read_records(path: Path, with_images: bool = True) -> list[Example]:
    """The records of a records.parquet, with or without the images of images.parquet in the same
    folder.
    """
    rows = pq.read_table(path).to_pylist()
    images: Mapping[str, bytes] = {}
    if with_images and any(row["images"] for row in rows):
        table = pq.read_table(path.with_name("images.parquet"))
        images = dict(
            zip(table.column("sha256").to_pylist(), table.column("bytes").to_pylist(), strict=True)
        )
    return [
        Example(
            id=row["id"],
            text=row["text"],
            text_pair=row["text_pair"],
            question=row["question"],
            choices=tuple(row["choices"]),
            label=row["label"],
            tokens=tuple(row["tokens"]),
            tags=tuple(row["tags"]),
            answers=tuple((answer["text"], answer["start"]) for answer in row["answers"]),
            targets=tuple(row["targets"]),
            images=tuple(images[sha] for sha in row["images"] if with_images),
            cluster=row["cluster"],
            relevant=tuple(row["relevant"]),
            candidate=row["candidate"],
            parallel=row["parallel"],
        )
        for row in rows
    ]
