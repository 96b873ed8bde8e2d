"""XLM-R: a bidirectional text encoder. Positions start at 2, after the padding token's id."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xstilts.models.batch import Segment
from xstilts.models.contract import Contract


def _load(folder: Path, settings: Mapping[str, Any]) -> nn.Module:
    from transformers import XLMRobertaForMaskedLM

    model: nn.Module = XLMRobertaForMaskedLM.from_pretrained(folder, **settings)
    return model


def positions(segment: Segment, config: Any) -> Tensor:
    """[n] from pad_token_id + 1 on: position 0 and 1 belong to no token (fairseq's
    make_positions).
    """
    first = int(config.pad_token_id) + 1
    count, room = len(segment.input_ids), int(config.max_position_embeddings) - first
    if count > room:
        raise ValueError(
            f"a segment of {count} tokens is longer than the {room} positions of this XLM-R"
        )
    if segment.images:
        raise ValueError("xlm_r takes no pictures")
    return torch.arange(first, first + count)


XLM_R = Contract(
    family="xlm_r",
    pool="first",
    subtoken="first",
    implementation="packed",
    load=_load,
    core=lambda model: model.get_submodule("roberta"),
    text=lambda model: model.get_submodule("roberta"),
    vision=(),
    lora=r".*roberta\.encoder\.layer\.\d+\.(attention\.self\.(query|key|value)"
    r"|attention\.output\.dense|intermediate\.dense|output\.dense)",
    positions=positions,
    image_features=None,
)
