"""Tokenizer and picture preparation of a backbone, without torchvision (its video processors have no other backend)."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from xstilts.models.plain_text import plain_tokenizer

if TYPE_CHECKING:  # stage encodes with this module, and its image has no torch
    from tokenizers import Tokenizer

    from xstilts.models.batch import ImageInput


@dataclass(frozen=True)
class Processor:
    """What turns a text into ids and a picture into an ImageInput.

    tokenizer: transformers', always backed by `tokenizers`, so offsets exist. images: the PIL image processor, or None
    for text-only families. image_tokens: tokens of every picture; 0 where they depend on its size (Qwen-VL).
    """

    family: str
    tokenizer: Any
    images: Any = None
    image_tokens: int = 0

    def image_inputs(self, data: bytes) -> "ImageInput":
        """A picture's pixels as the tower takes them. ValueError for a family without pictures; OSError for bytes
        that are no picture."""
        from xstilts.models.batch import ImageInput

        if self.images is None:
            raise ValueError(f"{self.family} takes no pictures")
        made = self.images(images=[_rgb(data)], return_tensors="pt")
        grid = tuple(made["image_grid_thw"][0].tolist()) if "image_grid_thw" in made else ()
        return ImageInput(made["pixel_values"], grid, self._tokens(grid))

    def grid(self, data: bytes) -> list[int]:
        """[t, h, w] of a picture in patches, from its size alone; empty where the family has no grid."""
        if self.images is None:
            raise ValueError(f"{self.family} takes no pictures")
        if self.family != "qwen_vl":
            return []
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

        with Image.open(io.BytesIO(data)) as picture:
            width, height = picture.size
        size, patch = self.images.size, self.images.patch_size
        resized = smart_resize(
            height, width, factor=patch * self.images.merge_size,
            min_pixels=size["shortest_edge"], max_pixels=size["longest_edge"],
        )  # fmt: skip
        return [1, resized[0] // patch, resized[1] // patch]

    def image_placeholder(self, data: bytes) -> list[int]:
        """The ids that stand for a picture before the text: LLaVA <image>×n and a newline, Qwen-VL
        <|vision_start|><|image_pad|>×n<|vision_end|>."""
        image, count = self.image_token_id, self._tokens(tuple(self.grid(data)))
        if self.family == "qwen_vl":
            start, end = self.tokenizer.convert_tokens_to_ids(["<|vision_start|>", "<|vision_end|>"])
            return [start, *[image] * count, end]
        return [*[image] * count, *self.newline]

    def text_tokens(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """(ids, their offsets in characters) of a text from data. A special token that it spells out is ordinary text."""
        encoded = self._plain.encode(text, add_special_tokens=False)
        return encoded.ids, encoded.offsets

    @cached_property
    def unknown_word(self) -> int:
        """The token in place of a word that has none of its own: the unknown token, or where the tokenizer has no such
        token (byte-level BPE) that of a space."""
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

    def _tokens(self, grid: tuple[int, ...]) -> int:
        if grid:
            return grid[0] * grid[1] * grid[2] // int(self.images.merge_size) ** 2
        return self.image_tokens


def _rgb(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as picture:
        return picture.convert("RGB")


def image_only(kind: Any) -> Any:
    """The subclass of a stock processor class that has no video processor; saved files keep the stock class's name."""

    def get_attributes(cls: type) -> list[str]:
        return ["image_processor", "tokenizer"]

    return type(kind.__name__, (kind,), {"get_attributes": classmethod(get_attributes), "__module__": kind.__module__})


def _llava(folder: Path) -> Processor:
    from transformers import AutoConfig, AutoTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    tower = config.vision_config
    tokens = (tower.image_size // tower.patch_size) ** 2
    if config.vision_feature_select_strategy == "full":  # "default" drops CLIP's class token
        tokens += 1
    images = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
    return Processor("llava", AutoTokenizer.from_pretrained(folder, local_files_only=True), images, tokens)


def _qwen(folder: Path) -> Processor:
    from transformers import AutoTokenizer
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    images = Qwen2VLImageProcessorPil.from_pretrained(folder, local_files_only=True)
    return Processor("qwen_vl", AutoTokenizer.from_pretrained(folder, local_files_only=True), images)


def _xlm_r(folder: Path) -> Processor:
    from transformers import AutoTokenizer

    return Processor("xlm_r", AutoTokenizer.from_pretrained(folder, local_files_only=True))


_LOADERS: dict[str, Callable[[Path], Processor]] = {"xlm_r": _xlm_r, "llava": _llava, "qwen_vl": _qwen}


def load_processor(folder: Path, family: str) -> Processor:
    """The processor in a model folder (a hub snapshot, or what `build_tiny` wrote). ValueError names the families."""
    if family not in _LOADERS:
        raise ValueError(f"family {family!r} is not one of {', '.join(_LOADERS)}")
    return _LOADERS[family](Path(folder))
