"""Reads encoded.parquet: rows of token ids, with images by reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

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
    """The rows of one encoded.parquet, read once. `lengths` and `supervised` are lists of int."""

    def __init__(self, source: Path | pa.Table) -> None:
        self.table = source if isinstance(source, pa.Table) else pq.read_table(source)
        self.lengths: list[int] = self.table.column("length").to_pylist()
        self.supervised: list[int] = self.table.column("supervised").to_pylist()

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
        if len(self) <= _MAX_PYTHON_ROWS:
            return [self._all[index] for index in indices]
        return [EncodedRow(**row) for row in self.table.take(list(indices)).to_pylist()]


class Images:
    """The images of records, by the SHA-256 of their bytes."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.data: Mapping[str, bytes] = {
            sha: data
            for path in paths
            for sha, data in zip(
                *(pq.read_table(path).column(c).to_pylist() for c in ("sha256", "bytes")),
                strict=True,
            )
        }

    def __getitem__(self, sha: str) -> bytes:
        return self.data[sha]
