"""Fits a step into the memory of its worker: refuses a model that is too large before it is loaded,
and chooses token budget and activation checkpointing from free memory.

Neither changes a result: the budget changes the order of sums, and layers that are computed again
give the same bits. An update that still runs out of memory fails with the arithmetic. It is
not repeated with half the budget: its worker may be inside a collective that others wait in.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from xstilts.models.activation_checkpointing import checkpoint_layers
from xstilts.models.backbone import Backbone
from xstilts.models.model_folder import read_config
from xstilts.plan.memory import GIB, Batch, MemoryUse, on_cpu, scoring, training
from xstilts.plan.memory_choice import (
    AUTO,
    RESIDENT,
    Choice,
    Need,
    Rows,
    choose,
    refusal,
    setup_of,
    usual_budget,
)
from xstilts.plan.model_shape import Shape, known_shape
from xstilts.step import Step
from xstilts.training.loop import TrainingSettings, TrainTask
from xstilts.training.workers import StepFailed

#: Bytes of a float32 parameter that trains: itself, its gradient and the two moments of AdamW.
_TRAINED = 16


class DoesNotFit(RuntimeError):
    """A step needs more memory than its worker has."""


def free_memory(device: torch.device, root: Path = Path("/")) -> int:
    """Bytes that this worker may still allocate: of its GPU, or its share of the machine's and the
    container's memory.

    root: where /proc and /sys are.
    """
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + unused
    limits = [_of_machine(root), *_of_container(root)]
    # Ray Train sets the number of workers on this machine. They start at the same time.
    return min(limits) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _of_machine(root: Path) -> int:
    table = root / "proc" / "meminfo"
    if not table.is_file():  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    line = next(v for v in table.read_text().splitlines() if v.startswith("MemAvailable:"))
    return int(line.split()[1]) * 1024


def _of_container(root: Path) -> Iterator[int]:
    """What the limit of the control group leaves; nothing without a limit. Cached files count as
    free.
    """
    group = root / "sys" / "fs" / "cgroup"
    limit = group / "memory.max"
    if not limit.is_file() or limit.read_text().strip() == "max":
        return
    stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    used = int((group / "memory.current").read_text()) - int(stat.get("inactive_file", 0))
    yield int(limit.read_text()) - used


def require_room(folder: Path, step: Step, device: torch.device) -> None:
    """DoesNotFit if weights, gradients and moments alone exceed the device's free memory. Called
    before the model is loaded.
    """
    shape = known_shape(read_config(folder))
    if shape is None:
        return
    cuda = device.type == "cuda"
    settings = {
        **step.settings,
        "tokens_per_micro_batch": 1,
        "sharding": "full" if cuda and step.settings.get("sharding") == AUTO else
        step.settings.get("sharding"),
    }  # fmt: skip
    need: Need = training if step.kind == "finetune" else scoring
    rows, free = Rows(1), free_memory(device)
    choice = choose(shape, setup_of(step.spec, settings, cuda), rows, settings, free, need)
    if choice.memory.total > free:
        raise DoesNotFit(_refusal(step, shape, choice, rows, free, device, need))


def needs_sharding(setting: str, backbone: Backbone, device: torch.device) -> bool:
    """Whether a backbone that may be sharded is: always with `full`; with `auto` if weights,
    gradients and moments take more than RESIDENT of the GPU's memory.
    """
    if setting == "full":
        return True
    held = sum(
        p.numel() * (_TRAINED if p.requires_grad else p.element_size())
        for p in backbone.parameters()
    )
    total: int = torch.cuda.mem_get_info(device)[1]
    return held > RESIDENT * total


def training_choice(
    backbone: Backbone,
    step: Step,
    tasks: Sequence[TrainTask],
    images: bool,
    copies: Mapping[str, torch.Tensor],
) -> Choice | None:
    """Token budget and checkpointing of a finetune step, whose backbone is loaded.

    Args:
        backbone: The backbone on its device.
        step: The step.
        tasks: Its tasks with encoded rows.
        images: Whether rows show images.
        copies: Initial weights of the backbone, which are allocated on the host already.

    Returns:
        The choice, or None for a model type without arithmetic.

    Raises:
        DoesNotFit: No budget that the plan allows fits into free memory.
    """
    shape = known_shape(backbone.config.to_dict())
    if shape is None:
        return None
    device = next(backbone.parameters()).device
    cuda = device.type == "cuda"
    setup = replace(setup_of(step.spec, step.settings, cuda), shards=_shards(backbone))
    examples = step.spec["recipe"].get("examples_per_step")
    rows = Rows(
        longest=max(max(task.rows.lengths, default=1) for task in tasks),
        supervised=max(_supervised(task) for task in tasks),
        images=images,
        update=max(_most(task.rows.lengths, examples) for task in tasks) if examples else None,
        update_supervised=max(
            _most(task.rows.supervised, examples) for task in tasks if task.objective == "lm"
        )
        if examples and any(task.objective == "lm" for task in tasks)
        else None,
    )
    need: Need = training if cuda else on_cpu
    tensors = [t for p in backbone.parameters() for t in (p, p.grad) if t is not None]
    if not cuda:
        tensors += copies.values()
    available = free_memory(device) + sum(map(_bytes, tensors))
    choice = choose(shape, setup, rows, step.settings, available, need)
    if choice.memory.total > available:
        raise DoesNotFit(_refusal(step, shape, choice, rows, available, device, need))
    return choice


def _shards(backbone: Backbone) -> int:
    """Workers that share the weights."""
    shared = (p.device_mesh.size() for p in backbone.parameters() if isinstance(p, DTensor))
    return next(shared, 1)


def _bytes(tensor: torch.Tensor) -> int:
    """Of this worker's part, if workers share the tensor; of a sparse gradient, of its rows."""
    part = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    part = part._values() if part.is_sparse else part
    return int(part.numel() * part.element_size())


def _most(values: Sequence[int], examples: int) -> int:
    """The largest sum over the rows of an update. Fewer rows than examples are drawn again."""
    largest = sorted(values, reverse=True)[:examples]
    return sum(largest) * -(-examples // max(1, len(largest)))


def _supervised(task: TrainTask) -> float:
    """The largest share of a row's tokens whose logits are computed."""
    if task.objective != "lm":
        return 0.0
    pairs = zip(task.rows.supervised, task.rows.lengths, strict=True)
    return max((supervised / length for supervised, length in pairs), default=0.0)


def _refusal(
    step: Step,
    shape: Shape,
    choice: Choice,
    rows: Rows,
    available: int,
    device: torch.device,
    need: Need,
) -> str:
    of = "free memory of the GPU" if device.type == "cuda" else "free memory of each worker"
    label = str(step.settings.get("label", step.kind))
    return refusal(label, shape, choice, rows, available, of, need)


def applied(
    choice: Choice | None, backbone: Backbone, step: Step, settings: TrainingSettings
) -> TrainingSettings:
    """Turns checkpointing on or off, and returns the settings with the token budget. choice: that
    of the first worker, so that all have the same.
    """
    on = step.settings.get("activation_checkpointing") == "on"
    checkpoint_layers(backbone, choice.setup.checkpointing if choice else on)
    if choice is None:
        return settings
    return replace(settings, tokens_per_micro_batch=choice.tokens_per_micro_batch)


def scoring_budget(backbone: Backbone, step: Step) -> int:
    """Tokens of a batch without gradients: as the plan says; for `auto` on a GPU the largest that
    fits into free memory.
    """
    shape, device = known_shape(backbone.config.to_dict()), next(backbone.parameters()).device
    auto = step.settings.get("tokens_per_micro_batch", AUTO) == AUTO
    if not auto or device.type != "cuda" or shape is None:
        return usual_budget(step.settings)
    setup = setup_of(step.spec, step.settings, True)
    free = free_memory(device)

    def more(shape: Shape, setup: Any, batch: Batch) -> MemoryUse:
        """What scoring needs besides weights."""
        parts = scoring(shape, setup, replace(batch, all_layers=True)).parts
        held = ("weights", "adapters", "gathered weights", "CUDA")
        return MemoryUse({name: size for name, size in parts.items() if name not in held})

    return choose(
        shape, setup, Rows(1), {"activation_checkpointing": "off"}, free, more
    ).tokens_per_micro_batch


def explained(error: StepFailed, choice: Choice | None) -> StepFailed:
    """The failure of a step, with the arithmetic if it ran out of GPU memory."""
    if choice is None or "OutOfMemoryError" not in str(error):
        return error
    return StepFailed(
        f"{error}\nThe arithmetic expected {choice.memory.total / GIB:.1f} GiB ({choice.memory}). "
        "Other processes may use the GPU; or set tokens_per_micro_batch below "
        f"{choice.tokens_per_micro_batch}, or activation_checkpointing: on"
    )
