"""Pictures: one or two coloured shapes on grey, each noun with a shape of its own."""

import hashlib
import io
from collections.abc import Sequence
from functools import cache
from random import Random
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from xstilts.miniature.concepts import COLOURS, NOUNS

SIDE = 56  # pixels; a picture is 8 x 8 cells of 7 x 7 pixels
CELLS = 8
GREY = 115
RGB = {
    "red": (255, 0, 0),
    "blue": (0, 0, 255),
    "green": (0, 178, 0),
    "white": (255, 255, 255),
    "black": (20, 20, 20),
    "brown": (128, 76, 25),
    "pink": (255, 153, 178),
    "orange": (255, 128, 0),
}


class Drawn(NamedTuple):
    """A thing in a picture."""

    noun: str
    colour: str


@cache
def shape(noun: str) -> npt.NDArray[np.bool_]:
    """The noun's own pattern of 4 x 4 cells, about half of them set: [4, 4] bool. No two nouns
    have the same.
    """
    taken = {shape(other).tobytes() for other in NOUNS[: NOUNS.index(noun)]}
    attempt = 0
    while True:
        draw = hashlib.sha256(f"shape:{noun}:{attempt}".encode()).digest()[:16]
        pattern = np.array([byte % 2 for byte in draw], dtype=bool).reshape(4, 4)
        if 6 <= pattern.sum() <= 10 and pattern.tobytes() not in taken:
            return pattern
        attempt += 1


def things(rng: Random, count: int) -> list[Drawn]:
    """`count` different nouns, each in a colour of its own."""
    pairs = zip(rng.sample(NOUNS, count), rng.sample(COLOURS, count), strict=True)
    return [Drawn(noun, colour) for noun, colour in pairs]


def box(drawn: Sequence[Drawn], index: int) -> tuple[int, int, int, int]:
    """(left, top, width, height) in pixels of a thing in a picture, without the empty edges of
    its pattern.
    """
    pattern = shape(drawn[index].noun)
    scale, left, top = (2, 0, 0) if len(drawn) == 1 else (1, 4 * index, 2)
    rows, columns = (np.flatnonzero(pattern.any(axis=axis)) for axis in (1, 0))
    cell = SIDE // CELLS
    x, y = (left + scale * int(columns[0])) * cell, (top + scale * int(rows[0])) * cell
    width, height = (int(found[-1] - found[0] + 1) * scale * cell for found in (columns, rows))
    return x, y, width, height


def draw(rng: Random, drawn: Sequence[Drawn]) -> bytes:
    """PNG bytes of a picture with one thing (it fills the picture) or two (the first left, the
    second right), plus a little noise. Raises ValueError for any other number.
    """
    if len(drawn) not in (1, 2):
        raise ValueError(f"a picture has one or two things, not {len(drawn)}")
    cells = np.full((CELLS, CELLS, 3), GREY, dtype=np.int16)
    for index, thing in enumerate(drawn):
        pattern = shape(thing.noun)
        if len(drawn) == 1:
            pattern = pattern.repeat(2, axis=0).repeat(2, axis=1)
            area = cells
        else:
            area = cells[2:6, 4 * index : 4 * index + 4]
        area[pattern] = RGB[thing.colour]
    noise = np.frombuffer(rng.randbytes(CELLS * CELLS * 3), dtype=np.uint8).reshape(CELLS, CELLS, 3)
    cells = np.clip(cells + noise.astype(np.int16) // 16 - 8, 0, 255)
    pixels = cells.astype(np.uint8).repeat(SIDE // CELLS, axis=0).repeat(SIDE // CELLS, axis=1)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG")
    return out.getvalue()
