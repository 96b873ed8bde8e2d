"""The encode step: canonical records × a backbone's processor → rows of token ids, as Parquet.

Columns of encoded.parquet, with one row per training or scoring row. The windows of a long context
and the pieces of a long sentence are separate rows with the same `row`.

- row: index of the example in records.parquet.
- segments: token ids; one list per choice (multiple choice), English and foreign (retrieval), else
  one list.
- length: number of all tokens.
- images, grids: SHA-256 of each image, and what its tokens depend on (Qwen-VL: patches t, h, w).
- label: class or choice, -1 for none.
- labels: one per token of the segment, -100 without a loss; tag ids, or for `lm` the token to be
  predicted there.
- span: first and last token of the answer, (0, 0) if the window does not contain it.
- offsets: (start, end) characters of each context token, -1 elsewhere.
- starts: token range (first, end) in which an answer may start, empty for everywhere. A token in
  several windows counts in the one with the most context around it.
- words: the word that is tagged at a token, -1 elsewhere.
- supervised: number of tokens with a loss (`lm`), else 1.

Special tokens spelled out in a text (`<image>`, `</s>`) are encoded as text. Control tokens are
only added around texts.

`max_length` limits text tokens. Image tokens do not count; they have a budget in the recipe
(`image_tokens`, `min_pixels`, `max_pixels`). See xstilts.data.head_formats and
xstilts.data.lm_format for what is cut.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xstilts.data.head_formats import FORMATS, HeadSettings, tag_ids
from xstilts.data.lm_format import lm_rows
from xstilts.data.records import MAX_BAD_SHARE, MAX_REPORTED, read_records
from xstilts.data.sequence import BadRow, SequenceBuilder, TextImageProcessor
from xstilts.errors import DataError
from xstilts.step import Step
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Example, Task

_INTS, _LISTS = pa.list_(pa.int32()), pa.list_(pa.list_(pa.int32()))
_SCHEMA = pa.schema(
    {
        "row": pa.int32(),
        "language": pa.string(),
        "segments": _LISTS,
        "length": pa.int32(),
        "images": pa.list_(pa.string()),
        "grids": _LISTS,
        "label": pa.int32(),
        "labels": _INTS,
        "span": _INTS,
        "offsets": _INTS,
        "words": _INTS,
        "supervised": pa.int32(),
        "starts": _INTS,
    }
)
_EMPTY_LISTS = ("labels", "span", "offsets", "words", "starts")


def encode(
    step: Step,
    records: Path,
    processor: TextImageProcessor,
    out: Path,
    keep: Sequence[bool] | None = None,
    bad_records: int = 0,
    tasks: Mapping[str, Task] = TASKS,
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Runs an encode step. Returns its files and info.

    info: numbers of rows, examples, tokens, truncated rows, bad rows and training windows without
    their answer; share of unknown tokens; classes of an open set of tags. DataError if too many
    rows are bad.

    Args:
        step: the encode step.
        records: the records.parquet.
        processor: of the backbone.
        out: folder for the result.
        keep: which records to encode; all if None.
        bad_records: bad rows of the records step, which count towards `most_bad_rows` with those
            of this step.
        tasks: the shipped tasks, or private ones as well.
    """
    spec, task = step.spec, tasks[step.spec["task"]]
    examples = read_records(records)
    tags = task.labels or tuple(sorted({tag for example in examples for tag in example.tags}))
    processor = processor.within(spec.get("image_budget") or {})
    encoder = Encoder(task, processor, spec["objective"], spec["lengths"], spec["subtoken"], tags)
    images = pq.read_table(records, columns=["images"]).column("images").to_pylist()
    indices = [index for index in range(len(examples)) if keep is None or keep[index]]
    rows: list[dict[str, Any]] = []
    bad: list[dict[str, Any]] = []
    for index in indices:
        try:
            encoded = list(encoder.rows(examples[index], index))
        except BadRow as error:
            bad.append({"row": index, "reason": f"{examples[index].id}: {error}"})
            continue
        rows += [
            {"row": index, "language": spec["language"], "images": images[index], **row}
            for row in encoded
        ]
    _check_share(step, bad, len(indices), bad_records)
    if not rows:
        raise ValueError(
            f"{spec['task']} {spec['split']} {spec['language']}: no row is left after encoding"
        )
    path = out / "encoded.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), path)
    tokens = sum(row["length"] for row in rows)
    info = {
        "rows": len(rows),
        "examples": len(indices),
        "tokens": tokens,
        "truncated": encoder.truncated,
        "bad": bad[:MAX_REPORTED],
        "bad_rows": len(bad),
        "unanswerable_windows": encoder.unanswerable,
        "unknown_share": encoder.unknown / max(1, tokens),
        "classes": len(tags),
        **({} if task.labels or not tags else {"tags": list(tags)}),
    }
    return {"encoded.parquet": path}, info


def _check_share(
    step: Step, bad: Sequence[Mapping[str, Any]], records: int, bad_records: int
) -> None:
    """DataError if the share of bad rows is above the limit."""
    limit = float(step.settings.get("most_bad", MAX_BAD_SHARE))
    if not bad or len(bad) + bad_records <= limit * (records + bad_records):
        return
    spec = step.spec
    reasons = "; ".join(f"record {row['row']}, {row['reason']}" for row in bad[:3])
    source_rows = f" and {bad_records} source rows are bad" if bad_records else ""
    raise DataError(
        f"{spec['task']} {spec['split']} {spec['language']}: {len(bad)} of {records} records do "
        f"not fit{source_rows}, more than {limit:.0%}; {reasons}; raise lm_length under `override` "
        "if the family allows it, or allow a larger share with most_bad_rows"
    )


class Encoder:
    """Encodes the examples of one task for one backbone, and counts truncated rows, windows without
    their answer, and unknown tokens.
    """

    def __init__(
        self,
        task: Task,
        processor: TextImageProcessor,
        objective: str,
        lengths: Mapping[str, Any],
        subtoken: str,
        tags: Sequence[str] = (),
    ) -> None:
        self.task, self.processor, self.objective = task, processor, objective
        self.builder = SequenceBuilder(processor, lengths)
        self.settings = HeadSettings(tag_ids(tags or task.labels), subtoken, objective == "head")
        self.truncated = self.unanswerable = self.unknown = 0

    def rows(self, example: Example, index: int = 0) -> Iterator[dict[str, Any]]:
        """The encoded rows of one example. index: in the records; it seeds the masks of plain
        text.
        """
        images = self.builder.image_tokens(example.images)
        grids = [self.processor.grid(data, len(example.images)) for data in example.images]
        for encoded in self._encoded(example, index):
            kept = encoded.pop("kept", ())
            segments = encoded["segments"]
            self._verify(example, segments, (images, *kept))
            self._check_length(example, segments, len(images))
            self._count(encoded)
            yield {
                "length": sum(map(len, segments)),
                "grids": grids,
                "label": -1,
                "supervised": 1,
                **{column: [] for column in _EMPTY_LISTS},
                **encoded,
            }

    def _encoded(self, example: Example, index: int) -> Iterator[dict[str, Any]]:
        if self.objective == "lm":
            return lm_rows(self.builder, self.task, example, index)
        return FORMATS[self.task.format](self.builder, example, self.settings)

    def _count(self, row: Mapping[str, Any]) -> None:
        self.truncated += self.builder.was_cut
        self.builder.was_cut = False
        self.unanswerable += row.get("span") == [0, 0]
        unknown = self.builder.tokenizer.unk_token_id
        if unknown is not None:
            self.unknown += sum(segment.count(unknown) for segment in row["segments"])

    def _verify(
        self, example: Example, segments: Sequence[list[int]], kept: Sequence[list[int]]
    ) -> None:
        """RuntimeError, a bug in the encoding, if a segment lost a part that must be kept."""
        for segment in segments:
            for part in kept:
                if not _contains(segment, part):
                    raise RuntimeError(
                        f"{self.task.name}, example {example.id}: encoding lost {len(part)} tokens "
                        "of its question, instruction, answer or image"
                    )

    def _check_length(
        self, example: Example, segments: Sequence[list[int]], image_tokens: int
    ) -> None:
        """DataError if a segment is longer than the positions of the backbone. It is not a bad
        row: all image conditions of a task must have the same rows.
        """
        most, longest = self.processor.max_tokens, max(map(len, segments))
        if most is None or longest <= most:
            return
        text = longest - image_tokens
        remedy = "set a smaller max_length or lm_length under `override`"
        share = (most - text) // len(example.images) if image_tokens else 0
        # A family without grids has images of one size.
        if share > 0 and self.processor.grid(example.images[0], len(example.images)):
            remedy = f"set image_tokens under `override` to less than {share}"
        raise DataError(
            f"{self.task.name}, example {example.id}: {image_tokens} tokens of images and {text} "
            f"of text are more than the {most} positions of the backbone; {remedy}"
        )


def _contains(tokens: Sequence[int], part: Sequence[int]) -> bool:
    """Whether a part occurs in the tokens."""
    if not part:
        return True
    size = len(part)
    return any(
        tokens[start] == part[0] and tokens[start : start + size] == part
        for start in range(len(tokens) - size + 1)
    )
