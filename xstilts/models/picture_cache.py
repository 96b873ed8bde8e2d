"""Prepared images on the local disk, shared by epochs, arms, seeds and all workers of a machine.

An entry is named by a digest of the image's bytes, its grid and the preparation: the settings of
the image processor and the versions of the libraries. It holds the values before normalization as
one byte each, and for each color channel the table of normalized values: a quarter of the size of
the pixel values, which are restored bit by bit.
"""

import hashlib
import json
import logging
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xstilts.new_files import new_file

if TYPE_CHECKING:  # encoding uses processors where torch is not installed
    from torch import Tensor

    from xstilts.models.batch import ImageInput

log = logging.getLogger(__name__)

#: Raised when the format of entries changes, or our own part of the preparation.
_FORMAT = 1
_CHANNELS = 3
_CHECKSUM_BYTES = 4


@dataclass(frozen=True)
class PictureCache:
    """Entries in a folder, which may be deleted at any time.

    Attributes:
        folder: Where entries are; created when the first one is written.
        smallest: Images whose pixel values have fewer bytes are not kept: preparing them costs no
            more than reading a file.
        free: Entries are written only while this share of the disk is free.
    """

    folder: Path
    smallest: int = 64 * 1024
    free: float = 0.2

    def get(self, key: str, prepare: Callable[[], "ImageInput"]) -> "ImageInput":
        """The entry of a key; if there is none, what `prepare` returns. An entry with a wrong
        checksum is written again.
        """
        path = self.folder / key[:2] / key
        kept = _read(path)
        if kept is not None:
            return kept
        made = prepare()
        if made.pixel_values.nbytes >= self.smallest:
            try:
                self._keep(path, made)
            except OSError as error:  # a full disk, or the folder was deleted: images still train
                log.warning("a prepared image is not kept in %s: %s", self.folder, error)
        return made

    def _keep(self, path: Path, image: "ImageInput") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        disk = shutil.disk_usage(path.parent)
        if disk.free > self.free * disk.total:
            _write(path, image)


def preparation(pictures: Any) -> str:
    """A digest of how images are prepared.

    pictures: a dataclass (picture_inputs.Pictures) whose fields are settings or an image processor
    of transformers.
    """
    import PIL
    import transformers

    settings = {
        field.name: value.to_dict() if hasattr(value, "to_dict") else value
        for field in fields(pictures)
        for value in [getattr(pictures, field.name)]
    }
    described = [
        _FORMAT,
        f"Pillow {PIL.__version__}",
        f"transformers {transformers.__version__}",
        type(pictures).__name__,
        settings,
    ]
    text = json.dumps(described, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def entry_key(preparation: str, data: bytes, grid: Sequence[int]) -> str:
    """The name of an image's entry."""
    image = hashlib.sha256(data).hexdigest()
    text = f"{preparation} {image} {' '.join(map(str, grid))}"
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, image: "ImageInput") -> None:
    """Writes an entry at once: a reader never sees a part of it."""
    import torch
    from safetensors.torch import save

    codes = encoded(image.pixel_values)
    tensors = (
        {"pixels": image.pixel_values.contiguous()}
        if codes is None
        else {"codes": codes[0], "table": codes[1]}
    )
    tensors["grid"] = torch.tensor(image.grid, dtype=torch.int64)
    tensors["tokens"] = torch.tensor(image.tokens)
    body = save(tensors)
    with new_file(path) as part:
        part.write_bytes(zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "big") + body)


def _read(path: Path) -> "ImageInput | None":
    """The image of an entry; None if there is none, or its checksum is wrong."""
    from safetensors.torch import load

    from xstilts.models.batch import ImageInput

    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    checksum, body = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
    if zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "big") != checksum:
        return None
    tensors = load(body)
    pixels = (
        tensors["pixels"] if "pixels" in tensors else decoded(tensors["codes"], tensors["table"])
    )
    return ImageInput(pixels, tuple(tensors["grid"].tolist()), int(tensors["tokens"]))


def encoded(pixels: "Tensor") -> "tuple[Tensor, Tensor] | None":
    """(codes, table) of float32 pixel values: `table[channel, code]` is a value.

    Normalization maps the 256 values of a channel to evenly spaced numbers, so that a value's
    distance from the smallest one, in steps, is its code. None for pixel values that are not made
    so: their bits would not be restored.

    Args:
        pixels: [n, channels, …] or [n, channels × values].

    Returns:
        Codes, uint8 in the shape of the pixels, and the table [channels, 256].
    """
    import torch

    if pixels.dtype != torch.float32 or pixels[0].numel() % _CHANNELS:
        return None
    values = pixels.reshape(len(pixels), _CHANNELS, -1)
    codes = torch.empty_like(values, dtype=torch.uint8)
    table = torch.zeros(_CHANNELS, 256)
    for channel in range(_CHANNELS):
        # numpy's sort is many times as fast as torch.unique
        distinct = torch.from_numpy(_distinct(values[:, channel]))
        step = distinct.diff().min() if len(distinct) > 1 else torch.tensor(1.0)
        places = ((distinct - distinct[0]) / step).round_()
        if places[-1] > 255:
            return None
        table[channel, places.long()] = distinct
        codes[:, channel] = ((values[:, channel] - distinct[0]) / step).round_()
    codes = codes.reshape(pixels.shape)
    return (codes, table) if torch.equal(decoded(codes, table), pixels) else None


def decoded(codes: "Tensor", table: "Tensor") -> "Tensor":
    """The pixel values of `encoded`, bit by bit."""
    import torch

    grouped = codes.reshape(len(codes), _CHANNELS, -1)
    pixels = torch.empty(grouped.shape)
    for channel in range(_CHANNELS):
        places = grouped[:, channel].int()
        pixels[:, channel] = table[channel].index_select(0, places.view(-1)).view(places.shape)
    return pixels.view(codes.shape)


def _distinct(values: "Tensor") -> Any:
    import numpy as np

    return np.unique(values.numpy())
