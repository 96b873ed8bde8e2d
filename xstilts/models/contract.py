"""What differs between families of backbones, as data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from xstilts.models.batch import PackedBatch, Segment


@dataclass(frozen=True)
class Contract:
    """One family of backbones.

    pool: the token that stands for a segment (`last` where attention is causal). subtoken: which
    sub-token of a word carries its tag. load: (folder, keyword arguments of from_pretrained) → the
    transformers model with its LM head. core: that model's inner model, which gives hidden states.
    text: its text stack. vision: name prefixes, within the whole model, of tower and projector,
    which are frozen. lora: anchored regex of the modules that LoRA adapts, text stack only.
    positions: (segment, config) → [n] or [4, n]. image_features: (core, batch) → [image tokens,
    width].
    """

    family: str
    pool: str
    subtoken: str
    implementation: str | Mapping[str, str]
    load: Callable[[Path, Mapping[str, Any]], nn.Module]
    core: Callable[[nn.Module], nn.Module]
    text: Callable[[nn.Module], nn.Module]
    vision: tuple[str, ...]
    lora: str
    positions: Callable[[Segment, Any], Tensor]
    image_features: Callable[[nn.Module, PackedBatch], Any] | None
