"""One copy of a backbone's weights in a group of workers (PyTorch's `fully_shard`).

What is sharded is the text stack with its LM head: under full tuning with its gradients and
optimizer moments, under LoRA the frozen weights alone. Adapters, heads, vision tower and projector
are whole on every worker. A batch without images does not run the tower, so its collectives would
not match those of other workers.

Each block is gathered before it runs and dropped afterwards. Embeddings and LM head are gathered
from the start of a forward pass to the end of its backward pass. Gradients are summed in the
parameters' own dtype, float32.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from xstilts.models.backbone import Backbone
from xstilts.models.batch import Segment, pack


class OutOfStep(Exception):
    """A forward pass of a sharded backbone failed on this worker. Its collectives no longer match
    those of the others, so only a restart of the group helps.
    """


def possible(setting: str, world: int, device: torch.device) -> bool:
    """Whether `resources.sharding` may mean that a backbone is sharded. A single worker has
    all weights; `auto` never shards on CPUs, whose memory the workers of a machine share.
    """
    return world > 1 and (setting == "full" or (setting == "auto" and device.type == "cuda"))


def shard(backbone: Backbone, device: torch.device) -> None:
    """Moves the backbone to the device, its text stack shared by all workers of the default process
    group. Call it after `add_lora`, on every worker.
    """
    if device.type == "cuda":  # else the mesh takes the GPU whose number is the local rank
        torch.cuda.set_device(device)
        torch.cuda.init()
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    text, head = (f"model.{name}." for name in (backbone.contract.text, backbone.contract.lm_head))
    lora = any(".lora_A." in name for name, _ in backbone.named_parameters())
    whole = {
        parameter
        for name, parameter in backbone.named_parameters()
        if not name.startswith((text, head)) or (lora and parameter.requires_grad)
    }
    for block in _blocks(backbone):
        fully_shard(block, mesh=mesh, ignored_params=whole)
    fully_shard(backbone, mesh=mesh, ignored_params=whole, reshard_after_forward=False)
    for module in backbone.modules():
        if isinstance(module, FSDPModule):
            # The loss is divided by the update's count already.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    backbone.to(device)
    backbone.sharded = True


def _blocks(backbone: Backbone) -> nn.ModuleList:
    """The layers of the text stack."""
    text = backbone.model.get_submodule(backbone.contract.text)
    return next(
        module
        for module in text.modules()
        if isinstance(module, nn.ModuleList) and len(module) == backbone.layers
    )


def reshard(backbone: Backbone) -> None:
    """Drops gathered weights, so that the backbone's parameters are the sharded ones. Weights that
    a forward pass gathered would hide later changes.
    """
    if isinstance(backbone, FSDPModule):
        backbone.reshard()


def local(tensor: Tensor) -> Tensor:
    """This worker's part, which shares its memory with the tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All parts. For a sharded tensor all workers call this together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def on_host(tensors: Mapping[str, Tensor], keep: bool = True) -> dict[str, Tensor]:
    """Whole tensors on the CPU, without copying those that are on the CPU already; none without
    `keep`. With sharded tensors all workers call this together.
    """
    gathered = {}
    for name, tensor in tensors.items():
        if keep or isinstance(tensor, DTensor):
            complete = whole(tensor.detach())
            if keep:
                gathered[name] = complete.contiguous().cpu()
    return gathered


def part_of(value: Tensor, like: Tensor) -> Tensor:
    """This worker's part of a whole tensor, sharded like another."""
    if not isinstance(like, DTensor):
        return value
    parts = value.chunk(like.device_mesh.size())
    rank = like.device_mesh.get_local_rank()
    return parts[rank] if rank < len(parts) else value[:0]


def sharded_like(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor as one that is sharded like another."""
    if not isinstance(like, DTensor):
        return value
    return DTensor.from_local(
        part_of(value, like).to(like.device, copy=True),
        like.device_mesh,
        like.placements,
        run_check=False,
        shape=like.shape,
        stride=like.stride(),
    )


@contextmanager
def in_step(backbone: Backbone, any_worker: Callable[[bool], bool]) -> Iterator[None]:
    """Inside this context workers may run different numbers of forward passes, without gradients.

    A forward pass of a sharded backbone is a collective. So each is announced, and a worker that
    has finished joins those of the others with one token. No other collective may be inside. Does
    nothing for a whole backbone.

    Args:
        backbone: The backbone.
        any_worker: Whether any worker passes True; all call it together.

    Raises:
        OutOfStep: After a forward pass that failed, by the next one or at the end.
    """
    if not backbone.sharded:
        yield
        return

    running = False

    def check() -> None:
        if running:
            raise OutOfStep(
                "a forward pass of a backbone whose weights are shared failed; see the worker's "
                "error before this one, or set resources.sharding: none"
            )

    def announce(*_: Any) -> None:
        nonlocal running
        check()
        reshard(backbone)  # each pass gathers everything, whatever a worker did in between
        any_worker(True)
        running = True

    def finish(*_: Any) -> None:
        nonlocal running
        running = False

    hooks = (
        backbone.register_forward_pre_hook(announce, prepend=True),
        backbone.register_forward_hook(finish),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    check()
    # The middle of the vocabulary has no special tokens.
    token = int(backbone.config.get_text_config().vocab_size) // 2
    device = next(backbone.parameters()).device
    filler = pack([Segment([token])], backbone).to(device)
    while any_worker(False):
        reshard(backbone)
        with torch.no_grad():
            backbone(filler)
    reshard(backbone)
