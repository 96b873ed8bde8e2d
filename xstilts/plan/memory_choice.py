"""Chooses token budget and activation checkpointing so that a step fits into memory, and says why
one does not fit.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from xstilts.models.families import contract
from xstilts.plan.memory import FLOAT32, GIB, Batch, MemoryUse, Setup, training
from xstilts.plan.model_shape import Shape

AUTO = "auto"
#: Token budgets that `auto` tries. Powers of two, so that a little more free memory rarely changes
#: the order of sums.
BUDGETS = (65536, 32768, 16384, 8192, 4096, 2048, 1024)
#: The budget without a GPU, and the smallest that `auto` prefers to activation checkpointing.
USUAL_BUDGET = 4096
#: `sharding: auto` shards if a worker's weights, gradients and moments exceed this part of a GPU;
#: the rest is for activations.
RESIDENT = 0.5
#: Numbers of workers that advice tries for sharding.
_SHARDS = (2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Rows:
    """What a step's rows need.

    Attributes:
        longest: Tokens of the longest row, image tokens included.
        supervised: Share of tokens whose vocabulary logits are computed; 0 with a task head.
        images: Whether they show images.
        update: Most tokens of an update, which no micro-batch exceeds; None: not known.
        update_supervised: Of these, most tokens whose vocabulary logits are computed.
    """

    longest: int
    supervised: float = 0.0
    images: bool = False
    update: int | None = None
    update_supervised: int | None = None

    def batch(self, shape: Shape, budget: int) -> Batch:
        """A micro-batch of this token budget. A row longer than the budget is one by itself."""
        tokens = max(budget, self.longest)
        if self.update is not None:
            tokens = min(tokens, self.update)
        supervised = round(self.supervised * tokens)
        if self.update_supervised is not None:
            supervised = min(supervised, self.update_supervised)
        per_token = (shape.vision.patches_per_token or 1) if shape.vision else 0
        return Batch(
            tokens,
            supervised=supervised,
            patches=tokens * per_token if self.images else 0,
        )


@dataclass(frozen=True)
class Choice:
    """What a step runs with, and the memory that it then needs."""

    tokens_per_micro_batch: int
    setup: Setup
    memory: MemoryUse


#: Memory of (shape, setup, batch): of training, or of training on a CPU.
Need = Callable[[Shape, Setup, Batch], MemoryUse]


def setup_of(
    spec: Mapping[str, Any],
    settings: Mapping[str, Any],
    cuda: bool,
    shape: Shape | None = None,
    limit: float = math.inf,
) -> Setup:
    """The setup of a finetune or score step, without checkpointing.

    Args:
        spec: The step's spec.
        settings: Its settings.
        cuda: Whether it runs on a GPU.
        shape: Shape of the model, for `sharding: auto`; None: not sharded then.
        limit: Bytes of the GPU, for `sharding: auto`.
    """
    recipe = spec.get("recipe", {})
    setup = Setup(
        tuning=spec["tuning"]["mode"],
        r=int(spec["tuning"].get("r") or 0),
        dtype=str(spec.get("dtype", "float32")),
        cuda=cuda,
        dropout=bool(recipe.get("dropout")) and not contract(spec["family"]).causal,
        adapter_dropout=bool(recipe.get("adapter_dropout")) and spec["tuning"]["mode"] == "lora",
        selects=recipe.get("selection") not in (None, "last"),
    )
    sharding, workers = settings.get("sharding", "none"), int(settings.get("workers", 1))
    large = shape is not None and resident(shape, setup) > RESIDENT * limit
    if sharding == "full" or (sharding == AUTO and cuda and large):
        return replace(setup, shards=workers)
    return setup


def resident(shape: Shape, setup: Setup) -> int:
    """Bytes of weights, gradients and moments of an unsharded worker."""
    parts = training(shape, setup, Batch(0, 1)).parts
    held = ("weights", "adapters", "gradients", "optimizer moments")
    return sum(parts.get(name, 0) for name in held)


def usual_budget(settings: Mapping[str, Any]) -> int:
    """The token budget where it is not chosen from free memory."""
    value = settings.get("tokens_per_micro_batch", AUTO)
    return USUAL_BUDGET if value == AUTO else int(value)


def choose(
    shape: Shape,
    setup: Setup,
    rows: Rows,
    settings: Mapping[str, Any],
    available: float,
    need: Need = training,
) -> Choice:
    """Token budget and checkpointing of a step: as the plan says; for `auto` the largest budget
    that fits, and checkpointing if nothing else fits, or only budgets below `USUAL_BUDGET`.

    Args:
        shape: Shape of the model.
        setup: Setup of the step.
        rows: Its rows.
        settings: Settings of the step: tokens_per_micro_batch, activation_checkpointing.
        available: Bytes that the worker may use.
        need: Memory of what the step does.

    Returns:
        The choice. Its memory is more than `available` if nothing fits.
    """
    options = list(_options(shape, setup, rows, settings, need))
    fitting = [option for option in options if option.memory.total <= available]
    if not fitting:
        return min(options, key=lambda option: option.memory.total)
    usual = min(USUAL_BUDGET, max(option.tokens_per_micro_batch for option in options))
    for option in fitting:  # without checkpointing first, and larger budgets first
        if option.setup.checkpointing or option.tokens_per_micro_batch >= usual:
            return option
    return fitting[0]


def _options(
    shape: Shape, setup: Setup, rows: Rows, settings: Mapping[str, Any], need: Need
) -> Iterator[Choice]:
    budget = settings.get("tokens_per_micro_batch", AUTO)
    checkpointing = settings.get("activation_checkpointing", AUTO)
    budgets = (
        [int(budget)] if budget != AUTO else [b for b in BUDGETS if setup.cuda or b <= USUAL_BUDGET]
    )
    for on in (False, True):
        if checkpointing in (AUTO, "on" if on else "off"):
            changed = replace(setup, checkpointing=on)
            for tokens in budgets:
                memory = need(shape, changed, rows.batch(shape, tokens))
                yield Choice(tokens, changed, memory)


def refusal(
    name: str,
    shape: Shape,
    choice: Choice,
    rows: Rows,
    available: float,
    of: str,
    need: Need = training,
) -> str:
    """Why a step does not fit, with the arithmetic and with each change that would make it fit.

    Args:
        name: Of the backbone or step.
        shape: Shape of the model.
        choice: What needs too much.
        rows: Rows of the step.
        available: Bytes that the worker may use.
        of: What has them, such as `a GPU (resources.gpu_memory_gib)`.
        need: Memory of what the step does.
    """
    setup = choice.setup
    tuning = f"LoRA of rank {setup.r}" if setup.lora else "full tuning"
    shards = f", sharded over {setup.shards} workers" if setup.shards > 1 else ""
    changes = list(_changes(shape, choice, rows, available, need))
    advice = f"use {', or '.join(changes)}" if changes else "use devices with more memory"
    return (
        f"{name} ({tuning}, {setup.dtype}{shards}, activation checkpointing "
        f"{'on' if setup.checkpointing else 'off'}, {choice.tokens_per_micro_batch:,} tokens per "
        f"micro-batch) needs about {choice.memory.total / GIB:.1f} GiB of the "
        f"{available / GIB:.1f} GiB of {of}: {choice.memory}; {advice}"
    )


def _changes(
    shape: Shape, choice: Choice, rows: Rows, available: float, need: Need
) -> Iterator[str]:
    """Changes to the plan that would fit, from the smallest to the largest."""
    setup, budget = choice.setup, choice.tokens_per_micro_batch

    def fits(tokens: int, **changes: Any) -> bool:
        changed = replace(setup, **changes)
        return need(shape, changed, rows.batch(shape, tokens)).total <= available

    smaller = next((b for b in BUDGETS if b < budget and fits(b)), None)
    if smaller and smaller >= rows.longest:
        yield f"tokens_per_micro_batch: {smaller}"
    if not setup.checkpointing and fits(budget, checkpointing=True):
        yield "activation_checkpointing: on"
    if setup.bytes == FLOAT32 and fits(budget, dtype="bfloat16"):
        yield "dtype: bfloat16"
    shards = next((n for n in _SHARDS if n > setup.shards and fits(budget, shards=n)), None)
    if shards:
        yield f"sharding: full with at least {shards} workers"
    if not setup.lora:
        for dtype in dict.fromkeys((setup.dtype, "bfloat16")):
            if fits(budget, tuning="lora", r=16, dtype=dtype):
                yield "tuning: lora" + (f" with dtype: {dtype}" if dtype != setup.dtype else "")
                break
