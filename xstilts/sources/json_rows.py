"""Rows of JSON files. A row is parsed when it is read, so an invalid line is a bad row, not a bad
file.
"""

import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from tarfile import TarError
from typing import Any

from xstilts.errors import DataError
from xstilts.sources.archive import is_archive, read_archive

#: What reading and decompressing a corrupt JSON file can raise.
READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    RecursionError,
    TarError,
    zlib.error,
)


class JsonRows:
    """The rows of JSON files: JSON Lines, an array, or the list in `field` of an object.

    Files named `.gz` are decompressed; of a `.tar.gz` the only data file is read. DataError for a
    file that cannot be read at all.
    """

    def __init__(self, paths: Sequence[Path], field: str | None = None) -> None:
        self.rows: list[Any] = []  # lines as bytes, or rows
        for path in paths:
            try:
                self.rows += _rows(_bytes(path), field)
            except READ_ERRORS as error:
                raise DataError(
                    f"{path}: cannot be read as json ({type(error).__name__}: {error}); fetch the "
                    "file again"
                ) from error

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A row; ValueError if the line is not a JSON object in UTF-8."""
        row = self.rows[index]
        if isinstance(row, bytes):
            try:
                row = json.loads(row)  # UnicodeDecodeError and JSONDecodeError are ValueErrors
            except RecursionError as error:
                raise ValueError("the JSON is nested too deep") from error
        if not isinstance(row, dict):
            raise ValueError(f"a row must be a JSON object, not {type(row).__name__}")
        return row


def _bytes(path: Path) -> bytes:
    if is_archive(path.name):
        with path.open("rb") as stream:
            return read_archive(stream, str(path))
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def _rows(data: bytes, field: str | None) -> list[Any]:
    if field:
        return list(json.loads(data)[field])
    if data.lstrip()[:1] == b"[":
        return list(json.loads(data))
    return [line for line in data.split(b"\n") if line.strip()]
