"""Images: one or two colored shapes on gray, with a different shape for each noun."""

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
    """A thing in an image."""

    noun: str
    colour: str


@cache
def shape(noun: str) -> npt.NDArray[np.bool_]:
    """The unique pattern of a noun: [4, 4] bool, about half of the cells set."""
    taken = {shape(other).tobytes() for other in NOUNS[: NOUNS.index(noun)]}
    attempt = 0
    while True:
        draw = hashlib.sha256(f"shape:{noun}:{attempt}".encode()).digest()[:16]
        pattern = np.array([byte % 2 for byte in draw], dtype=bool).reshape(4, 4)
        if 6 <= pattern.sum() <= 10 and pattern.tobytes() not in taken:
            return pattern
        attempt += 1


def things(rng: Random, count: int) -> list[Drawn]:
    """`count` different nouns in different colors."""
    pairs = zip(rng.sample(NOUNS, count), rng.sample(COLOURS, count), strict=True)
    return [Drawn(noun, colour) for noun, colour in pairs]


def box(drawn: Sequence[Drawn], index: int) -> tuple[int, int, int, int]:
    """(left, top, width, height) in pixels of a thing in an image, without the empty edges of its
    pattern.
    """
    pattern = shape(drawn[index].noun)
    scale, left, top = (2, 0, 0) if len(drawn) == 1 else (1, 4 * index, 2)
    rows, columns = (np.flatnonzero(pattern.any(axis=axis)) for axis in (1, 0))
    cell = SIDE // CELLS
    x, y = (left + scale * int(columns[0])) * cell, (top + scale * int(rows[0])) * cell
    width, height = (int(cells[-1] - cells[0] + 1) * scale * cell for cells in (columns, rows))
    return x, y, width, height


def draw(rng: Random, drawn: Sequence[Drawn]) -> bytes:
    """PNG bytes of an image with one thing, which fills it, or two (the first on the left), plus a
    little noise. ValueError for any other number of things.
    """
    if len(drawn) not in (1, 2):
        raise ValueError(f"an image has one or two things, not {len(drawn)}")
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
