"""Backbones in the precision that a plan chooses. docs/training.md lists what is kept in which.

`dtype` is the precision of computation. What trains is always float32: an update of a ten
thousandth of a weight would be rounded away in bfloat16, which has eight significant bits.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from xstilts.models.backbone import Backbone, load_backbone
from xstilts.models.lora import add_lora

#: `dtype` in plans → torch's.
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_tunable(
    folder: Path,
    family: str,
    tuning: Mapping[str, Any],
    attention: str = "causal",
    dtype: str = "float32",
) -> Backbone:
    """Loads a model folder for a tuning mode, in evaluation mode, on the CPU.

    `lora`: the model in `dtype`, adapters in float32. `full`: trainable weights in float32, whose
    copies in `dtype` compute under autocast, and frozen weights in `dtype`.
    """
    compute = DTYPES[dtype]
    if tuning["mode"] == "lora":
        backbone = load_backbone(folder, family, attention, compute)
        add_lora(backbone, tuning["r"], tuning["alpha"])
        return backbone
    backbone = load_backbone(folder, family, attention)
    if compute != torch.float32:
        keep_masters(backbone, compute)
    return backbone


def keep_masters(backbone: Backbone, dtype: torch.dtype) -> None:
    """Makes a float32 backbone compute in `dtype`, with trainable weights kept in float32."""
    backbone.autocast = dtype
    for parameter in backbone.parameters():
        if not parameter.requires_grad and parameter.is_floating_point():
            # Buffers stay: rotary frequencies are float32 in every precision.
            parameter.data = parameter.data.to(dtype)
