"""The trainable part of a backbone: LoRA adapters on its text stack, or all weights except vision
tower and projector.

Under LoRA the backbone's weights are never written to: they are frozen, and merging for scoring
swaps tensors instead of adding to them.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from xstilts.models.backbone import Backbone
from xstilts.models.dropout import CounterDropout
from xstilts.models.expert_lora import factors, is_of_a_parameter, separate
from xstilts.random_streams import generator

ADAPTER = "default"


def add_lora(backbone: Backbone, r: int, alpha: float) -> list[str]:
    """Adds adapters of rank `r`, scaled by alpha / r, to the text stack. From then on only they
    train.

    B is 0; set A with `initial_state`. The adapters' input dropout has the rate
    `backbone.dropout.adapter`. Every expert has adapters of its own (expert_lora.py), without
    dropout.

    Returns:
        Names of the adapted modules, and of the adapted parameters of experts.

    Raises:
        ValueError: No module matches the family's LoRA targets.
    """
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=r,
        lora_alpha=alpha,
        target_modules=backbone.contract.lora,
        target_parameters=list(backbone.contract.lora_parameters) or None,
        lora_dropout=0.0,
        bias="none",
    )
    # peft draws A itself, which must not advance the global random state.
    with torch.random.fork_rng(devices=[]):
        inject_adapter_in_model(config, backbone.model, ADAPTER)
    layers = adapted(backbone)
    if not layers:
        raise ValueError(
            f"no module of family {backbone.family} matches its LoRA targets "
            f"{backbone.contract.lora}"
        )
    separate(layers, ADAPTER)
    for name, layer in layers.items():
        if not is_of_a_parameter(layer):
            layer.lora_dropout[ADAPTER] = CounterDropout(backbone.dropout, "adapter", name)
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(".lora_A." in name or ".lora_B." in name)
    return [_target(name, layer) for name, layer in layers.items()]


def _target(name: str, layer: Any) -> str:
    """The name in the model without adapters of what a layer adapts."""
    name = name.replace(".base_layer", "")
    return f"{name}.{layer.parameter_name}" if is_of_a_parameter(layer) else name


def adapted(backbone: Backbone) -> dict[str, Any]:
    """The adapted layers by name, in a fixed order."""
    from peft.tuners.lora import LoraLayer

    layers = (
        (name, module) for name, module in backbone.named_modules() if isinstance(module, LoraLayer)
    )
    return dict(sorted(layers, key=lambda item: item[0]))


def trainable_state(backbone: Backbone, mode: str = "") -> dict[str, Tensor]:
    """The tensors that train, by name, without copying: adapters (`lora`), or text stack and LM
    head (`full`). ValueError if `mode` is not the backbone's.
    """
    if mode and (mode == "lora") != bool(adapted(backbone)):
        raise ValueError(
            f"tuning mode {mode!r} does not fit a backbone "
            f"{'with' if adapted(backbone) else 'without'} LoRA"
        )
    return {name: p.detach() for name, p in backbone.named_parameters() if p.requires_grad}


def load_trainable(backbone: Backbone, state: Mapping[str, Tensor]) -> None:
    """Copies a trainable state into the backbone, bit for bit. ValueError unless its names are
    exactly those of the backbone's trainable tensors.
    """
    trainable = trainable_state(backbone)
    if trainable.keys() != state.keys():
        different = sorted(trainable.keys() ^ state.keys())
        raise ValueError(
            f"weights do not fit this {backbone.family} backbone: "
            f"{len(different)} names differ, such as {different[:3]}"
        )
    for name, tensor in trainable.items():
        tensor.copy_(state[name])


def initial_state(backbone: Backbone, tuning: Mapping[str, Any], seed: int) -> dict[str, Tensor]:
    """Initial adapters of a training path: under `lora` A from the random stream ('adapter', seed)
    in order of names (uniform, ±1/√in, peft's default), and B zero. Empty under `full`.
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
    """Inside this context adapters are merged into the weights, which makes scoring faster. Does
    nothing without adapters.

    Each base weight is replaced by a new tensor W + scale·BA, and the original is restored
    afterwards, equal to the bit. This takes memory for a second copy of the adapted matrices.
    """
    kept: list[tuple[Any, str, Tensor]] = []  # layer, name of its base weight, the weight
    try:
        for layer in adapted(backbone).values():
            base, name = layer.get_base_layer(), getattr(layer, "parameter_name", "weight")
            weight: Tensor = getattr(base, name)
            kept.append((layer, name, weight))
            with torch.no_grad():
                folded = weight.float() + layer.scaling[ADAPTER] * _product(layer)
            setattr(base, name, nn.Parameter(folded.to(weight.dtype), requires_grad=False))
            layer.enable_adapters(False)
        yield backbone
    finally:
        for layer, name, weight in kept:
            setattr(layer.get_base_layer(), name, weight)
            layer.enable_adapters(True)


def _product(layer: Any) -> Tensor:
    """BA of an adapted layer in float32, in the shape of what it adapts: [out, in], or [experts,
    out, in].
    """
    if is_of_a_parameter(layer):
        a, b = factors(layer, ADAPTER)
    else:
        a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    return b.float() @ a.float()
