"""Decodes an image in one way for the whole program: upright (EXIF orientation applied), 8-bit RGB.

16-bit grey is scaled to 8 bits, not clipped. Transparent pixels become white, as in qwen-vl-utils'
`to_rgb`. Sizes from the header and from the pixels are those of the upright image.
"""

import io
import warnings
from functools import lru_cache

from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

#: Maximum of longer side over shorter side. Qwen-VL's resizing (transformers' smart_resize)
#: refuses more, so such an image is a bad row for every family: all backbones and image conditions
#: of a task train on the same rows.
MAX_RATIO = 200
#: Formats of the supported data sets, by Pillow's names. Its other readers parse formats that no
#: data set has, such as PSD, or start programs (EPS). Of several frames the first is shown.
#: Importing a reader registers it. JPEG's reads MPO as well, a JPEG with more pictures behind it.
FORMATS = (
    JpegImagePlugin.JpegImageFile.format,
    PngImagePlugin.PngImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
    GifImagePlugin.GifImageFile.format,
    BmpImagePlugin.BmpImageFile.format,
    TiffImagePlugin.TiffImageFile.format,
)
#: Most pixels, checked in the header before anything is decoded: Pillow's own bound for a warning.
#: In RGB it takes 256 MiB.
MAX_PIXELS = 89_478_485
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_16_BIT = 65535


def _opened(data: bytes) -> Image.Image:
    """The picture with its header read. OSError for bytes that are not an image of FORMATS,
    ValueError for more than MAX_PIXELS.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused below
        try:
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise ValueError(f"more than {MAX_PIXELS:,} pixels") from error
        except UnidentifiedImageError as error:
            raise OSError(f"not a picture of the formats {', '.join(FORMATS)}") from error
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width:,} × {height:,} pixels, more than {MAX_PIXELS:,}")
    return picture


def upright(data: bytes) -> Image.Image:
    """The upright image in mode RGB. OSError for bytes that are not an image, ValueError for values
    without a known range (32-bit or float grey).
    """
    with _opened(data) as picture:
        turned = ImageOps.exif_transpose(picture)
    if turned.mode.startswith("I") or turned.mode == "F":
        return _scaled(turned).convert("RGB")
    if turned.has_transparency_data:
        shown = turned.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
    return turned.convert("RGB")


# Cached: the orientation in a PNG file may follow its pixels, so that a call reads the whole file.
@lru_cache(maxsize=16)
def size_of(data: bytes) -> tuple[int, int]:
    """(width, height) of the upright image in pixels, from its header. OSError for bytes that are
    not an image.
    """
    with _opened(data) as picture:
        width, height = picture.size
        # Pillow exchanges the sides of a TIFF file itself.
        sideways = (
            picture.format != "TIFF"
            and picture.getexif().get(ExifTags.Base.Orientation) in _SIDEWAYS
        )
    return (height, width) if sideways else (width, height)


def check_picture(data: bytes) -> None:
    """Decodes the whole image. ValueError when it is truncated, not an image, or too elongated."""
    try:
        width, height = upright(data).size
    except Exception as error:  # Pillow's readers raise many types for a corrupt file
        raise ValueError(f"image cannot be decoded: {error}") from error
    if max(width, height) > MAX_RATIO * min(width, height):
        raise ValueError(
            f"image has {width} × {height} pixels: one side is more than {MAX_RATIO} times as long "
            "as the other"
        )


def _scaled(grey: Image.Image) -> Image.Image:
    """Grey of 16 bits (Pillow's modes I;16… and I) or of floats in 0…1 or 0…255 (F) as 8-bit
    grey.
    """
    import numpy as np

    values = np.asarray(grey).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    maximum = _16_BIT if grey.mode != "F" else 1.0 if high <= 1 else 255.0
    if not (low >= 0 and high <= maximum):
        raise ValueError(
            f"values from {low:g} to {high:g} in mode {grey.mode}, which has no known range"
        )
    return Image.fromarray(np.rint(values * (255 / maximum)).astype(np.uint8))
