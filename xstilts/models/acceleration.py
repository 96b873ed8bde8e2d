"""Faster computation on a GPU, which rounds differently: compiled layers and Liger kernels. Plans
choose them by name, and both are part of a step's fingerprint.
"""

from collections.abc import Mapping
from typing import Any

import torch

from xstilts.errors import DataError
from xstilts.models.activation_checkpointing import text_layers
from xstilts.models.backbone import Backbone

#: What Liger replaces. The loss is computed outside the model, so its losses are left out.
LIGER: Mapping[str, bool] = {
    "rope": True,
    "rms_norm": True,
    "swiglu": True,
    "cross_entropy": False,
    "fused_linear_cross_entropy": False,
}


def accelerate(backbone: Backbone, spec: Mapping[str, Any], device: torch.device) -> None:
    """Applies the keys `kernels` and `compile` of a step's spec. Call it after `add_lora`.

    Raises:
        DataError: The device is not a GPU, or the kernels are not installed.
    """
    chosen = {key: spec[key] for key in ("kernels", "compile") if spec.get(key)}
    if chosen and device.type != "cuda":
        keys = ", ".join(f"{key}: {value}" for key, value in chosen.items())
        raise DataError(
            f"{keys} needs a GPU, and this worker runs on {device.type}; set "
            "resources.gpus_per_worker, or remove the key from the backbone"
        )
    if "kernels" in chosen:
        use_liger(backbone)
    if "compile" in chosen:
        compile_layers(backbone)


def use_liger(backbone: Backbone) -> None:
    """Replaces rotary embeddings, RMSNorm and SwiGLU by Liger's kernels. DataError if they are not
    installed.
    """
    try:
        from liger_kernel.transformers import _apply_liger_kernel_to_instance
    except ImportError as error:
        raise DataError(
            "kernels: liger needs the package liger-kernel; install it where workers run "
            "(pip install liger-kernel), or remove kernels from the backbone"
        ) from error
    _apply_liger_kernel_to_instance(model=backbone.model, **LIGER)


def compile_layers(backbone: Backbone, backend: str = "inductor") -> None:
    """Compiles each text layer for any number of tokens and segments."""
    layers = text_layers(backbone)
    # Layers share their code, and each may be compiled with constants of its own.
    dynamo: Any = torch._dynamo.config
    dynamo.recompile_limit = max(dynamo.recompile_limit, 4 * len(layers))
    for layer in layers:
        layer.compile(backend=backend, dynamic=True)
    stack = backbone.model.get_submodule(backbone.contract.text)
    stack.register_forward_pre_hook(_without_lengths, with_kwargs=True)


def _without_lengths(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Lengths of segments as Python numbers would be compiled in, once for each batch. Kernels on a
    GPU read them from `cu_seq_lens_q`.
    """
    return args, {name: value for name, value in kwargs.items() if name != "segment_lengths"}
