"""Texts, examples and shorthands for the tests of encoding with tiny processors."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from xstilts.data.encode import Encoder, encode
from xstilts.data.encoded import EncodedRow, EncodedRows
from xstilts.data.records import write_records
from xstilts.models.processor import Processor
from xstilts.step import Step
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Example

FAMILIES = ("xlm_r", "llava", "qwen_vl")
DECODERS = ("llava", "qwen_vl")
SEEN = [
    f"the {size} dog sees {name} in the park ."
    for size in ("big", "small")
    for name in ("anna", "ben", "carl")
]
SEEN += [
    "who sees anna ?",
    "where is ben ?",
    "entailment neutral contradiction",
    "is it true ?",
    "B-PER I-PER O",
]
CONTEXT = " ".join(SEEN[:6]) + " สิทธิ sees ben . " + " ".join(SEEN[:6])
ANSWER = (
    "สิทธิ",
    CONTEXT.index("สิทธิ"),
)  # a word that the tokenizers were not trained on: many tokens, including bytes
SPAN = Example(id="q", text=CONTEXT, question="who sees ben ?", answers=(ANSWER,))
TAGGED = Example(
    id="0", tokens=("anna", "sees", "กรุงเทพ", "ben"), tags=("B-PER", "O", "B-LOC", "B-PER")
)

Processors = Callable[[str], Processor]


def encoder(of: Processor, task: str, objective: str = "head", **lengths: int) -> Encoder:
    subtoken = "first" if of.family == "xlm_r" else "last"
    return Encoder(TASKS[task], of, objective, {"max_length": 512, **lengths}, subtoken)


def rows(
    of: Processor, task: str, example: Example, objective: str = "head", **lengths: int
) -> list[dict[str, Any]]:
    return list(encoder(of, task, objective, **lengths).rows(example))


def ids(of: Processor, text: str) -> list[int]:
    tokens: list[int] = of.tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokens


def frame(of: Processor) -> tuple[list[int], list[int], list[int]]:
    """The tokens before the first text, between two texts and after the last."""
    end = of.tokenizer.eos_token_id
    return (
        ([of.tokenizer.bos_token_id], [end] * 2, [end])
        if of.family == "xlm_r"
        else ([], of.newline, [end])
    )


def png(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(out, "PNG")
    return out.getvalue()


def encoded(
    of: Processor,
    task: str,
    examples: Sequence[Example],
    folder: Path,
    objective: str = "head",
    **more: Any,
) -> tuple[list[EncodedRow], dict[str, Any]]:
    """Runs the whole step, from records.parquet to encoded.parquet."""
    keep, bad_records = more.pop("keep", None), more.pop("bad_records", 0)
    lengths = {"max_length": 64, **more}
    spec = {
        "task": task, "split": "train", "language": "en", "objective": objective, "family": of.family,
        "lengths": lengths, "subtoken": "first" if of.family == "xlm_r" else "last",
    }  # fmt: skip
    records = write_records(list(examples), folder)["records.parquet"]
    files, info = encode(Step("encode", spec), records, of, folder, keep, bad_records)
    read = EncodedRows(files["encoded.parquet"])
    return read.rows(range(len(read))), info
