"""Tokenizer and image preparation of a backbone, without torch until pixels are needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xstilts.errors import DataError
from xstilts.models.contract import Contract, Vision
from xstilts.models.families import check_model_type, contract
from xstilts.models.literal_text import plain_tokenizer
from xstilts.models.model_folder import check_tokenizer_files, read_config, refused
from xstilts.models.picture_cache import entry_key, preparation
from xstilts.models.positions import after_padding
from xstilts.models.special_tokens import Layout

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from xstilts.models.batch import ImageInput
    from xstilts.models.picture_cache import PictureCache
    from xstilts.models.picture_inputs import Pictures


@dataclass(frozen=True)
class Processor:
    """Turns text into token ids and images into an ImageInput.

    tokenizer: transformers' class, always backed by `tokenizers`, so that offsets exist. pictures:
    None for text-only families. max_tokens: maximum number of tokens of a sequence, images
    included; None: any. cache: where prepared images are kept; None: nowhere.
    """

    family: str
    tokenizer: Any
    pictures: "Pictures | None" = None
    max_tokens: int | None = None
    cache: "PictureCache | None" = None

    @cached_property
    def contract(self) -> Contract:
        """The contract of the family."""
        return contract(self.family)

    @property
    def causal(self) -> bool:
        """Whether the family learns text by the next token; else by masked tokens."""
        return self.contract.causal

    @cached_property
    def layout(self) -> Layout:
        """Special tokens around one or two texts."""
        return self.contract.layout(self.tokenizer)

    def within(self, budget: Mapping[str, int | None]) -> "Processor":
        """The processor with a recipe's image budget (xstilts.tasks.recipes): image_tokens,
        min_pixels, max_pixels. A missing or None key keeps the setting of the model folder.
        DataError where images of a fixed size exceed image_tokens.
        """
        if self.pictures is None:
            return self
        changed = replace(self, pictures=self.pictures.within(budget))
        changed.__dict__["_plain"] = self._plain  # takes seconds to make
        return changed

    def image_inputs(self, data: bytes, grid: Sequence[int] = ()) -> "ImageInput":
        """An image's pixels as the vision tower takes them.

        Args:
            data: The bytes of the image file.
            grid: That of the image in its encoded row, which fixes its size; empty: computed from
                the processor's own sizes.

        Raises:
            ValueError: The family is text-only, or the pixels do not fill the grid.
            OSError: The bytes are not an image.
        """
        if self.cache is None:
            return self._visible.inputs(data, grid)
        key = entry_key(self._preparation, data, grid)
        return self.cache.get(key, lambda: self._visible.inputs(data, grid))

    def grid(self, data: bytes, company: int = 1) -> list[int]:
        """What the tokens of an image depend on, from its size alone: Qwen-VL [t, h, w] in patches,
        any-resolution LLaVA [height, width] in pixels; empty where the family has no grid.

        company: number of images in the example.
        """
        return self._visible.grid(data, company)

    def image_placeholder(self, data: bytes, company: int = 1) -> list[int]:
        """The ids that stand for an image: LLaVA <image>×n and a line break, Qwen-VL
        <|vision_start|><|image_pad|>×n<|vision_end|>. company: number of images in the example.
        """
        vision, count = self._vision, self._visible.tokens(self.grid(data, company))
        return [*self._ids(vision.before), *[self.image_token_id] * count, *self._ids(vision.after)]

    def text_tokens(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """(ids, offsets in characters) of a text from data. A special token that it spells out is
        ordinary text.
        """
        encoded = self._plain.encode(text, add_special_tokens=False)
        return encoded.ids, encoded.offsets

    @cached_property
    def unknown_word(self) -> int:
        """The token for a word without tokens: the unknown token, or the space's in a tokenizer
        without one (byte-level BPE).
        """
        unknown = self.tokenizer.unk_token_id
        return int(unknown if unknown is not None else self.text_tokens(" ")[0][-1])

    @cached_property
    def newline(self) -> list[int]:
        """The ids of a line break, without special tokens."""
        return self._ids("\n")

    @cached_property
    def image_token_id(self) -> int:
        """The placeholder token. ValueError for a text-only family."""
        return int(self.tokenizer.convert_tokens_to_ids(self._vision.token))

    @cached_property
    def _preparation(self) -> str:
        return preparation(self._visible)

    @cached_property
    def _plain(self) -> "Tokenizer":
        return plain_tokenizer(self.tokenizer)

    @property
    def _vision(self) -> Vision:
        if self.contract.vision is None:
            raise ValueError(f"family {self.family} does not take images")
        return self.contract.vision

    @property
    def _visible(self) -> "Pictures":
        if self.pictures is None:
            raise ValueError(f"family {self.family} does not take images")
        return self.pictures

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False) if text else []
        return ids


def load_processor(folder: Path, family: str) -> Processor:
    """The processor in a model folder (a hub snapshot, or what `build_tiny` wrote).

    Raises:
        ValueError: The family is unknown; the message lists the known ones.
        DataError: The folder is of another family, its tokenizer is missing or cannot be read, or
            has ids that the model does not have.
    """
    from transformers import AutoConfig, AutoTokenizer

    of, folder = contract(family), Path(folder)
    check_model_type(folder, of)
    read_config(folder)
    check_tokenizer_files(folder, of)
    _check_tokenizer(folder)
    with refused(folder, "a processor"):
        pictures = of.vision.pictures(folder) if of.vision else None
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        whole = AutoConfig.from_pretrained(folder, local_files_only=True)
    config = whole.get_text_config()
    _check_ids(folder, tokenizer, of, whole)
    positions = int(config.max_position_embeddings)
    if of.positions is after_padding:
        positions -= int(config.pad_token_id) + 1
    return Processor(family, tokenizer, pictures, min(positions, of.max_tokens or positions))


def _check_tokenizer(folder: Path) -> None:
    """DataError for a SentencePiece model (Vicuna) without the library that converts it.
    transformers would take it for a tiktoken file.
    """
    only = (folder / "tokenizer.model").exists() and not (folder / "tokenizer.json").exists()
    if only and find_spec("sentencepiece") is None:
        raise DataError(
            f"{folder} has tokenizer.model and no tokenizer.json; install the package "
            "sentencepiece to convert it, or add a tokenizer.json (save_pretrained writes one)"
        )


def _check_ids(folder: Path, tokenizer: Any, of: Contract, config: Any) -> None:
    """DataError unless the model has an embedding for every id of the tokenizer, and the same
    image token.
    """
    last, rows = (
        max(tokenizer.get_vocab().values(), default=-1),
        config.get_text_config().vocab_size,
    )
    if last < 0:
        raise DataError(
            f"{folder}: the tokenizer is empty; save the tokenizer of the model into it"
        )
    if last >= int(rows):
        raise DataError(
            f"{folder}: the tokenizer has ids up to {last:,}, and the model vocab_size {rows:,}; "
            "save the tokenizer of the model into the folder"
        )
    if of.vision is None:
        return
    image = tokenizer.get_vocab().get(of.vision.token)
    if image != config.image_token_id:
        raise DataError(
            f"{folder}: the tokenizer has {of.vision.token} as {image}, and config.json has "
            f"{config.image_token_id}; save the processor of the model into the folder"
        )
