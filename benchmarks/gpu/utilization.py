"""FLOP/s and memory of training a 7B model with LoRA in bfloat16, through the training loop."""

import statistics
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn

from benchmarks.gpu.models import (
    DEVICE,
    RANK,
    Task,
    build,
    config_of,
    family_of,
    loss_sum,
    picture,
    segments,
    task,
)  # fmt: skip
from xstilts.models.activation_checkpointing import checkpoint_layers
from xstilts.models.backbone import Backbone
from xstilts.models.batch import ImageInput
from xstilts.plan.cost import Model
from xstilts.plan.cost_assumptions import assumed
from xstilts.plan.cost_rows import Picture, Row
from xstilts.plan.memory import Batch, Setup, training
from xstilts.plan.model_shape import Shape, known_shape
from xstilts.training.loop import Progress, TrainingSettings, TrainTask, make_optimiser, train
from xstilts.training.workers import Workers

#: Tokens of an update, which is one micro-batch.
BUDGET = 8192 if DEVICE.type == "cuda" else 1300
#: Tokens of a row: an NLI pair or short passage; a text beside a picture.
TEXT, BESIDE, ANSWER = 256, 64, 16
UPDATES, WARM = (12, 4) if DEVICE.type == "cuda" else (3, 1)
WANTED = {"text": 0.45, "pictures": 0.40}


class Lengths:
    """What the training loop reads of the rows before they are prepared."""

    def __init__(self, count: int, length: int) -> None:
        self.lengths, self.supervised = [length] * count, [ANSWER] * count

    def __len__(self) -> int:
        return len(self.lengths)


#: Part of the GPU that training may use without activation checkpointing.
_ROOM = 0.9


def memory_of(shape: Shape, batch: Batch, checkpointing: bool) -> dict[str, int]:
    setup = Setup("lora", RANK, "bfloat16", cuda=True, checkpointing=checkpointing)
    return dict(training(shape, setup, batch).parts)


def patches_of(shown: ImageInput, shape: Shape) -> int:
    """Patches that the vision tower computes for an image."""
    vision = shape.vision
    assert vision is not None
    return vision.patches_per_token * shown.tokens or vision.patches * len(shown.pixel_values)


def trained(backbone: Backbone, shape: Shape, shown: ImageInput | None) -> dict[str, Any]:
    """Seconds, FLOPs and memory of an update of rows with or without a picture."""
    length = BESIDE + shown.tokens if shown else TEXT
    count = max(1, BUDGET // length)
    rows = segments(backbone, [BESIDE if shown else TEXT] * count, shown)
    made = task(backbone, rows, ANSWER)
    patches = patches_of(shown, shape) if shown else 0
    batch = Batch(count * length, count * ANSWER, count * patches)
    total = torch.cuda.mem_get_info()[1] if DEVICE.type == "cuda" else 2**60
    checkpointing = sum(memory_of(shape, batch, False).values()) > _ROOM * total
    checkpoint_layers(backbone, checkpointing)
    expected = memory_of(shape, batch, checkpointing)
    trainable = {n: p for n, p in backbone.named_parameters() if p.requires_grad}
    settings = TrainingSettings(UPDATES, count, 1e-5, tokens_per_micro_batch=BUDGET)
    optimiser = make_optimiser(trainable, nn.Module(), settings)
    source = cast(Any, Lengths(count, length))
    pinned = DEVICE.type == "cuda"
    if pinned:
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.empty_cache()

    def feed(requests: Iterator[Any]) -> Iterator[Any]:
        """The same micro-batch for each request; it travels from the host each time."""
        for _ in requests:
            yield made

    def loss(rows: Any, index: int, update: int) -> torch.Tensor:
        return loss_sum(backbone, cast(Task, rows).to(DEVICE))

    progress = train(
        [TrainTask("task", source, "lm")], loss, optimiser, settings, Progress(), Workers(),
        prefetch=feed,
    )  # fmt: skip
    seconds = [entry["seconds"] for entry in progress.history[WARM:]]
    row = Row(
        text=length - (shown.tokens if shown else 0), shown=shown.tokens if shown else 0,
        patches=patches, answer=ANSWER,
    )  # fmt: skip
    seen = Picture(shown.tokens, patches, shown.tokens, patches) if shown else None
    flops = Model("model", shape, picture=seen).train(row, count, {"mode": "lora", "r": RANK})
    measured = torch.cuda.max_memory_allocated() if pinned else 0
    context = expected.pop("CUDA", 0)
    kind = "pictures" if shown else "text"
    middle = statistics.median(seconds)
    return {
        "rows": kind, "tokens": count * length, "flops": flops, "seconds": seconds,
        "tokens_per_second": count * length / middle,
        "mfu": flops / middle / assumed("peak bfloat16"), "wanted": WANTED[kind],
        "activation_checkpointing": checkpointing, "loss": progress.history[-1]["loss"],
        "memory": measured, "memory_by_arithmetic": sum(expected.values()),
        "memory_parts": expected, "memory_outside": context,
    }  # fmt: skip


def measured(hub: str) -> dict[str, Any]:
    """Text and pictures of one model. It passes if it runs: a GPU that is slower than wanted is
    shown, not an error.
    """
    config = config_of(hub, "whole" if DEVICE.type == "cuda" else "tiny")
    backbone = build(config, family_of(hub), DEVICE, torch.bfloat16).train()
    shape = known_shape(config)
    assert shape is not None
    results = [trained(backbone, shape, shown) for shown in (None, picture(hub))]
    return {"model": hub, "results": results, "passed": True}


def llava() -> dict[str, Any]:
    return measured("llava-hf/llava-1.5-7b-hf")


def qwen_vl() -> dict[str, Any]:
    return measured("Qwen/Qwen2.5-VL-7B-Instruct")
