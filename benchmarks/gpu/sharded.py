"""A backbone sharded by `fully_shard` on one rank, against the same backbone whole."""

import time
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from benchmarks.gpu import models
from benchmarks.gpu.models import (
    DEVICE,
    Task,
    build,
    config_of,
    family_of,
    gradients,
    loss_sum,
    segments,
    synchronize,
)  # fmt: skip
from benchmarks.gpu.numerics import distance
from xstilts.models.backbone import Backbone
from xstilts.models.sharding import reshard, shard

HUB = "Qwen/Qwen2.5-VL-7B-Instruct"
TOKENS = 4096 if DEVICE.type == "cuda" else 64
ROUNDS = 5
TOLERANCE = 1e-3


def seconds_of(backbone: Backbone, work: Task) -> float:
    """Mean of a forward and backward pass, after one that is not counted."""
    started = 0.0
    for number in range(ROUNDS + 1):
        if number == 1:
            synchronize()
            started = time.perf_counter()
        loss_sum(backbone, work).backward()
    synchronize()
    return (time.perf_counter() - started) / ROUNDS


def run() -> dict[str, Any]:
    """Loss, gradients and seconds of both."""
    cuda = DEVICE.type == "cuda"
    size = "few layers" if cuda else "tiny"
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    store = dist.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=0, world_size=1)
    try:
        backbone = build(config_of(HUB, size), family_of(HUB), DEVICE, torch.bfloat16).train()
        work = models.task(backbone, segments(backbone, [TOKENS // 8] * 8), 4).to(DEVICE)
        loss, expected = gradients(backbone, work)
        whole = seconds_of(backbone, work)
        shard(backbone, torch.device("cuda", 0) if cuda else DEVICE)
        again, ours = gradients(backbone, work)
        seconds = seconds_of(backbone, work)
        reshard(backbone)
        parts = sum(isinstance(p, DTensor) for p in backbone.parameters())
    finally:
        dist.destroy_process_group()
    error = distance(ours, expected)
    return {
        "model": HUB, "sharded_parameters": parts, "loss": [loss, again], "gradients": error,
        "seconds": {"whole": whole, "sharded": seconds}, "passed": parts > 0 and error < TOLERANCE,
    }  # fmt: skip
