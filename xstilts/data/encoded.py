"""Reads encoded.parquet: rows of token ids, with images by reference; and the images."""

import fcntl
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

#: Sets with at most this many rows are kept as Python objects, about 2 KB per row.
_MAX_PYTHON_ROWS = 50_000


@dataclass(frozen=True)
class EncodedRow:
    """One training or scoring row: the columns of encoded.parquet, see xstilts.data.encode."""

    row: int
    language: str
    segments: list[list[int]]
    length: int
    images: list[str]
    grids: list[list[int]]
    label: int
    labels: list[int]
    span: list[int]
    offsets: list[int]
    words: list[int]
    supervised: int
    starts: list[int] = field(default_factory=list)


class EncodedRows:
    """The rows of one encoded.parquet, read once. `lengths` and `supervised` are lists of int.

    Pickled as the file's path: another process reads the file itself, and keeps its rows in Arrow.
    """

    def __init__(self, source: Path | pa.Table, most_python_rows: int = _MAX_PYTHON_ROWS) -> None:
        """most_python_rows: a set with at most this many rows is kept as Python objects."""
        self._source, self._most_python_rows = source, most_python_rows
        self.table = source if isinstance(source, pa.Table) else pq.read_table(source)
        self.lengths: list[int] = self.table.column("length").to_pylist()
        self.supervised: list[int] = self.table.column("supervised").to_pylist()

    def __reduce__(self) -> tuple[Callable[..., "EncodedRows"], tuple[Any, ...]]:
        return EncodedRows, (self._source, 0)

    def __len__(self) -> int:
        return self.table.num_rows

    def share(self, rank: int, world: int) -> "EncodedRows":
        """Every `world`-th row, starting at `rank`."""
        return EncodedRows(self.table.take(list(range(rank, len(self), world))))

    @cached_property
    def _all(self) -> list[EncodedRow]:
        return [EncodedRow(**row) for row in self.table.to_pylist()]

    def rows(self, indices: Sequence[int]) -> list[EncodedRow]:
        """The rows at some indices. Small sets are converted to Python once, large ones stay in
        Arrow.
        """
        if len(self) <= self._most_python_rows:
            return [self._all[index] for index in indices]
        return [EncodedRow(**row) for row in self.table.take(list(indices)).to_pylist()]


class Images:
    """The images of records, by the SHA-256 of their bytes. An image is copied from Arrow when it
    is read, and verified.

    Pickled as paths: another process maps the same files.
    """

    def __init__(self, paths: Sequence[Path], copies: Path | None = None) -> None:
        """copies: a folder for Arrow copies of the files, under the same names. They are mapped
        into memory: processes of one machine share them, and only images in use take memory. None:
        the files are read into memory.
        """
        self._paths, self._copies = [*paths], copies
        tables = [mapped(path, copies / path.name) if copies else _read(path) for path in paths]
        self._table = pa.concat_tables(tables) if tables else _EMPTY
        names = self._table.column("sha256").to_pylist()
        self._rows = {name: row for row, name in enumerate(names)}

    def __reduce__(self) -> tuple[Callable[..., "Images"], tuple[Any, ...]]:
        return Images, (self._paths, self._copies)

    def __getitem__(self, sha: str) -> bytes:
        """The bytes of an image. KeyError if there is none with this SHA-256; ValueError if the
        bytes have another.
        """
        data: bytes = self._table.column("bytes")[self._rows[sha]].as_py()
        if hashlib.sha256(data).hexdigest() != sha:
            files = [(self._copies or path.parent) / path.name for path in self._paths]
            raise ValueError(
                f"{', '.join(map(str, files))}: corrupt: the bytes of image {sha[:16]}… have "
                "another SHA-256; delete the file and run the plan again"
            )
        return data


_EMPTY = pa.table({"sha256": pa.array([], pa.string()), "bytes": pa.array([], pa.binary())})


def _read(path: Path) -> pa.Table:
    return pq.read_table(path, columns=["sha256", "bytes"])


def mapped(path: Path, copy: Path) -> pa.Table:
    """The table of a Parquet file, mapped into memory from an Arrow copy, which is written first
    if it does not exist. Of the processes that share the copy, one writes it.
    """
    if not copy.is_file():
        copy.parent.mkdir(parents=True, exist_ok=True)
        with open(copy.parent / ".lock", "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released when this process ends for any reason
            if not copy.is_file():
                _write_copy(path, copy)
    with pa.memory_map(str(copy)) as source:
        return pa.ipc.open_file(source).read_all()


def _write_copy(path: Path, copy: Path) -> None:
    """Converts in small batches, so that the file is never in memory as a whole."""
    part = copy.with_name(f"{copy.name}.{os.getpid()}.part")
    try:
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
        with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, file.schema_arrow) as out:
            for batch in file.iter_batches(batch_size=64):
                out.write_batch(batch)
        os.replace(part, copy)
    finally:
        part.unlink(missing_ok=True)
        pa.default_memory_pool().release_unused()
