"""Prepared images on the local disk: exact, shared, bounded."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, SiglipImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from xstilts.models import picture_cache
from xstilts.models.batch import ImageInput
from xstilts.models.picture_cache import (
    PictureCache,
    decoded,
    encoded,
    entry_key,
    preparation,
)
from xstilts.models.picture_inputs import FixedPictures, GridPictures
from xstilts.models.processor import Processor

CLIP = FixedPictures(
    CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}), 576
)
SIGLIP = FixedPictures(SiglipImageProcessorPil(size={"height": 384, "width": 384}), 729)
QWEN = GridPictures(
    Qwen2VLImageProcessorPil(
        patch_size=14,
        merge_size=2,
        temporal_patch_size=2,
        size={"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 256},
    )
)
ALL = pytest.mark.parametrize("pictures", [CLIP, SIGLIP, QWEN], ids=["clip", "siglip", "qwen"])


def picture(width: int = 320, height: int = 200, seed: int = 0) -> bytes:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG")
    return out.getvalue()


def flat(color: tuple[int, int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), color).save(out, "PNG")
    return out.getvalue()


def cache_in(folder: Path, smallest: int = 64 * 1024) -> PictureCache:
    """A cache that writes however full this machine's disk is."""
    return PictureCache(folder, smallest, free=0.0)


def bits(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.view(torch.int32)


def through(pictures: Any, cache: PictureCache | None, data: bytes) -> ImageInput:
    return Processor("llava", None, pictures, cache=cache).image_inputs(data)


def entries(cache: PictureCache) -> list[Path]:
    return [path for path in cache.folder.rglob("*") if path.is_file()]


@ALL
@pytest.mark.parametrize("data", [picture(), flat((0, 0, 0)), flat((1, 128, 255))])
def test_a_cached_image_has_the_bits_of_transformers_processor(
    pictures: Any, data: bytes, tmp_path: Path
) -> None:
    cache, direct = cache_in(tmp_path / "cache"), through(pictures, None, data)
    for _ in ("written", "read"):
        shown = through(pictures, cache, data)
        assert torch.equal(bits(shown.pixel_values), bits(direct.pixel_values))
        assert (shown.grid, shown.tokens) == (direct.grid, direct.tokens)
    (entry,) = entries(cache)
    assert entry.stat().st_size < direct.pixel_values.nbytes / 4 + 5000


def test_an_image_is_prepared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = cache_in(tmp_path)
    through(CLIP, cache, picture())
    monkeypatch.setattr(FixedPictures, "inputs", lambda *_: pytest.fail("prepared again"))
    through(CLIP, cache, picture())


def test_an_image_is_prepared_where_its_entry_cannot_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "cache"
    folder.write_text("a file in place of the folder")
    shown = through(CLIP, PictureCache(folder, smallest=0, free=0.0), picture())
    assert torch.equal(shown.pixel_values, through(CLIP, None, picture()).pixel_values)
    assert "a prepared image is not kept" in caplog.text


class Case(NamedTuple):
    """Something on which an entry depends."""

    name: str
    pictures: Any
    data: bytes
    grid: tuple[int, ...]


CASES = (
    Case("another image", QWEN, picture(seed=1), (1, 14, 22)),
    Case("another grid", QWEN, picture(), (1, 12, 22)),
    Case("another limit", QWEN.within({"image_tokens": 30}), picture(), (1, 14, 22)),
    Case("another kind", CLIP, picture(), (1, 14, 22)),
    Case("another crop", FixedPictures(SIGLIP.images, 576), picture(), (1, 14, 22)),
)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_entries_differ_by(case: Case) -> None:
    key = entry_key(preparation(QWEN), picture(), (1, 14, 22))
    assert entry_key(preparation(case.pictures), case.data, case.grid) != key


def test_entries_differ_by_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    before = preparation(CLIP)
    assert preparation(CLIP) == before
    monkeypatch.setattr("PIL.__version__", "0")
    assert preparation(CLIP) != before


@pytest.mark.parametrize(
    "pixels",
    [torch.randn(1, 3, 64, 64), torch.randn(4, 10), torch.zeros(1, 3, 8, 8).bfloat16()],
    ids=["irregular", "no channels", "other dtype"],
)
def test_other_pixel_values_are_kept_as_they_are(pixels: torch.Tensor, tmp_path: Path) -> None:
    assert encoded(pixels) is None
    cache = cache_in(tmp_path, smallest=0)
    for _ in ("written", "read"):
        kept = cache.get("key", lambda: ImageInput(pixels, (), 1))
        assert torch.equal(kept.pixel_values, pixels)
        assert kept.pixel_values.dtype == pixels.dtype


def test_tiles_of_any_number_are_restored() -> None:
    table = torch.linspace(-1.8, 2.2, 256)
    pixels = table[torch.randint(0, 256, (5, 3, 7, 9))]
    codes = encoded(pixels)
    assert codes is not None
    assert codes[0].shape == pixels.shape
    assert torch.equal(decoded(*codes), pixels)


def test_a_corrupt_entry_is_written_again(tmp_path: Path) -> None:
    cache, direct = cache_in(tmp_path), through(CLIP, None, picture())
    through(CLIP, cache, picture())
    (entry,) = entries(cache)
    whole = entry.read_bytes()
    for damaged in (whole[:1000], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        entry.write_bytes(damaged)
        shown = through(CLIP, cache, picture())
        assert torch.equal(shown.pixel_values, direct.pixel_values)
        assert entry.read_bytes() == whole


def test_small_images_are_not_kept(tmp_path: Path) -> None:
    cache = cache_in(tmp_path / "cache", smallest=10_000_000)
    through(CLIP, cache, picture())
    assert not cache.folder.exists()


def test_nothing_is_written_on_a_full_disk(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    through(CLIP, cache, picture())
    full = replace(cache, free=1.0)
    through(CLIP, full, picture(seed=1))
    assert len(entries(full)) == 1
    assert through(CLIP, full, picture()).tokens == 576  # older entries are still read


def test_a_write_that_is_interrupted_leaves_no_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    cache = cache_in(tmp_path)
    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        through(CLIP, cache, picture())
    assert entries(cache) == []


def test_workers_share_the_entries(tmp_path: Path) -> None:
    cache, direct = cache_in(tmp_path), through(CLIP, None, picture())
    with ThreadPoolExecutor(4) as pool:
        shown = list(pool.map(lambda _: through(CLIP, cache, picture()), range(8)))
    assert all(torch.equal(image.pixel_values, direct.pixel_values) for image in shown)
    assert len(entries(cache)) == 1


def test_bytes_that_are_no_image_are_refused_as_without_a_cache(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not a picture of the formats"):
        through(CLIP, cache_in(tmp_path), b"no picture")


def test_the_format_is_part_of_the_preparation(monkeypatch: pytest.MonkeyPatch) -> None:
    before = preparation(CLIP)
    monkeypatch.setattr(picture_cache, "_FORMAT", 0)
    assert preparation(CLIP) != before
