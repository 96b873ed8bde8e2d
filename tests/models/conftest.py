"""Tiny backbones of every family, the stock transformers processors and models beside them, and
pictures, for the tests of xstilts.models.

A *case* is a family, or a variant of one (VARIANTS): another model that the family loads. To add a
family with images, add its rows to PROCESSORS and VISION_ARGUMENTS.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from xstilts.miniature.backbones import DEFAULTS, build_tiny, save
from xstilts.miniature.tokenizers import train_tokenizer
from xstilts.models.backbone import Backbone
from xstilts.models.batch import ImageInput, Segment, segment_key
from xstilts.models.decoder import tiny_text
from xstilts.models.families import FAMILIES
from xstilts.models.llava import CHAT_TEMPLATE, normalization, tower_sizes
from xstilts.models.processor import Processor
from xstilts.models.qwen_vl import image_only

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


def interleave(texts: Sequence[str], folder: Path) -> Path:
    """A tiny llava-interleave: SigLIP, the feature strategy `full` and a Qwen2 decoder."""
    settings = {**DEFAULTS, **SETTINGS}
    tokenizer = train_tokenizer("llava_onevision", texts, 480)
    size, patch = settings["image_size"], settings["patch_size"]
    config = transformers.LlavaConfig(
        vision_config=transformers.SiglipVisionConfig(**tower_sizes(settings)),
        text_config=transformers.Qwen2Config(**tiny_text(tokenizer, settings)),
        image_token_index=tokenizer.image_token_id,
        image_seq_length=(size // patch) ** 2,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    processor = transformers.LlavaProcessor(
        transformers.SiglipImageProcessorPil(
            size={"height": size, "width": size}, **normalization(settings)
        ),
        tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
    )
    torch.manual_seed(0)
    return save(transformers.LlavaForConditionalGeneration(config), processor, folder)


#: Case → (family, what builds it).
VARIANTS: Mapping[str, tuple[str, Callable[[Sequence[str], Path], Path]]] = {
    "llava-interleave": ("llava", interleave),
}
CASES = (*FAMILIES, *VARIANTS)


def family_of(case: str) -> str:
    return VARIANTS[case][0] if case in VARIANTS else case


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Callable[[str], Path]:
    """Case → folder of a tiny backbone, built once."""
    made: dict[str, Path] = {}

    def build(case: str) -> Path:
        if case not in made:
            where = tmp_path_factory.mktemp(case)
            made[case] = (
                VARIANTS[case][1](texts, where)
                if case in VARIANTS
                else build_tiny(case, 0, texts, SETTINGS, where)
            )
        return made[case]

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
                [*shown_ids(processor, shown), *body],
                inputs_of(processor, shown),
                segment_key(number),
            )
            for number, (shown, body) in enumerate(zip(pictures, bodies, strict=True))
        ]

    return make


def shown_ids(processor: Processor, pictures: Sequence[bytes]) -> list[int]:
    """The ids that stand for the pictures of one example."""
    return [i for data in pictures for i in processor.image_placeholder(data, len(pictures))]


def inputs_of(processor: Processor, pictures: Sequence[bytes]) -> list[ImageInput]:
    """The pictures of one example as its encoded row gives them to the model."""
    grids = [processor.grid(data, len(pictures)) for data in pictures]
    return [processor.image_inputs(d, grid) for d, grid in zip(pictures, grids, strict=True)]


# ---- what nobody here wrote: transformers' own processors and models ----

#: Family → (class of the stock processor, whether it takes the pictures of an example as a list).
PROCESSORS: Mapping[str, tuple[Any, bool]] = {
    "llava": (transformers.LlavaProcessor, False),
    "llava_next": (transformers.LlavaNextProcessor, False),
    "llava_onevision": (image_only(transformers.LlavaOnevisionProcessor), True),
    "qwen2_vl": (image_only(transformers.Qwen2VLProcessor), False),
    "qwen2_5_vl": (image_only(transformers.Qwen2_5_VLProcessor), False),
    "qwen3_vl": (image_only(transformers.Qwen3VLProcessor), False),
    "qwen3_vl_moe": (image_only(transformers.Qwen3VLProcessor), False),
}
#: Family → grids of the pictures of one example → the stock model's arguments that go with pixels.
VISION_ARGUMENTS: Mapping[str, Callable[[torch.Tensor], dict[str, Any]]] = {
    "llava": lambda grids: {},
    "llava_next": lambda grids: {"image_sizes": grids},
    "llava_onevision": lambda grids: {
        "image_sizes": grids[:, :2],
        "batch_num_images": [len(grids)],
    },
    "qwen2_vl": lambda grids: {"image_grid_thw": grids},
    "qwen2_5_vl": lambda grids: {"image_grid_thw": grids},
    "qwen3_vl": lambda grids: {"image_grid_thw": grids},
    "qwen3_vl_moe": lambda grids: {"image_grid_thw": grids},
}


def stock_inputs(
    case: str, where: Path, pictures: Sequence[bytes] = (), text: str = ""
) -> dict[str, Any]:
    """The arguments of the stock model for pictures and a text after them, made by the stock
    processor in a model folder. xstilts tokenizes the text by itself, and so does this.
    """
    family = family_of(case)
    of = FAMILIES[family]
    if not pictures:
        tokenizer = transformers.AutoTokenizer.from_pretrained(where)
        ids = tokenizer(text, add_special_tokens=not of.causal)["input_ids"]
        made = {"input_ids": torch.tensor([ids])}
    else:
        assert of.vision is not None
        kind, nested = PROCESSORS[family]
        processor = kind.from_pretrained(where)
        shown = [Image.open(io.BytesIO(data)).convert("RGB") for data in pictures]
        prompt = (of.vision.before + of.vision.token + of.vision.after) * len(pictures)
        made = dict(
            processor(
                text=[prompt],
                images=[shown] if nested else shown,
                return_tensors="pt",
                add_special_tokens=False,
            )
        )
        rest = processor.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
        made["input_ids"] = torch.cat(
            [made["input_ids"], torch.tensor([rest], dtype=torch.long)], 1
        )
        made.pop("attention_mask")
    if family.startswith("qwen") and of.vision is not None:
        image = processor_token(where, of.vision.token)
        made["mm_token_type_ids"] = (made["input_ids"] == image).int()
    return made


def processor_token(where: Path, token: str) -> int:
    return int(transformers.AutoTokenizer.from_pretrained(where).convert_tokens_to_ids(token))


def alone(backbone: Backbone, segments: list[Segment], **more: object) -> torch.Tensor:
    """The reference: the stock model with stock attention, each segment alone. [T, width]"""
    parts = []
    for segment in segments:
        ids = torch.tensor([list(segment.input_ids)])
        given: dict[str, object] = {"input_ids": ids, **more}
        if segment.images:
            given["pixel_values"] = torch.cat([i.pixel_values for i in segment.images])
            grids = torch.tensor([i.grid for i in segment.images], dtype=torch.long)
            given |= VISION_ARGUMENTS[backbone.family](grids)
        if backbone.family.startswith("qwen") and backbone.contract.vision is not None:
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
