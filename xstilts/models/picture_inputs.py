"""Images as vision towers take them: of one fixed size, or as a grid of patches that follows the
image's own size (tiled_pictures.py: as tiles). Works without torchvision, which transformers' video
processors need.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from xstilts.errors import DataError
from xstilts.tasks.pictures import size_of, upright

if TYPE_CHECKING:  # encoding uses this module where torch is not installed
    from xstilts.models.batch import ImageInput

Budget = Mapping[str, int | None]


class Pictures(Protocol):
    """How a family prepares images."""

    def within(self, budget: Budget) -> "Pictures":
        """The same preparation with a recipe's image budget: image_tokens, min_pixels,
        max_pixels. A missing or None key keeps the setting of the model folder.
        """
        ...

    def grid(self, data: bytes, company: int = 1) -> list[int]:
        """What the tokens of an image depend on, from its size and the number of images in its
        example, as the family's vision features take it; empty if every image has the same.
        """
        ...

    def tokens(self, grid: Sequence[int]) -> int:
        """Image tokens of an image with this grid."""
        ...

    def inputs(self, data: bytes, grid: Sequence[int]) -> "ImageInput":
        """The pixels of an image. grid: that of its encoded row; empty: computed."""
        ...


@dataclass(frozen=True)
class FixedPictures:
    """Every image is resized to one size and becomes `count` tokens (LLaVA).

    images: the PIL image processor of transformers.
    """

    images: Any
    count: int

    def within(self, budget: Budget) -> "FixedPictures":
        """Pixels do not matter here. DataError if an image has more tokens than image_tokens."""
        limit = budget.get("image_tokens")
        if limit is not None and self.count > limit:
            raise DataError(
                f"each image is {self.count} tokens for this backbone, and its recipe allows "
                f"image_tokens: {limit}; set image_tokens to at least {self.count} under "
                "`override`, or use a backbone with smaller images"
            )
        return self

    def grid(self, data: bytes, company: int = 1) -> list[int]:
        """None: the size of an image does not matter."""
        return []

    def tokens(self, grid: Sequence[int]) -> int:
        """The same for every image."""
        return self.count

    def inputs(self, data: bytes, grid: Sequence[int]) -> "ImageInput":
        """Pixels [1, 3, height, width]. OSError for bytes that are not an image."""
        from xstilts.models.batch import ImageInput

        made = self.images(images=[upright(data)], return_tensors="pt")
        return ImageInput(made["pixel_values"], (), self.count)


@dataclass(frozen=True)
class GridPictures:
    """An image keeps its proportions and becomes a grid of patches (Qwen-VL).

    images: the PIL image processor of transformers. limit: upper bound of the tokens of one image;
    None: what the image processor's own sizes allow.
    """

    images: Any
    limit: int | None = None

    def within(self, budget: Budget) -> "GridPictures":
        """Bounds the pixels between which images are resized."""
        limit = budget.get("image_tokens")
        images = copy.copy(self.images)
        low = budget.get("min_pixels") or images.size["shortest_edge"]
        high = budget.get("max_pixels") or images.size["longest_edge"]
        if limit is not None:
            high = min(high, limit * self._factor**2)
        images.size = {"shortest_edge": min(low, high), "longest_edge": high}
        return replace(self, images=images, limit=limit)

    def grid(self, data: bytes, company: int = 1) -> list[int]:
        """[t, h, w] in patches, of at most `limit` tokens: where rounding to whole patches exceeds
        them, the longer side is cut.
        """
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
        if self.limit is not None and high * wide > self.limit:
            short = min(high, wide, self.limit)
            long = self.limit // short
            high, wide = (long, short) if high > wide else (short, long)
        return [1, high * merge, wide * merge]

    def tokens(self, grid: Sequence[int]) -> int:
        """One for each merge × merge patches."""
        return int(grid[0] * grid[1] * grid[2] // int(self.images.merge_size) ** 2)

    def inputs(self, data: bytes, grid: Sequence[int]) -> "ImageInput":
        """Pixels [patches, channels × patch volume].

        Raises:
            ValueError: The pixels do not fill the grid.
            OSError: The bytes are not an image.
        """
        from xstilts.models.batch import ImageInput

        picture = upright(data)
        shape = tuple(grid or self.grid(data))
        patch = int(self.images.patch_size)
        resized = picture.resize((shape[2] * patch, shape[1] * patch), self.images.resample)
        made = self.images(images=[resized], do_resize=False, return_tensors="pt")
        if (filled := tuple(made["image_grid_thw"][0].tolist())) != shape:
            raise ValueError(
                f"an image fills {filled} patches (t, h, w), and its encoded row has {shape}"
            )
        return ImageInput(made["pixel_values"], shape, self.tokens(shape))

    @property
    def _factor(self) -> int:
        """Pixels along each side of one image token."""
        return int(self.images.patch_size) * int(self.images.merge_size)
