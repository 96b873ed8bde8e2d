"""A flat batch: the tokens of several segments in one row, with their boundaries. There is no
padding anywhere.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageInput:
    """One picture as its vision tower takes it.

    pixel_values: LLaVA [1, 3, height, width]; Qwen-VL [patches, channels × patch volume]. grid: [t,
    h, w] in patches, empty where the family has none. tokens: how many image tokens it becomes.
    """

    pixel_values: Tensor
    grid: tuple[int, ...]
    tokens: int


@dataclass(frozen=True)
class Segment:
    """One sequence that attends to itself only. `key` names it for dropout: see `segment_key`."""

    input_ids: Sequence[int]
    images: Sequence[ImageInput] = ()
    key: int = 0


@lru_cache(maxsize=65536)
def segment_key(row: int, segment: int = 0) -> int:
    """A 63-bit number that names a segment of a row (its position in the records), wherever and
    with whatever it is batched. Equal in all arms that share the row, so that they share its
    dropout.
    """
    return int.from_bytes(hashlib.sha256(f"{row}\0{segment}".encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class PackedBatch:
    """Segments laid end to end.

    input_ids [T] int64; cu_seq_lens [S + 1] int32, from 0 to T; max_length the longest segment's
    tokens; positions [T] or, for Qwen-VL, [4, T] = text, time, height, width; offsets [T] each
    token's place in its segment; keys [T] its segment's dropout key; pixel_values and
    image_grid_thw [images, 3] in order of appearance, or None.
    """

    input_ids: Tensor
    cu_seq_lens: Tensor
    max_length: int
    positions: Tensor
    offsets: Tensor
    keys: Tensor
    pixel_values: Tensor | None = None
    image_grid_thw: Tensor | None = None

    @property
    def lengths(self) -> list[int]:
        """Tokens of each segment."""
        lengths: list[int] = self.cu_seq_lens.diff().tolist()
        return lengths

    def to(self, device: torch.device | str) -> "PackedBatch":
        """The same batch on a device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {
            n: v.to(device, non_blocking=True) for n, v in values.items() if isinstance(v, Tensor)
        }
        return replace(self, **moved)


class Positions(Protocol):
    """What gives a segment its positions: a Backbone, or a test's stand-in."""

    def positions(self, segment: Segment) -> Tensor:
        """[n] or [4, n] for a segment of n tokens."""
        ...


def pack(segments: Sequence[Segment], backbone: Positions) -> PackedBatch:
    """Lays segments end to end, with the positions that the backbone gives each of them alone.

    Raises ValueError for no segments, an empty one, one that is longer than the backbone can place,
    or one whose image tokens do not match its images.
    """
    lengths = [len(s.input_ids) for s in segments]
    if not lengths or min(lengths) == 0:
        raise ValueError(f"cannot pack segments of {lengths} tokens: each needs at least one")
    images = [image for s in segments for image in s.images]
    boundaries = torch.tensor([0, *lengths]).cumsum(0)
    grids = (
        torch.tensor([i.grid for i in images], dtype=torch.long)
        if images and images[0].grid
        else None
    )
    return PackedBatch(
        input_ids=torch.tensor([t for s in segments for t in s.input_ids], dtype=torch.long),
        cu_seq_lens=boundaries.to(torch.int32),
        max_length=max(lengths),
        positions=torch.cat([backbone.positions(s) for s in segments], -1),
        offsets=torch.arange(int(boundaries[-1]))
        - boundaries[:-1].repeat_interleave(torch.tensor(lengths)),
        keys=torch.tensor([s.key for s in segments], dtype=torch.long).repeat_interleave(
            torch.tensor(lengths)
        ),
        pixel_values=torch.cat([i.pixel_values for i in images]) if images else None,
        image_grid_thw=grids,
    )
