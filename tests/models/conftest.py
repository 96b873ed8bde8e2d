"""Tiny backbones of every family, and pictures, for the tests of xstilts.models."""

import io
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from xstilts.miniature.backbones import build_tiny
from xstilts.models.backbone import Backbone
from xstilts.models.batch import Segment, segment_key
from xstilts.models.processor import Processor

torch.set_num_threads(1)

SETTINGS = {
    "hidden": 32,
    "ff": 64,
    "layers": 3,
    "heads": 4,
    "vision_hidden": 32,
    "vision_ff": 32,
    "init_std": 0.2,
}


@pytest.fixture(scope="session")
def texts() -> list[str]:
    random = Random(0)
    words = [
        "".join(random.choice(("ba", "ko", "ri", "tu", "მა", "ზე")) for _ in range(3))
        for _ in range(60)
    ]
    return [" ".join(random.choice(words) for _ in range(7)) + "." for _ in range(200)]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Callable[[str], Path]:
    """Family → folder of a tiny backbone, built once."""
    made: dict[str, Path] = {}

    def build(family: str) -> Path:
        if family not in made:
            made[family] = build_tiny(family, 0, texts, SETTINGS, tmp_path_factory.mktemp(family))
        return made[family]

    return build


def png(width: int, height: int, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """(width, height, seed) → the bytes of a PNG of noise."""
    return png


@pytest.fixture(scope="session")
def mixed(texts: list[str]) -> Callable[[Processor], list[Segment]]:
    """Segments of different lengths: one picture and text, text, two pictures of other sizes and
    text, one token.
    """

    def make(processor: Processor) -> list[Segment]:
        def ids(text: str) -> list[int]:
            return processor.tokenizer.encode(text, add_special_tokens=False)

        pictures: list[list[bytes]] = [[png(16, 16, 1)], [], [png(40, 24, 2), png(24, 56, 3)], []]
        if processor.pictures is None:
            pictures = [[], [], [], []]
        bodies = [
            ids(texts[0]),
            ids(texts[1])[:9],
            ids(texts[2] + " " + texts[3]),
            ids(texts[4])[:1],
        ]
        return [
            Segment(
                [i for p in shown for i in processor.image_placeholder(p)] + body,
                [processor.image_inputs(p) for p in shown],
                segment_key(number),
            )
            for number, (shown, body) in enumerate(zip(pictures, bodies, strict=True))
        ]

    return make


def alone(backbone: Backbone, segments: list[Segment], **more: object) -> torch.Tensor:
    """The reference: the stock model with stock attention, each segment alone. [T, width]"""
    parts = []
    for segment in segments:
        ids = torch.tensor([list(segment.input_ids)])
        given: dict[str, object] = {"input_ids": ids, **more}
        if segment.images:
            given["pixel_values"] = torch.cat([i.pixel_values for i in segment.images])
            if segment.images[0].grid:
                given["image_grid_thw"] = torch.tensor([i.grid for i in segment.images])
        if "qwen" in backbone.family:
            given["mm_token_type_ids"] = (ids == backbone.config.image_token_id).int()
        if backbone.contract.causal:
            given["use_cache"] = False
        core = backbone.model.get_submodule(backbone.contract.core)
        parts.append(core(**given).last_hidden_state[0])
    return torch.cat(parts)


@pytest.fixture(scope="session")
def reference() -> Callable[..., torch.Tensor]:
    """(backbone with stock attention, segments) → [T, width], each segment by itself."""
    return alone
