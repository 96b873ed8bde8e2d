"""Parsers of input from outside, as functions of bytes: a documented error, or a value.

test_properties.py feeds them with hypothesis, run.py with atheris.
"""

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from xstilts.errors import XstiltsError
from xstilts.input_files import InvalidDocument, parse_json, parse_row, parse_yaml
from xstilts.models.model_folder import read_header
from xstilts.official import read
from xstilts.plan.load import load_plan
from xstilts.sources.json_rows import JsonRows
from xstilts.store.documents import parse
from xstilts.store.manifest import Manifest
from xstilts.tasks.pictures import check_picture


def document(data: bytes) -> None:
    """JSON and YAML documents, and rows."""
    for parser in (parse_json, parse_row, parse_yaml):
        try:
            parser(data)
        except InvalidDocument:
            continue


def plan(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plan.yaml"
        file.write_bytes(data)
        _refused(load_plan, file)


def manifest(data: bytes) -> None:
    """A manifest as a store returns it."""
    key = "steps/score/" + "0" * 64 + "/manifest.json"
    _refused(lambda: Manifest.from_json(parse(key, data, "s3://bucket/store"), "s3://bucket/store"))


def submission(data: bytes) -> None:
    """A file of a submission, in every format."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file"
        file.write_bytes(data)
        for reader in (
            read.lines, read.sentences, read.objects, read.questions, read.answers, read.rankings,
            read.pairs,
        ):  # fmt: skip
            _refused(reader, file)


def rows(data: bytes) -> None:
    """Files of rows, compressed or not."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("rows.jsonl", "rows.jsonl.gz", "rows.jsonl.tar.gz"):
            file = Path(folder) / name
            file.write_bytes(data)
            _refused(lambda file=file: JsonRows([file]))


def weights(data: bytes) -> None:
    """The header of a safetensors file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        file.write_bytes(data)
        _refused(read_header, file)


def picture(data: bytes) -> None:
    try:
        check_picture(data)
    except ValueError:
        return


def _refused(function: Callable[..., object], *arguments: object) -> None:
    """Calls a function, which may refuse its input with an error for users."""
    with contextlib.suppress(XstiltsError):
        function(*arguments)


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "document": document,
    "plan": plan,
    "manifest": manifest,
    "submission": submission,
    "rows": rows,
    "weights": weights,
    "picture": picture,
}
