"""Rows of JSON files, one parsed when it is asked for: a line that is not UTF-8 or no JSON is a
bad row, not a bad file.
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


class JsonRows:
    """JSON Lines, a JSON array, or the list in `field` of a JSON object; several files follow
    one another. Gzip, or the one data file of a tar archive, by name. DataError names a file
    that cannot be read at all.
    """

    def __init__(self, paths: Sequence[Path], field: str | None = None) -> None:
        self.rows: list[Any] = []  # lines as bytes, or rows
        for path in paths:
            try:
                self.rows += _rows(_bytes(path), field)
            except (
                OSError,
                EOFError,
                ValueError,
                LookupError,
                TypeError,
                RecursionError,
                TarError,
                zlib.error,
            ) as error:
                raise DataError(
                    f"{path}: cannot be read as json ({type(error).__name__}: {error}); fetch the file again"
                ) from error

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A row; ValueError where its line is no JSON object in UTF-8."""
        row = self.rows[index]
        if isinstance(row, bytes):
            try:
                row = json.loads(row)  # UnicodeDecodeError and JSONDecodeError are ValueErrors
            except RecursionError as error:
                raise ValueError("the JSON is nested too deep") from error
        if not isinstance(row, dict):
            raise ValueError(f"a row is a JSON object, this is {type(row).__name__}")
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
