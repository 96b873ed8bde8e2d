"""Qwen2-VL and Qwen2.5-VL: pictures of any size, and rotary positions of time, height and width."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xstilts.models.batch import PackedBatch, Segment
from xstilts.models.contract import Contract
from xstilts.models.llava import DECODER_LORA, check_image_tokens


def _load(folder: Path, settings: Mapping[str, Any]) -> nn.Module:
    from transformers import AutoModelForImageTextToText

    model: nn.Module = AutoModelForImageTextToText.from_pretrained(folder, **settings)
    return model


def positions(segment: Segment, config: Any) -> Tensor:
    """[4, n]: the token's place, then time, height and width (numpy twin of transformers'
    get_rope_index).

    The first row is not rotary: with it transformers 5 takes the row as packed, without it the rest
    are misread.
    """
    check_image_tokens(segment, int(config.image_token_id))
    merge, ids = int(config.vision_config.spatial_merge_size), np.asarray(segment.input_ids)
    rows = np.zeros((4, len(ids)), dtype=np.int64)
    rows[0] = np.arange(len(ids))
    at = start = 0  # next token, next position
    pictures = np.flatnonzero(ids == config.image_token_id).tolist()
    for image in segment.images:
        first = pictures[0]
        rows[1:, at:first] = np.arange(start, start + first - at)
        start += first - at
        time, height, width = image.grid[0], image.grid[1] // merge, image.grid[2] // merge
        grid = np.indices((time, height, width)).reshape(3, -1)
        rows[1:, first : first + image.tokens] = grid + start
        at, start = first + image.tokens, start + max(height, width)
        del pictures[: image.tokens]
    rows[1:, at:] = np.arange(start, start + len(ids) - at)
    return torch.from_numpy(rows)


def _image_features(core: Any, batch: PackedBatch) -> Any:
    assert batch.pixel_values is not None
    return core.get_image_features(batch.pixel_values, batch.image_grid_thw, return_dict=True)


QWEN_VL = Contract(
    family="qwen_vl",
    pool="last",
    subtoken="last",
    implementation={"text_config": "packed", "vision_config": "sdpa"},
    load=_load,
    core=lambda model: model.get_submodule("model"),
    text=lambda model: model.get_submodule("model.language_model"),
    vision=("model.visual.",),
    lora=DECODER_LORA,
    positions=positions,
    image_features=_image_features,
)
