"""Reads the first rows of a data file without the rest, for the probe."""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, BinaryIO, cast

from xstilts.errors import DataError
from xstilts.input_files import gunzipped, named, parse_row
from xstilts.sources.archive import is_archive, open_archive
from xstilts.sources.json_rows import READ_ERRORS
from xstilts.step import canonical_json


def decompressed(stream: BinaryIO, name: str) -> BinaryIO:
    """An open data file without its compression or archive, which the file name tells. DataError
    for an archive without data.
    """
    if is_archive(name):
        return cast(BinaryIO, open_archive(gunzipped(stream), name))
    return gunzipped(stream) if name.endswith(".gz") else stream


def first_rows(
    stream: BinaryIO, kind: str, count: int, field: str | None = None
) -> tuple[list[Any], dict[str, str]]:
    """(rows, column → type) of the beginning of an open file.

    Types are those of Arrow, such as `string` or `list<element: int64>`. Of a Parquet file, one
    row group is read. DataError for a file that cannot be read.

    Args:
        stream: the open file.
        kind: parquet or json.
        count: of rows to read.
        field: of a JSON object that holds the rows.
    """
    import pyarrow as pa

    try:
        if kind == "parquet":
            import pyarrow.parquet as pq

            file = pq.ParquetFile(stream)
            batch = next(file.iter_batches(batch_size=count), None)
            rows = batch.to_pylist() if batch is not None else []
            schema = file.schema_arrow
        else:
            rows = list(islice(_json_rows(stream, field), count))
            if other := [row for row in rows if not isinstance(row, Mapping)]:
                raise ValueError(f"a row must be a JSON object, not {named(other[0])}")
            schema = pa.Table.from_pylist(rows).schema
    except (pa.ArrowException, *READ_ERRORS) as error:
        raise DataError(f"cannot be read as {kind} ({type(error).__name__}: {error})") from error
    return rows, {column.name: str(column.type) for column in schema}


def _json_rows(stream: BinaryIO, field: str | None) -> Iterator[Any]:
    """The rows of JSON Lines, of a JSON array, or of the list in a field of a JSON object."""
    text = io.TextIOWrapper(stream, encoding="utf-8")
    if field:
        yield from parse_row(text.read())[field]
        return
    start = text.readline()
    if start.lstrip().startswith("["):
        yield from parse_row(start + text.read())
        return
    for line in (start, *text):
        if line.strip():
            yield parse_row(line)


def rows_hash(rows: Sequence[Any]) -> str:
    """SHA-256 of rows in order, in which bytes count by their own SHA-256. It does not depend on
    how the rows are split into files.
    """
    total = hashlib.sha256()
    for row in rows:
        total.update(canonical_json(_plain(row)).encode() + b"\n")
    return total.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"sha256": hashlib.sha256(value).hexdigest()}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
