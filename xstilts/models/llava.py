"""LLaVA 1.5: a CLIP tower, a two-layer projector and a Llama decoder. A picture is a fixed
number of <image> tokens.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xstilts.models.batch import PackedBatch, Segment
from xstilts.models.contract import Contract

#: Anchored at the text stack, since `q_proj` alone would hit the vision tower too.
DECODER_LORA = (
    r".*language_model\.layers\.\d+\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"
)


def _load(folder: Path, settings: Mapping[str, Any]) -> nn.Module:
    from transformers import LlavaForConditionalGeneration

    model: nn.Module = LlavaForConditionalGeneration.from_pretrained(folder, **settings)
    return model


def positions(segment: Segment, config: Any) -> Tensor:
    """[n] from 0 on, image tokens counted like words."""
    check_image_tokens(segment, int(config.image_token_id))
    return torch.arange(len(segment.input_ids))


def check_image_tokens(segment: Segment, token: int) -> None:
    """ValueError unless the segment holds as many image tokens as its pictures become."""
    found, wanted = (
        sum(i == token for i in segment.input_ids),
        sum(image.tokens for image in segment.images),
    )
    if found != wanted:
        raise ValueError(
            f"a segment has {found} image tokens for pictures of {wanted}: was it truncated through them?"
        )


def _image_features(core: Any, batch: PackedBatch) -> Any:
    assert batch.pixel_values is not None
    pixels = batch.pixel_values.to(core.vision_tower.dtype)
    return core.get_image_features(pixel_values=pixels, return_dict=True)


LLAVA = Contract(
    family="llava",
    pool="last",
    subtoken="last",
    implementation={"text_config": "packed", "vision_config": "sdpa"},
    load=_load,
    core=lambda model: model.get_submodule("model"),
    text=lambda model: model.get_submodule("model.language_model"),
    vision=("model.vision_tower.", "model.multi_modal_projector."),
    lora=DECODER_LORA,
    positions=positions,
    image_features=_image_features,
)
