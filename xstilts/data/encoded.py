"""Reads what `encode` wrote: rows of token ids, images by reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

#: Sets of at most so many rows are kept as Python objects, about 2 KB a row.
_IN_PYTHON = 50_000


@dataclass(frozen=True)
class EncodedRow:
    """One training or scoring row. The columns of encoded.parquet; see xstilts.data.encode for
    their meaning.
    """

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
    """The rows of one encoded.parquet, read once; `lengths` and `supervised` are plain lists of
    int.
    """

    def __init__(self, source: Path | pa.Table) -> None:
        self.table = source if isinstance(source, pa.Table) else pq.read_table(source)
        self.lengths: list[int] = self.table.column("length").to_pylist()
        self.supervised: list[int] = self.table.column("supervised").to_pylist()

    def __len__(self) -> int:
        return self.table.num_rows

    def share(self, rank: int, world: int) -> "EncodedRows":
        """Every world-th row from rank on."""
        return EncodedRows(self.table.take(list(range(rank, len(self), world))))

    @cached_property
    def _all(self) -> list[EncodedRow]:
        return [EncodedRow(**row) for row in self.table.to_pylist()]

    def rows(self, indices: Sequence[int]) -> list[EncodedRow]:
        """The rows at these places. Small sets are read into Python once, large ones stay in
        Arrow.
        """
        if len(self) <= _IN_PYTHON:
            return [self._all[index] for index in indices]
        return [EncodedRow(**row) for row in self.table.take(list(indices)).to_pylist()]


class Images:
    """The image bytes of some records, by the SHA-256 of the bytes."""

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
