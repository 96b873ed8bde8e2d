"""Image conditions: the rows of an image task with other images, or without.

- real: the images of the source
- blank: an image of the same size in its mean color
- shuffled: the images of another row
- removed: no image
- caption: the caption as text instead of the image

real − shuffled measures the effect of seeing the right image, blank − removed the cost of image
tokens, and real − caption the modality at equal content.
"""

import hashlib
import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

from xstilts.errors import DataError, counted
from xstilts.tasks.task import Example


def apply_condition(
    examples: Sequence[Example], condition: str, captions: Mapping[str, str] | None = None
) -> list[Example]:
    """The examples in an image condition, in the same order.

    DataError for `caption` if an image has no caption, and for `shuffled` with fewer than two
    different images.

    Args:
        examples: in the condition `real`.
        condition: real, blank, shuffled, removed or caption.
        captions: SHA-256 of an image → its caption, for examples without a caption of their own.
    """
    if condition == "blank":
        return [
            replace(example, images=tuple(blank(data) for data in example.images))
            for example in examples
        ]
    if condition == "shuffled":
        return _shuffled(examples)
    if condition == "removed":
        return [replace(example, images=()) for example in examples]
    if condition == "caption":
        captioned = [
            replace(example, caption=caption_of(example, captions or {})) for example in examples
        ]
        if missing := [
            example.id for example in captioned if example.images and not example.caption
        ]:
            raise DataError(
                f"no caption for the image of {counted(len(missing), 'row')}, such as "
                f"{missing[0]}; add captions to the mirror (captions/<task>)"
            )
        return [_with_caption_as_text(example) for example in captioned]
    return list(examples)


def caption_of(example: Example, captions: Mapping[str, str]) -> str:
    """The caption of an example, else those of its images in order; empty if one of them has
    none.
    """
    if example.caption:
        return example.caption
    parts = [captions.get(hashlib.sha256(data).hexdigest(), "") for data in example.images]
    return " ".join(parts) if all(parts) else ""


@cache
def blank(data: bytes) -> bytes:
    """A PNG of the same size as an image, filled with its mean color."""
    from PIL import Image, ImageStat

    from xstilts.tasks.pictures import upright

    image = upright(data)
    color = tuple(round(value) for value in ImageStat.Stat(image).mean)
    out = io.BytesIO()
    Image.new("RGB", image.size, color).save(out, "PNG")
    return out.getvalue()


def _shuffled(examples: Sequence[Example]) -> list[Example]:
    """Every image moves to rows with another image: groups of rows with the same image swap by a
    seeded cycle.
    """
    images = list(dict.fromkeys(example.images for example in examples))
    if len(images) < 2:
        raise DataError("fewer than two different images, which cannot be shuffled")
    random.Random("shuffled images").shuffle(images)
    other = {image: images[(k + 1) % len(images)] for k, image in enumerate(images)}
    return [replace(example, images=other[example.images]) for example in examples]


def _with_caption_as_text(example: Example) -> Example:
    """The caption as the first text: a premise before a hypothesis, or a context that may be cut
    before a question.
    """
    caption = example.caption
    if example.label is not None and not example.choices and example.text_pair is None:
        return replace(example, images=(), text=caption, text_pair=example.text)
    if example.question is not None:  # the text is a context already
        return replace(example, images=(), text=f"{caption} {example.text}")
    return replace(example, images=(), text=caption, question=example.text or None)
