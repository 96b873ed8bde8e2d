"""Images as LLaVA-NeXT and LLaVA-OneVision take them: a thumbnail, and tiles that show the image at
a higher resolution. The number of tiles, and so of tokens, follows from the size of the image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from xstilts.errors import DataError
from xstilts.models.picture_inputs import Budget
from xstilts.tasks.pictures import size_of, upright

if TYPE_CHECKING:  # encoding uses this module where torch is not installed
    from xstilts.models.batch import ImageInput

#: Features above this share of the maximum are scaled down (LLaVA-OneVision).
_TOLERATED = 1.1


@dataclass(frozen=True)
class TiledPictures:
    """How an image becomes a thumbnail and tiles.

    Its grid is (height, width) in pixels, from which the model computes tiles and tokens; with
    `untiled_in_company` also the number of images of its example.

    Attributes:
        images: The PIL image processor of transformers.
        side: Patches along each side of a tile.
        most_tiles: Images with more features than this number of tiles has are scaled down; None:
            never.
        untiled_in_company: Whether an image beside others in its example has no tiles.
        limit: Maximum number of tokens of an image; None: what the sizes of the model folder allow.
        most_pixels: Maximum number of pixels of an image; None: any.
    """

    images: Any
    side: int
    most_tiles: int | None = None
    untiled_in_company: bool = False
    limit: int | None = None
    most_pixels: int | None = None

    def within(self, budget: Budget) -> "TiledPictures":
        """Bounds the tokens and pixels of an image. An image beyond them is scaled down first. A
        lower bound of pixels does not apply: the model scales images up to its tiles.
        """
        return replace(self, limit=budget.get("image_tokens"), most_pixels=budget.get("max_pixels"))

    def grid(self, data: bytes, company: int = 1) -> list[int]:
        """[height, width], with `untiled_in_company` [height, width, company].

        Args:
            data: The bytes of an image.
            company: Number of images in its example.

        Raises:
            DataError: The image has too many tokens in any size.
        """
        width, height = size_of(data)
        more = [company] if self.untiled_in_company else []
        for grid in ([*size, *more] for size in self.sizes(height, width)):
            if self.limit is None or self.tokens(grid) <= self.limit:
                return grid
        fewest = min(self.tokens([*size, *more]) for size in self.sizes(height, width))
        raise DataError(
            f"an image of {width} × {height} pixels is at least {fewest} tokens for this backbone, "
            f"and its recipe allows image_tokens: {self.limit}; set image_tokens to at least "
            f"{fewest} under `override`, or use a backbone with smaller images"
        )

    def tokens(self, grid: Sequence[int]) -> int:
        """Tokens of the thumbnail, and of the rows of the tiles without their padding. Each row has
        a token more at its end.
        """
        thumbnail = self.side**2
        if not self._tiled(grid):
            return thumbnail + 1
        rows, columns = self._features(grid)
        return thumbnail + rows * columns + rows

    def inputs(self, data: bytes, grid: Sequence[int]) -> "ImageInput":
        """Pixels [1 + tiles, 3, height, width]. OSError for bytes that are not an image."""
        from xstilts.models.batch import ImageInput

        shape = tuple(grid or self.grid(data))
        picture = upright(data)
        if picture.size != (shape[1], shape[0]):
            picture = picture.resize((shape[1], shape[0]), self.images.resample)
        # An image of an inner list of two is not tiled. The second one is as small as possible.
        shown = [picture] if self._tiled(shape) else [[picture, picture.resize((1, 1))]]
        made = self.images(images=shown, return_tensors="pt")
        return ImageInput(made["pixel_values"][0], shape, self.tokens(shape))

    def _tiled(self, grid: Sequence[int]) -> bool:
        return not self.untiled_in_company or grid[2] == 1

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """The sizes that an image may be scaled down to, the largest first: its own, and that which
        fits each resolution of the model.
        """
        fitting = (
            min(high / height, wide / width) for high, wide in self.images.image_grid_pinpoints
        )
        scales = [1.0, *(scale for scale in fitting if scale < 1)]
        sizes = {(max(1, round(height * s)), max(1, round(width * s))) for s in scales}
        most = self.most_pixels
        kept = {size for size in sizes if most is None or size[0] * size[1] <= most}
        if not kept:
            assert most is not None
            scale = math.sqrt(most / (height * width))
            kept = {(max(1, int(height * scale)), max(1, int(width * scale)))}
        return sorted(kept, key=math.prod, reverse=True)

    def _features(self, grid: Sequence[int]) -> tuple[int, int]:
        """(rows, columns) of the features of the tiles, as transformers' processors count them."""
        from transformers.image_processing_utils import select_best_resolution

        height, width = grid[:2]
        tall, wide = select_best_resolution((height, width), self.images.image_grid_pinpoints)
        tile = self.tile
        rows, columns = tall // tile * self.side, wide // tile * self.side
        if width / height > columns / rows:
            rows -= (rows - int(round(height * (columns / width), 7))) // 2 * 2
        else:
            columns -= (columns - int(round(width * (rows / height), 7))) // 2 * 2
        if self.most_tiles is not None:
            ratio = math.sqrt(rows * columns / (self.most_tiles * self.side**2))
            if ratio > _TOLERATED:
                rows, columns = int(rows // ratio), int(columns // ratio)
        return rows, columns

    @property
    def tile(self) -> int:
        """Pixels along each side of a tile."""
        size = self.images.crop_size if self.images.do_center_crop else self.images.size
        return int(size["height"])
