"""LoRA on the fused weights of experts.

peft holds the adapters, but would add them to the weights in every forward pass. That makes a
second copy of all experts, which the backward pass keeps, and in bfloat16 it drops what changes a
weight by less than 1/512 of it. Here each token passes through the adapters of its experts beside
the weights, as in a linear layer, in the dtype of the weights: kernels for experts compute in
bfloat16.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grouped_mm, pad

#: Kernels take rows of a multiple of 16 bytes, 8 values of bfloat16. Other ranks are padded.
_RANKS = 8


def is_of_a_parameter(layer: Any) -> bool:
    """Whether an adapted layer is peft's wrapper of one 3-D parameter, not of a linear module. Two
    such parameters of a module have nested wrappers.
    """
    from peft.tuners.lora.layer import ParamWrapper

    return isinstance(layer, ParamWrapper)


def factors(layer: Any, adapter: str) -> tuple[Tensor, Tensor]:
    """A [experts, r, in] and B [experts, out, r] of a parameter's adapters. peft keeps them in
    matrices: A [experts × r, in] expert by expert, B [out, r × experts] rank by rank.
    """
    a, b = (part[adapter].weight for part in (layer.lora_A, layer.lora_B))
    experts = layer.num_experts
    return (
        a.reshape(experts, -1, a.shape[1]),
        b.reshape(len(b), -1, experts).permute(2, 0, 1).contiguous(),
    )


def separate(layers: Mapping[str, Any], adapter: str) -> None:
    """Makes adapted experts compute their adapters beside the weights. layers: adapted layers by
    name.
    """
    for name, layer in layers.items():
        if is_of_a_parameter(layer) and not name.endswith(".base_layer"):
            layer.forward = partial(_forward, layer, adapter)


def _forward(outer: Any, adapter: str, states: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """What the experts of each token make of its state.

    Args:
        outer: The outermost wrapper of the experts.
        adapter: Name of the adapter.
        states: [tokens, width].
        chosen: [tokens, k] ids of experts.
        weights: [tokens, k] shares of the experts.
    """
    experts = outer.get_base_layer()
    if outer.disable_adapters:
        merged: Tensor = experts(states, chosen, weights)
        return merged
    layers, layer = {}, outer
    while is_of_a_parameter(layer):
        layers[layer.parameter_name] = layer
        layer = layer.base_layer
    # Rows of one expert side by side, without waiting for the device.
    ids, order = torch.sort(chosen.reshape(-1), stable=True)
    counted = torch.arange(experts.num_experts, device=ids.device)
    ends = torch.searchsorted(ids, counted, right=True).to(torch.int32)
    k = chosen.shape[1]

    def linear(rows: Tensor, name: str) -> Tensor:
        weight = getattr(experts, name)
        rows = rows.to(weight.dtype)
        out = _grouped(rows, weight, ends)
        if name not in layers:
            return out
        a, b = (part.to(rows.dtype) for part in factors(layers[name], adapter))
        padding = -a.shape[1] % _RANKS
        a, b = pad(a, (0, 0, 0, padding)), pad(b, (0, padding))
        low = _grouped(_grouped(rows, a, ends), b, ends)
        return torch.add(out, low, alpha=layers[name].scaling[adapter])

    hidden = experts._apply_gate(linear(states[order // k], "gate_up_proj"))
    out = linear(hidden, "down_proj") * weights.reshape(-1)[order][:, None]
    # A sum over k in a fixed order; adding rows up in place would have none on CUDA.
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    return out[back].view(len(states), k, -1).sum(1).to(states.dtype)


def _grouped(rows: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """Rows [n, in] times the weights [experts, out, in] of their experts: [n, out]. ends: after the
    last row of each expert.
    """
    return grouped_mm(rows, weight.transpose(-2, -1), offs=ends)
