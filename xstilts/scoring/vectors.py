"""Unit vectors of sentences in single precision, on disk if a pool of millions must fit."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

#: Formats whose predictions are found by searching vectors.
FORMATS = ("ranking", "mining")


@dataclass(frozen=True)
class Vectors:
    """Vectors of encoded rows, [vectors, width], and the row in the records of each; -1 before it
    is stored.
    """

    rows: list[int]
    table: npt.NDArray[np.float32]

    @classmethod
    def empty(cls, rows: int, width: int, folder: Path | None = None) -> "Vectors":
        """Space for a number of rows, in a temporary file in `folder`, or in memory if None."""
        if folder is None:
            return cls([-1] * rows, np.zeros((rows, width), np.float32))
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".npy", delete=False) as file:
            name = file.name
        table = np.lib.format.open_memmap(name, "w+", np.float32, (rows, width))
        # The file has no name any more, so its space is freed once nothing uses it.
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

    def put(self, index: int, row: int, vector: Tensor) -> None:
        """Stores the vector of a row."""
        self.rows[index] = row
        self.table[index] = vector.float().cpu().numpy()

    def take(self, indices: Sequence[int]) -> Tensor:
        """[indices, width] in single precision."""
        return torch.from_numpy(self.table[np.asarray(indices, dtype=np.int64)])

    def parts(self, indices: Sequence[int], size: int) -> Iterator[Tensor]:
        """The vectors at some indices, in parts of `size`."""
        for first in range(0, len(indices), size):
            yield self.take(indices[first : first + size])
