"""Tiny backbones with random weights: small enough to learn a generated world in seconds. All files
are stock transformers files.

Initialization is mimetic (Trockman & Kolter 2023): in half of the heads keys equal queries, so that
attention starts by matching equal words. Without it a tiny encoder does not learn to compare two
sentences in a few hundred updates.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import nn

from xstilts.miniature.tokenizers import train_tokenizer
from xstilts.models.families import contract
from xstilts.random_streams import stream_seed

#: Defaults of `settings`. Sizes are numbers of channels, layers, tokens or pixels.
DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "hidden": 64,
        "layers": 3,
        "heads": 4,
        "ff": 128,
        "init_std": 0.125,
        "mimetic": None,  # gain of key = query; None: the family's; 0: off
        "vocab_size": 4096,
        "max_length": 512,
        "image_size": 16,
        "patch_size": 8,  # LLaVA resizes to image_size; Qwen-VL's patch is half of it, merged 2 × 2
        "max_image_tokens": 16,  # Qwen-VL only
        "image_mean": 0.45,
        "image_std": 1 / 3,  # centers drawn images, as CLIP centers photographs
        "vision_hidden": 64,
        "vision_ff": 128,
        "vision_layers": 2,
        "vision_heads": 4,
    }
)


def build_model(
    family: str, seed: int, texts: Sequence[str], settings: Mapping[str, Any] | None = None
) -> tuple[nn.Module, Any]:
    """(transformers model with its LM head, processor; for text-only families the tokenizer).
    Equal arguments give equal bits.

    The tokenizer is trained on `texts`. The weights are drawn from the random stream ('build',
    seed, name of the family in specs). ValueError for an unknown family or setting.
    """
    if unknown := sorted(set(settings or {}) - set(DEFAULTS)):
        raise ValueError(
            f"unknown settings {unknown} of a tiny backbone; allowed: {sorted(DEFAULTS)}"
        )
    of = contract(family)
    chosen = {**DEFAULTS, **(settings or {})}
    tokenizer = train_tokenizer(family, texts, chosen["vocab_size"], chosen["max_length"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed("build", seed, of.recorded_name))
        model, processor = of.tiny.model(tokenizer, chosen)
        gain = chosen["mimetic"]
        _mimic(model, of.tiny.gain if gain is None else float(gain))
    return model.eval(), processor


def build_tiny(
    family: str, seed: int, texts: Sequence[str], settings: Mapping[str, Any] | None, folder: Path
) -> Path:
    """`build_model`, saved into `folder` as save_pretrained writes it; returns the folder."""
    model, processor = build_model(family, seed, texts, settings)
    return save(model, processor, folder)


def save(model: Any, processor: Any, folder: Path) -> Path:
    """Writes a model and its processor as a flat folder that transformers' Auto classes load;
    returns the folder.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = Path(folder)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _mimic(model: nn.Module, gain: float) -> None:
    """Key = query = orthogonal × gain in the first half of each text layer's heads; smaller
    position embeddings where a model has some.
    """
    if not gain:
        return
    for name, module in model.named_modules():
        if (
            "vision" in name
            or "visual" in name
            or not name.endswith(("attention.self", ".self_attn"))
        ):
            continue
        names = ("query", "key") if hasattr(module, "query") else ("q_proj", "k_proj")
        query, key = (cast(nn.Linear, module.get_submodule(n)) for n in names)
        with torch.no_grad():
            half = query.weight.shape[0] // 2
            start = nn.init.orthogonal_(torch.empty_like(query.weight), gain)[:half]
            query.weight[:half] = start
            key.weight[:half] = start
    for name, parameter in model.named_parameters():
        if name.endswith("position_embeddings.weight") and "vision" not in name:
            with torch.no_grad():
                parameter.mul_(0.3)
