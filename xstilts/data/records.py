"""Source rows → canonical records, as Parquet. Bad rows are counted and named; too many of them
stop the step.
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

from xstilts.data.image_conditions import caption_of, with_images
from xstilts.errors import DataError
from xstilts.step import Step
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import UNUSABLE, Example, Source, Task

#: More bad rows than this share stop the step, where the plan does not say otherwise
#: (`most_bad_rows`).
MOST_BAD = 0.05
#: Bad rows that a manifest names.
NAMED = 50

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
    """Does a records step: files records.parquet (and images.parquet), info with rows, bad rows,
    licence.

    All image conditions of a task share rows: every condition checks the rows as their source has
    them, pictures included, and only then shows them its own way. Where the spec names captions (a
    plan with a `caption` arm of the task), a row without one is a bad row of every condition.
    """
    from xstilts.sources.loader import load_rows

    spec, task = step.spec, tasks[step.spec["task"]]
    where = spec["source"]
    source = source_of(where)
    # At the commit that the step is named by.
    rows = load_rows(mirror.at(where), source, spec["language"], task.label_column)
    # Training rows are capped after a seeded shuffle, the others in order, so that parallel
    # languages stay parallel.
    stream = random.Random(f"records/{spec['task']}")
    if "smoothing" in where:
        order = rows.sample(stream, where["smoothing"])
    else:
        order = list(range(len(rows)))
        if spec["split"] == "train":
            stream.shuffle(order)
    # A question is asked of the sentences around it: cut in between, it has no answer left.
    whole = task.format == "ranking" and spec["split"] == "test" and not task.pool
    captions = _captions(spec.get("captions"), mirror)
    examples, bad, dropped = read_rows(
        task, rows, order, spec["language"], None if whole else spec["rows"], captions
    )
    examples = first_clusters(examples, spec["rows"]) if whole else examples
    most = float(step.settings.get("most_bad", MOST_BAD))
    if len(bad) > most * max(1, len(bad) + len(examples)) or not examples:
        named = "; ".join(f"row {entry['row']}: {entry['reason']}" for entry in bad[:3])
        raise DataError(
            f"{where['path']} ({where['config']}, {where['split']}): {len(bad)} bad rows of "
            f"{len(bad) + len(examples)}, more than {most:.0%}; {named or 'it has no rows'}; "
            "correct the source, name another under `splits`, or allow a larger share by most_bad_rows"
        )
    if spec["labels"] == "shuffled":
        examples = shuffled_labels(examples)
    if spec.get("images", "real") != "real":
        examples = with_images(examples, spec["images"], captions)
    files = write_records(examples, out)
    tags: list[str] = []
    if task.format == "tagging" and not task.labels:
        tags = sorted({tag for example in examples for tag in example.tags})
    info = {
        "rows": len(examples),
        "bad": bad[:NAMED],
        "bad_rows": len(bad),
        "dropped": dropped,
        "licence": task.licence,
        "source_rows": len(rows),
        **({"tags": tags} if tags else {}),
    }
    return files, info


def _captions(where: Mapping[str, Any] | None, mirror: Any) -> dict[str, str] | None:
    """SHA-256 of a picture → its caption, of a mirror's `captions/<task>`; None where the spec
    names none. DataError where it has other columns.
    """
    from xstilts.sources.loader import load_rows

    if where is None:
        return None
    rows = load_rows(mirror.at(where), source_of(where), "en")
    try:
        pairs = [
            (str(row["sha256"]), row["caption"])
            for row in (rows[place] for place in range(len(rows)))
        ]
    except (KeyError, ValueError) as error:
        raise DataError(
            f"{where['path']} ({where['split']}): needs the columns sha256 and caption ({error})"
        ) from error
    captions: dict[str, str] = {}
    for sha, caption in pairs:
        if caption is None or not str(caption).strip():
            continue  # a picture without a caption makes its rows bad rows
        if captions.setdefault(sha, str(caption)) != str(caption):
            raise DataError(
                f"{where['path']} ({where['split']}): two different captions of the picture {sha}; keep one"
            )
    return captions


def read_rows(
    task: Task,
    rows: Any,
    order: Iterable[int],
    language: str,
    cap: int | None,
    captions: Mapping[str, str] | None = None,
) -> tuple[list[Example], list[dict[str, Any]], int]:
    """(records, bad rows with reasons, rows dropped by rule), at most `cap` records. captions:
    SHA-256 of a picture → its caption, where each record needs one; None: none does.
    """
    examples: list[Example] = []
    bad: list[dict[str, Any]] = []
    dropped = 0
    for index in order:
        if cap is not None and len(examples) >= cap:
            break
        try:
            row = rows[index]
            made = task.to_example(row, index, language)
        except UNUSABLE as error:
            bad.append({"row": index, "reason": f"{type(error).__name__}: {error}"[:300]})
            continue
        several = [made] if isinstance(made, Example) else list(made or ())
        dropped += not several
        origin = row.get("origin") if isinstance(row, dict) else None
        for example in several:
            try:
                check(task, example)
                if captions is not None and not caption_of(example, captions).strip():
                    raise ValueError(
                        "a picture has no caption, and an arm of the plan shows captions"
                    )
            except UNUSABLE as error:
                name = f" {example.id}" if len(several) > 1 else ""
                bad.append({"row": index, "reason": f"{type(error).__name__}{name}: {error}"[:300]})
                continue
            name = f"{origin}:{example.id}" if origin is not None else example.id
            examples.append(replace(example, id=name, parallel=parallel_key(task, example, index)))
    return examples[:cap], bad, dropped


def parallel_key(task: Task, example: Example, index: int) -> str:
    """What an example shares with its translations, or the empty text. index: its row in the
    source.
    """
    return {"": "", "id": example.id, "row": str(index)}[task.parallel]


def first_clusters(examples: Sequence[Example], queries: int | None) -> list[Example]:
    """The first clusters (paragraphs) with at most so many queries in all, at least one: with
    all their candidates, and the same in languages whose rows are parallel.
    """
    asked = Counter(one.cluster for one in examples if one.relevant)
    kept: set[str] = set()
    total = 0
    for cluster in dict.fromkeys(one.cluster for one in examples):
        total += asked[cluster]
        if queries is not None and kept and total > queries:
            break
        kept.add(cluster)
    return [one for one in examples if one.cluster in kept]


def source_of(where: Mapping[str, Any]) -> Source:
    """The source that a records step's spec names."""
    return Source(
        where["path"],
        where["config"],
        where["split"],
        field=where.get("field"),
        plus=tuple(source_of(one) for one in where.get("plus", ())),
        pictures=source_of(where["pictures"]) if where.get("pictures") else None,
        pictures_key=where.get("pictures_key", ""),
        each=bool(where.get("each")),
        files=tuple(where.get("files", ())),
    )


def check(task: Task, example: Example) -> None:
    """Raises ValueError for a record that its format cannot use."""
    if example.flaw:
        raise ValueError(example.flaw)
    for text in _texts(example):
        if (
            place := next(
                (i for i, letter in enumerate(text) if "\ud800" <= letter <= "\udfff"), None
            )
        ) is not None:
            raise ValueError(
                f"half a character (surrogate) at character {place}: the text was decoded wrongly"
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
        raise ValueError("a text that the task needs is empty")
    if (
        task.format == "ranking"
        and task.role == "evaluation"
        and bool(example.relevant) == bool(example.candidate)
    ):
        raise ValueError("a row of a ranking is either a query with answers or a named candidate")
    if task.captioned and not example.caption.strip():
        raise ValueError("the caption that can stand for the picture is empty")
    if example.images:
        from xstilts.tasks.pictures import check_picture

        for data in example.images:
            check_picture(data)


def _texts(example: Example) -> Iterator[str]:
    """Every text of a record."""
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
    """The negative control: every answer moved to another row, so that nothing can be learnt from
    them.

    Labels, tag lists and captions change rows by one seeded permutation without fixed points. A
    span is put at a random place of its own context, since another row's answer does not occur
    there.
    """
    random_ = random.Random("shuffled labels")
    order = list(range(len(examples)))
    random_.shuffle(order)
    donors = {order[i]: order[(i + 1) % len(order)] for i in range(len(order))}
    return [
        _with_answer_of(example, examples[donors[i]], random_) for i, example in enumerate(examples)
    ]


def _with_answer_of(example: Example, donor: Example, random_: random.Random) -> Example:
    if example.answers:
        words = example.text.split()
        chosen = random_.randrange(len(words))
        start = len(" ".join(words[:chosen])) + (1 if chosen else 0)
        found = example.text.find(words[chosen], min(start, len(example.text)))
        start = found if found >= 0 else example.text.index(words[chosen])
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
    """Writes records.parquet and, when there are pictures, images.parquet (sha256, bytes)."""
    pictures: dict[str, bytes] = {}
    rows = []
    for example in examples:
        shas = [hashlib.sha256(data).hexdigest() for data in example.images]
        pictures.update(zip(shas, example.images, strict=True))
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
    if pictures:
        files["images.parquet"] = out / "images.parquet"
        table = pa.table(
            {"sha256": list(pictures), "bytes": pa.array(list(pictures.values()), pa.binary())}
        )
        pq.write_table(table, files["images.parquet"])
    return files


def read_records(path: Path, pictured: bool = True) -> list[Example]:
    """The records of a records.parquet; pictures are read from images.parquet beside it, or left
    out.
    """
    rows = pq.read_table(path).to_pylist()
    pictures: Mapping[str, bytes] = {}
    if pictured and any(row["images"] for row in rows):
        table = pq.read_table(path.with_name("images.parquet"))
        pictures = dict(
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
            images=tuple(pictures[sha] for sha in row["images"] if pictured),
            cluster=row["cluster"],
            relevant=tuple(row["relevant"]),
            candidate=row["candidate"],
            parallel=row["parallel"],
        )
        for row in rows
    ]
