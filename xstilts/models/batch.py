"""A flat batch: the tokens of several segments in one row, with their boundaries and without
padding.
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
    """One image as its vision tower takes it.

    pixel_values: LLaVA [tiles, 3, height, width]; Qwen-VL [patches, channels × patch volume]. grid:
    what its number of tokens depends on, as the family's vision features take it; empty where every
    image has the same. tokens: number of its image tokens.
    """

    pixel_values: Tensor
    grid: tuple[int, ...]
    tokens: int


@dataclass(frozen=True)
class Segment:
    """One sequence that attends only to itself. `key` identifies it for dropout: see
    `segment_key`.
    """

    input_ids: Sequence[int]
    images: Sequence[ImageInput] = ()
    key: int = 0


@lru_cache(maxsize=65536)
def segment_key(row: int, segment: int = 0) -> int:
    """A 63-bit number that identifies a segment of a row (its position in the records),
    independent of its batch. Arms that share the row share the key, and so its dropout.
    """
    return int.from_bytes(hashlib.sha256(f"{row}\0{segment}".encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class PackedBatch:
    """Segments laid end to end.

    Attributes:
        input_ids: [T] int64.
        cu_seq_lens: [S + 1] int32, from 0 to T.
        max_length: Tokens of the longest segment.
        lengths: Tokens of each segment, which stay on the host.
        positions: [T], or for Qwen-VL [4, T] = text, time, height, width.
        offsets: [T] place of each token in its segment.
        keys: [T] dropout key of its segment.
        pixel_values: All images in order of appearance, or None.
        image_grids: [images, k] int64, as the family's vision features take it: (t, h, w) in
            patches for Qwen-VL, (height, width) in pixels for any-resolution LLaVA, or None.
        token_types: [T], or None in families without token types.
        image_tokens: Number of tokens that are images.
    """

    input_ids: Tensor
    cu_seq_lens: Tensor
    max_length: int
    lengths: tuple[int, ...]
    positions: Tensor
    offsets: Tensor
    keys: Tensor
    pixel_values: Tensor | None = None
    image_grids: Tensor | None = None
    token_types: Tensor | None = None
    image_tokens: int = 0

    def to(self, device: torch.device | str) -> "PackedBatch":
        """The same batch on a device. Grids of images stay on the host: vision towers make lengths
        and indices from them, and reading these from a GPU would wait for it.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "image_grids"}
        moved: dict[str, Any] = {
            n: v.to(device, non_blocking=True) for n, v in values.items() if isinstance(v, Tensor)
        }
        return replace(self, **moved)


class Placement(Protocol):
    """What a backbone computes from one segment alone."""

    def positions(self, segment: Segment) -> Tensor:
        """Position ids, [n] or [4, n] for a segment of n tokens."""
        ...

    def token_types(self, segment: Segment) -> Tensor | None:
        """Token type ids [n], or None in families without token types."""
        ...


def pack(segments: Sequence[Segment], backbone: Placement) -> PackedBatch:
    """Lays segments end to end, with the position ids and token types of each of them alone.

    Raises:
        ValueError: There are no segments, one is empty or longer than the backbone's positions, or
            its image tokens do not match its images.
    """
    lengths = [len(s.input_ids) for s in segments]
    if not lengths or min(lengths) == 0:
        raise ValueError(f"cannot pack segments of {lengths} tokens: each needs at least one")
    types = [kinds for s in segments if (kinds := backbone.token_types(s)) is not None]
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
        lengths=tuple(lengths),
        positions=torch.cat([backbone.positions(s) for s in segments], -1),
        offsets=torch.arange(int(boundaries[-1]))
        - boundaries[:-1].repeat_interleave(torch.tensor(lengths)),
        keys=torch.tensor([s.key for s in segments], dtype=torch.long).repeat_interleave(
            torch.tensor(lengths)
        ),
        pixel_values=torch.cat([i.pixel_values for i in images]) if images else None,
        image_grids=grids,
        token_types=torch.cat(types) if types else None,
        image_tokens=sum(image.tokens for image in images),
    )
