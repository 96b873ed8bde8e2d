"""The image ladder: what an image task is without this or that of its pictures.

real → blank (a picture of the same size in its mean colour) → shuffled (another row's pictures) →
removed (text alone) → caption (the caption in words in the picture's place). Differences between
rungs: real − shuffled is what seeing gives, blank − removed what image tokens cost, caption against
real is modality at equal content.
"""

import hashlib
import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

from xstilts.errors import DataError
from xstilts.tasks.task import Example


def with_images(
    examples: Sequence[Example], rung: str, captions: Mapping[str, str] | None = None
) -> list[Example]:
    """The examples on a rung of the ladder, one for one. captions: SHA-256 of a picture's bytes
    → words, for rows that have none of their own. DataError where `caption` is asked of pictures
    without one, or `shuffled` of fewer than two different pictures.
    """
    if rung == "blank":
        return [replace(one, images=tuple(blank(data) for data in one.images)) for one in examples]
    if rung == "shuffled":
        return _shuffled(examples)
    if rung == "removed":
        return [replace(one, images=()) for one in examples]
    if rung == "caption":
        told = [replace(one, caption=caption_of(one, captions or {})) for one in examples]
        if bare := [one.id for one in told if one.images and not one.caption]:
            raise DataError(
                f"{len(bare)} rows have no caption to stand for their picture, such as {bare[0]}"
            )
        return [_in_words(one) for one in told]
    return list(examples)


def caption_of(one: Example, captions: Mapping[str, str]) -> str:
    """A row's own caption, else those of its pictures in order; empty where one of them has
    none.
    """
    found = (
        [captions.get(hashlib.sha256(data).hexdigest(), "") for data in one.images]
        if not one.caption
        else []
    )
    return " ".join(found) if all(found) and found else one.caption


@cache
def blank(data: bytes) -> bytes:
    """A PNG of the same size as a picture, all of it in the picture's mean colour."""
    from PIL import Image, ImageStat

    from xstilts.tasks.pictures import upright

    whole = upright(data)
    colour = tuple(round(value) for value in ImageStat.Stat(whole).mean)
    out = io.BytesIO()
    Image.new("RGB", whole.size, colour).save(out, "PNG")
    return out.getvalue()


def _shuffled(examples: Sequence[Example]) -> list[Example]:
    """Each picture goes to a row that had another: clusters (rows of one picture) swap by a
    seeded cycle.
    """
    groups: dict[tuple[bytes, ...], list[int]] = {}
    for place, one in enumerate(examples):
        groups.setdefault(one.images, []).append(place)
    pictures = list(groups)
    if len(pictures) < 2:
        raise DataError("fewer than two different pictures: they cannot be shuffled")
    random.Random("shuffled images").shuffle(pictures)
    other = {own: pictures[(k + 1) % len(pictures)] for k, own in enumerate(pictures)}
    return [replace(one, images=other[one.images]) for one in examples]


def _in_words(one: Example) -> Example:
    """The caption as the first text, a context that may be cut: a premise before its hypothesis,
    and before a question, which stays whole.
    """
    if one.label is not None and not one.choices and one.text_pair is None:
        return replace(one, images=(), text=one.caption, text_pair=one.text)
    if one.question is not None:  # the text is a context already
        return replace(one, images=(), text=f"{one.caption} {one.text}")
    return replace(one, images=(), text=one.caption, question=one.text or None)
