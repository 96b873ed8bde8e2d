"""Activation checkpointing: layers of the text stack keep only their input, and the backward pass
computes them again.

Results are equal to the bit. Dropout masks are functions of the batch (models/dropout.py), so a
layer that is computed again draws the same ones.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from xstilts.models.backbone import Backbone
from xstilts.models.dropout import DropoutControl


def text_layers(backbone: Backbone) -> list[nn.Module]:
    """The layers of the text stack, in order.

    Raises:
        ValueError: The model has no layers that can be checkpointed.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    stack = backbone.model.get_submodule(backbone.contract.text)
    layers: list[nn.Module] = [
        module for module in stack.modules() if isinstance(module, GradientCheckpointingLayer)
    ]
    if not layers:
        raise ValueError(f"the text stack of family {backbone.family} has no checkpointing layers")
    return layers


def checkpoint_layers(backbone: Backbone, on: bool) -> None:
    """Turns checkpointing of the text layers on or off. It applies in training mode only. The
    vision tower has no graph and is computed once.
    """
    # Nothing draws from the global random state, so it is not saved.
    function = partial(
        checkpoint,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=partial(_contexts, backbone.dropout),
    )
    for layer in text_layers(backbone):
        layer._gradient_checkpointing_func = function  # type: ignore[assignment]
        layer.gradient_checkpointing = on  # type: ignore[assignment]


def _contexts(
    control: DropoutControl,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of a layer's forward pass and of its repetition, which sees the same tokens even if
    another batch came between them.
    """
    return nullcontext(), control.replay(control.tokens())
