"""What of a backbone is trained: LoRA adapters on its text stack, or all weights but tower and
projector.

The backbone's own weights are never written to: under LoRA they are frozen, and merging for scoring
swaps tensors in and out instead of adding to them.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from xstilts.models.backbone import Backbone
from xstilts.models.dropout import CounterDropout
from xstilts.random_streams import generator

ADAPTER = "default"


def add_lora(backbone: Backbone, r: int, alpha: float) -> list[str]:
    """Puts adapters of rank `r`, scaled by alpha / r, into the text stack; only they train from now
    on.

    Returns the names of the adapted modules; ValueError when none match. The adapters hold B = 0,
    and A unset in effect: fill it with `initial_state`. Their input dropout obeys
    `backbone.dropout.adapter`.
    """
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=r, lora_alpha=alpha, target_modules=backbone.contract.lora, lora_dropout=0.0, bias="none"
    )
    with torch.random.fork_rng(
        devices=[]
    ):  # peft draws A itself; the global stream must not notice
        inject_adapter_in_model(config, backbone.model, ADAPTER)
    layers = adapted(backbone)
    if not layers:
        raise ValueError(f"no module of this {backbone.family} matches {backbone.contract.lora}")
    for name, layer in layers.items():
        layer.lora_dropout[ADAPTER] = CounterDropout(backbone.dropout, "adapter", name)
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(".lora_A." in name or ".lora_B." in name)
    return list(layers)


def adapted(backbone: Backbone) -> dict[str, Any]:
    """The adapted layers by name, in a fixed order."""
    from peft.tuners.lora import LoraLayer

    found = (
        (name, module) for name, module in backbone.named_modules() if isinstance(module, LoraLayer)
    )
    return dict(sorted(found, key=lambda item: item[0]))


def trainable_state(backbone: Backbone, mode: str = "") -> dict[str, Tensor]:
    """The tensors that train, by name, without copying: adapters (`lora`) or text stack and LM head
    (`full`).

    `mode`, where given, is checked against what the backbone holds (ValueError).
    """
    if mode and (mode == "lora") != bool(adapted(backbone)):
        raise ValueError(
            f"tuning mode {mode!r} asked of a backbone {'with' if adapted(backbone) else 'without'} LoRA"
        )
    return {name: p.detach() for name, p in backbone.named_parameters() if p.requires_grad}


def load_trainable(backbone: Backbone, state: Mapping[str, Tensor]) -> None:
    """Writes a trainable state into the backbone, bit for bit. ValueError unless its names are
    exactly those that train here.
    """
    own = trainable_state(backbone)
    if own.keys() != state.keys():
        odd = sorted(own.keys() ^ state.keys())
        raise ValueError(
            f"weights do not fit this {backbone.family}: {len(odd)} names differ, such as {odd[:3]}"
        )
    for name, tensor in own.items():
        tensor.copy_(state[name])


def initial_state(backbone: Backbone, tuning: Mapping[str, Any], seed: int) -> dict[str, Tensor]:
    """What a road starts from besides the backbone's weights: under `lora` A drawn from the
    stream ('adapter', seed) in order of names (uniform, ±1/√in, as peft's default) and B zero;
    nothing under `full`.
    """
    if tuning["mode"] != "lora":
        return {}
    stream, state = generator("adapter", seed), {}
    for name, tensor in sorted(trainable_state(backbone, "lora").items()):
        fresh = torch.zeros(tensor.shape)
        if ".lora_A." in name:
            fresh.uniform_(-1.0, 1.0, generator=stream).div_(math.sqrt(tensor.shape[1]))
        state[name] = fresh.to(tensor.dtype)
    return state


@contextmanager
def merged(backbone: Backbone) -> Iterator[Backbone]:
    """Inside, adapters are folded into the weights, which is faster to score with; nothing to do
    without adapters.

    Each base weight is replaced by W + scale·BA in a tensor of its own and the original put back
    afterwards, so it stays equal to the bit. It costs memory for one more copy of the adapted
    matrices.
    """
    layers, kept = adapted(backbone), {}
    try:
        for name, layer in layers.items():
            base: nn.Linear = layer.base_layer
            kept[name] = base.weight
            with torch.no_grad():
                delta = layer.lora_B[ADAPTER].weight.float() @ layer.lora_A[ADAPTER].weight.float()
                folded = (base.weight.float() + layer.scaling[ADAPTER] * delta).to(
                    base.weight.dtype
                )
            base.weight = nn.Parameter(folded, requires_grad=False)
            layer.enable_adapters(False)
        yield backbone
    finally:
        for name, weight in kept.items():
            layers[name].base_layer.weight = weight
            layers[name].enable_adapters(True)
