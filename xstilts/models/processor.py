"""Tokenizer and picture preparation of a backbone, without torchvision (its video processors
have no other backend).
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xstilts.errors import DataError
from xstilts.models.literal_text import plain_tokenizer
from xstilts.tasks.pictures import size_of, upright

if TYPE_CHECKING:  # stage encodes with this module, and its image has no torch
    from tokenizers import Tokenizer

    from xstilts.models.batch import ImageInput


#: Tokens that a LLaVA vision tower puts before its patches: CLIP has a class token, SigLIP has
#: none.
_BEFORE_PATCHES = {"clip_vision_model": 1, "siglip_vision_model": 0}


@dataclass(frozen=True)
class Processor:
    """What turns a text into ids and a picture into an ImageInput.

    tokenizer: transformers', always backed by `tokenizers`, so offsets exist. images: the PIL image
    processor, or None for text-only families. image_tokens: tokens of every picture; 0 where they
    depend on its size (Qwen-VL). most_image_tokens: upper bound of the tokens of one picture; None:
    what the image processor's own sizes allow.
    """

    family: str
    tokenizer: Any
    images: Any = None
    image_tokens: int = 0
    most_image_tokens: int | None = None

    def within(self, budget: Mapping[str, int | None]) -> "Processor":
        """The processor with a recipe's image budget (xstilts.tasks.recipes): image_tokens,
        min_pixels, max_pixels. A missing or None key keeps the setting of the model folder.
        Pixels bound Qwen-VL's resizing only. DataError where a LLaVA picture, which has a fixed
        number of tokens, exceeds image_tokens.
        """
        most = budget.get("image_tokens")
        if self.images is None:
            return self
        if self.image_tokens:
            if most is not None and self.image_tokens > most:
                raise DataError(
                    f"each picture is {self.image_tokens} tokens for this {self.family} backbone, and its recipe allows "
                    f"image_tokens: {most}; set image_tokens to at least {self.image_tokens} under `override`, or use a "
                    "backbone with smaller pictures"
                )
            return self._like(most_image_tokens=most)
        images = copy.copy(self.images)
        low = budget.get("min_pixels") or images.size["shortest_edge"]
        high = budget.get("max_pixels") or images.size["longest_edge"]
        if most is not None:
            high = min(high, most * self._factor**2)
        images.size = {"shortest_edge": min(low, high), "longest_edge": high}
        return self._like(images=images, most_image_tokens=most)

    def _like(self, **changes: Any) -> "Processor":
        """This processor with changes; the tokenizer for plain text, which takes seconds to
        make, is shared.
        """
        changed = replace(self, **changes)
        changed.__dict__["_plain"] = self._plain
        return changed

    def image_inputs(self, data: bytes, grid: Sequence[int] = ()) -> "ImageInput":
        """A picture's pixels as the tower takes them. grid: the patches (t, h, w) that encoding
        gave the picture, which fix its size; empty: computed from the processor's own sizes.
        ValueError for a family without pictures, or pixels that do not fill the grid; OSError
        for bytes that are not a picture.
        """
        from xstilts.models.batch import ImageInput

        if self.images is None:
            raise ValueError(f"{self.family} takes no pictures")
        picture = upright(data)
        if self.family != "qwen_vl":
            made = self.images(images=[picture], return_tensors="pt")
            return ImageInput(made["pixel_values"], (), self.image_tokens)
        shape = tuple(grid or self.grid(data))
        patch = int(self.images.patch_size)
        resized = picture.resize((shape[2] * patch, shape[1] * patch), self.images.resample)
        made = self.images(images=[resized], do_resize=False, return_tensors="pt")
        if (filled := tuple(made["image_grid_thw"][0].tolist())) != shape:
            raise ValueError(
                f"a picture fills {filled} patches (t, h, w) where its encoded row has {shape}"
            )
        return ImageInput(made["pixel_values"], shape, self._tokens(shape))

    def grid(self, data: bytes) -> list[int]:
        """[t, h, w] of a picture in patches, from its size alone; empty where the family has no
        grid. At most `most_image_tokens` tokens: where rounding to whole patches exceeds them,
        the longer side is cut.
        """
        if self.images is None:
            raise ValueError(f"{self.family} takes no pictures")
        if self.family != "qwen_vl":
            return []
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

        width, height = size_of(data)
        size, merge, factor = self.images.size, int(self.images.merge_size), self._factor
        resized = smart_resize(
            height,
            width,
            factor=factor,
            min_pixels=size["shortest_edge"],
            max_pixels=size["longest_edge"],
        )
        high, wide = resized[0] // factor, resized[1] // factor
        if self.most_image_tokens is not None and high * wide > self.most_image_tokens:
            short = min(high, wide, self.most_image_tokens)
            long = self.most_image_tokens // short
            high, wide = (long, short) if high > wide else (short, long)
        return [1, high * merge, wide * merge]

    def image_placeholder(self, data: bytes) -> list[int]:
        """The ids that stand for a picture before the text: LLaVA <image>×n and a newline, Qwen-VL
        <|vision_start|><|image_pad|>×n<|vision_end|>."""
        image, count = self.image_token_id, self._tokens(tuple(self.grid(data)))
        if self.family == "qwen_vl":
            start, end = self.tokenizer.convert_tokens_to_ids(
                ["<|vision_start|>", "<|vision_end|>"]
            )
            return [start, *[image] * count, end]
        return [*[image] * count, *self.newline]

    def text_tokens(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """(ids, their offsets in characters) of a text from data. A special token that it spells
        out is ordinary text.
        """
        encoded = self._plain.encode(text, add_special_tokens=False)
        return encoded.ids, encoded.offsets

    @cached_property
    def unknown_word(self) -> int:
        """The token in place of a word that has none of its own: the unknown token, or where the
        tokenizer has no such token (byte-level BPE) that of a space.
        """
        unknown = self.tokenizer.unk_token_id
        return int(unknown if unknown is not None else self.text_tokens(" ")[0][-1])

    @cached_property
    def _plain(self) -> "Tokenizer":
        return plain_tokenizer(self.tokenizer)

    @cached_property
    def newline(self) -> list[int]:
        """The ids of a line break, without special tokens."""
        ids: list[int] = self.tokenizer.encode("\n", add_special_tokens=False)
        return ids

    @cached_property
    def image_token_id(self) -> int:
        token = {"llava": "<image>", "qwen_vl": "<|image_pad|>"}.get(self.family)
        if token is None:
            raise ValueError(f"{self.family} takes no pictures")
        return int(self.tokenizer.convert_tokens_to_ids(token))

    @property
    def _factor(self) -> int:
        """Pixels along each side of one Qwen-VL image token."""
        return int(self.images.patch_size) * int(self.images.merge_size)

    def _tokens(self, grid: tuple[int, ...]) -> int:
        if grid:
            return grid[0] * grid[1] * grid[2] // int(self.images.merge_size) ** 2
        return self.image_tokens


def image_only(kind: Any) -> Any:
    """The subclass of a stock processor class that has no video processor; saved files keep the
    stock class's name.
    """

    def get_attributes(cls: type) -> list[str]:
        return ["image_processor", "tokenizer"]

    return type(
        kind.__name__,
        (kind,),
        {"get_attributes": classmethod(get_attributes), "__module__": kind.__module__},
    )


def _llava(folder: Path) -> Processor:
    from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    images = AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    try:
        return Processor("llava", tokenizer, images, llava_image_tokens(config, images))
    except ValueError as error:
        raise DataError(f"{folder}: {error}") from error


def llava_image_tokens(config: Any, images: Any) -> int:
    """Tokens of a picture, of a LlavaConfig and its image processor: (size / patch)² patches and
    the tower's class token, less the first token under the feature strategy `default`
    (LLaVA-1.5, CLIP 336/14: 576; llava-interleave, SigLIP 384/14 under `full`: 729). ValueError
    for another kind of tower, or pictures of another size than it takes.
    """
    tower = config.vision_config
    if tower.model_type not in _BEFORE_PATCHES:
        raise ValueError(
            f"vision tower {tower.model_type!r} is not supported; supported: {', '.join(_BEFORE_PATCHES)}"
        )
    cropped = getattr(images, "do_center_crop", None)
    size = images.crop_size if cropped else images.size
    if (size["height"], size["width"]) != (tower.image_size, tower.image_size):
        raise ValueError(
            f"the image processor makes pictures of {size['height']} × {size['width']} pixels, and the vision tower takes "
            f"{tower.image_size} × {tower.image_size}"
        )
    patches: int = (tower.image_size // tower.patch_size) ** 2
    dropped = config.vision_feature_select_strategy == "default"
    return patches + _BEFORE_PATCHES[tower.model_type] - int(dropped)


def _qwen(folder: Path) -> Processor:
    from transformers import AutoTokenizer
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    images = Qwen2VLImageProcessorPil.from_pretrained(folder, local_files_only=True)
    return Processor(
        "qwen_vl", AutoTokenizer.from_pretrained(folder, local_files_only=True), images
    )


def _xlm_r(folder: Path) -> Processor:
    from transformers import AutoTokenizer

    return Processor("xlm_r", AutoTokenizer.from_pretrained(folder, local_files_only=True))


_LOADERS: dict[str, Callable[[Path], Processor]] = {
    "xlm_r": _xlm_r,
    "llava": _llava,
    "qwen_vl": _qwen,
}


def load_processor(folder: Path, family: str) -> Processor:
    """The processor in a model folder (a hub snapshot, or what `build_tiny` wrote). ValueError
    names the families.
    """
    if family not in _LOADERS:
        raise ValueError(f"family {family!r} is not one of {', '.join(_LOADERS)}")
    return _LOADERS[family](Path(folder))
