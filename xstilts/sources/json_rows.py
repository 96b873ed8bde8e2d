"""Rows of JSON files. A row is parsed when it is read, so an invalid line is a bad row, not a bad
file.
"""

import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from tarfile import TarError
from typing import Any, BinaryIO

from xstilts.errors import DataError
from xstilts.input_files import named, open_file, open_gzip, parse_row
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
                with _opened(path) as stream:
                    self.rows += _rows(stream, field)
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
            row = parse_row(row)
        if not isinstance(row, dict):
            raise ValueError(f"a row must be a JSON object, not {named(row)}")
        return row


def _opened(path: Path) -> BinaryIO:
    """The file, decompressed while it is read; of an archive the data file in memory."""
    if is_archive(path.name):
        with open_gzip(path) as stream:
            return io.BytesIO(read_archive(stream, str(path)))
    return open_gzip(path) if path.suffix == ".gz" else open_file(path)


def _rows(stream: BinaryIO, field: str | None) -> list[Any]:
    if field:
        return list(parse_row(stream.read())[field])
    lines = [line for line in stream if line.strip()]
    if lines and lines[0].lstrip()[:1] == b"[":
        return list(parse_row(b"".join(lines)))
    return [line.rstrip(b"\n") for line in lines]
