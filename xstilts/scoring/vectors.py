"""Unit vectors of sentences, in single precision and on disk, so that a pool of millions fits; large pools in shards, which
all workers of a group make and the store keeps, so that a lost worker loses one shard.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xstilts.errors import StoreError
from xstilts.store.store import Store

#: Rows of a shard: half a gigabyte at a width of 4,096.
SHARD = 32_768
#: Formats whose rows are told by vectors that are searched.
FORMATS = ("ranking", "mining")


@dataclass(frozen=True)
class Vectors:
    """Vectors of encoded rows, [vectors, width], and for each the row of its records; -1 before it is put."""

    rows: list[int]
    table: npt.NDArray[np.float32]

    @classmethod
    def empty(cls, rows: int, width: int, folder: Path | None = None) -> "Vectors":
        """Room for so many rows, in a file below `folder`; in memory without one."""
        if folder is None:
            return cls([-1] * rows, np.zeros((rows, width), np.float32))
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".npy", delete=False) as file:
            name = file.name
        table = np.lib.format.open_memmap(name, "w+", np.float32, (rows, width))
        # The name goes at once and the bytes with the last who reads them: a pass over many models leaves nothing behind.
        Path(name).unlink()
        return cls([-1] * rows, table)

    @classmethod
    def of(cls, rows: Sequence[tuple[int, Tensor]]) -> "Vectors":
        """Of (row, vector) pairs; at least one."""
        return cls([row for row, _ in rows], torch.stack([vector for _, vector in rows]).float().numpy())

    def __len__(self) -> int:
        return len(self.rows)

    def put(self, place: int, row: int, vector: Tensor) -> None:
        self.rows[place] = row
        self.table[place] = vector.float().cpu().numpy()

    def take(self, places: Sequence[int]) -> Tensor:
        """[places, width] in single precision."""
        return torch.from_numpy(self.table[np.asarray(places, dtype=np.int64)])

    def parts(self, places: Sequence[int], size: int) -> Iterator[Tensor]:
        """The vectors at these places, so many at a time."""
        for first in range(0, len(places), size):
            yield self.take(places[first : first + size])


def bounds(rows: int) -> list[range]:
    """The places of each shard; none where one worker makes all rows at once."""
    return [range(first, min(first + SHARD, rows)) for first in range(0, rows, SHARD)] if rows > SHARD else []


def shard_key(fingerprint: str, checkpoint: str, part: str, number: int) -> str:
    """Where a shard lies in the store until its score step is settled. checkpoint: selected | last; part: a language, or
    `pool`."""
    return f"work/{fingerprint}/vectors/{checkpoint}/{part}/{number:05d}.npz"


def put_shard(store: Store, key: str, vectors: Vectors, scratch: Path) -> None:
    """Uploads a shard, whole or not at all."""
    path = scratch / "shard.npz"
    np.savez(path, rows=np.asarray(vectors.rows, np.int64), table=vectors.table)
    store.put_file(key, path)
    path.unlink()


def read_shard(store: Store, key: str, into: Vectors, places: range, scratch: Path) -> None:
    """Reads a shard into its places. StoreError where its size or precision is another."""
    path = store.get_file(key, scratch / "shard.npz")
    with np.load(path) as shard:
        table = shard["table"]
        if table.shape != (len(places), into.table.shape[1]):
            raise StoreError(
                f"{key}: {table.shape} vectors where {(len(places), into.table.shape[1])} belong; delete it"
            )
        if table.dtype != into.table.dtype:
            raise StoreError(f"{key}: vectors are {table.dtype}, and {into.table.dtype} is needed; delete it")
        into.table[places.start : places.stop] = table
        into.rows[places.start : places.stop] = shard["rows"].tolist()
    path.unlink()
