"""The first rows of a data file, without the rest of it: what a probe looks at."""

import gzip
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, BinaryIO, cast

from xstilts.errors import DataError
from xstilts.sources.archive import is_archive, open_archive
from xstilts.step import canonical_json


def unpacked(stream: BinaryIO, name: str) -> BinaryIO:
    """An open data file as its rows are written: of a compressed file or archive (by its name),
    what is inside. DataError for an archive without data.
    """
    if is_archive(name):
        return cast(BinaryIO, open_archive(stream, name))
    return cast(BinaryIO, gzip.open(stream)) if name.endswith(".gz") else stream


def first_rows(
    stream: BinaryIO, kind: str, count: int, field: str | None = None
) -> tuple[list[Any], dict[str, str]]:
    """(rows, column → type) of the head of an open file. kind: parquet or json; field: where a
    JSON file holds its rows. Of parquet one row group is read. Types are those of Arrow, as
    `string` or `list<element: int64>`. DataError when it cannot be read.
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
            schema = pa.Table.from_pylist(rows).schema
    except (pa.ArrowException, ValueError, OSError) as error:
        raise DataError(f"cannot be read as {kind} ({type(error).__name__}: {error})") from error
    return rows, {column.name: str(column.type) for column in schema}


def _json_rows(stream: BinaryIO, field: str | None) -> Iterator[Any]:
    """Rows of JSON Lines, of a JSON array, or of the list that stands in a field of a JSON
    object.
    """
    text = io.TextIOWrapper(stream, encoding="utf-8")
    if field:
        yield from json.load(text)[field]
        return
    start = text.readline()
    if start.lstrip().startswith("["):
        yield from json.loads(start + text.read())
        return
    for line in (start, *text):
        if line.strip():
            yield json.loads(line)


def rows_hash(rows: Sequence[Any]) -> str:
    """SHA-256 over rows in order, bytes in them by their own SHA-256: two copies of a set with
    the same rows have the same hash however their files are packed.
    """
    total = hashlib.sha256()
    for row in rows:
        total.update(canonical_json(_plain(row)).encode() + b"\n")
    return total.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"sha256": hashlib.sha256(value).hexdigest()}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
