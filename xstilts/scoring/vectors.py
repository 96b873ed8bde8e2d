"""Unit vectors of sentences, in single precision and on disk, so that a pool of millions fits."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

#: Formats whose rows are told by vectors that are searched.
FORMATS = ("ranking", "mining")


@dataclass(frozen=True)
class Vectors:
    """Vectors of encoded rows, [vectors, width], and for each the row of its records; -1 before
    it is put.
    """

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
        # The name goes at once and the bytes with the last who reads them: a pass over many models
        # leaves nothing behind.
        Path(name).unlink()
        return cls([-1] * rows, table)

    @classmethod
    def of(cls, rows: Sequence[tuple[int, Tensor]]) -> "Vectors":
        """Of (row, vector) pairs; at least one."""
        return cls(
            [row for row, _ in rows], torch.stack([vector for _, vector in rows]).float().numpy()
        )

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
