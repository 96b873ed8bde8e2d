"""Two groups on one GPU (gpus_per_worker: 0.5): tokens per second together, against one group."""

import time
from typing import Any

import torch
import torch.multiprocessing as mp

from benchmarks.gpu import models
from benchmarks.gpu.models import DEVICE, build, config_of, family_of, loss_sum, segments

HUB = "llava-hf/llava-interleave-qwen-0.5b-hf"
#: Rows of an update: 32 NLI pairs of 40 tokens.
ROWS, LENGTH = (32, 40) if DEVICE.type == "cuda" else (4, 20)
SECONDS = 8.0 if DEVICE.type == "cuda" else 1.0
_WARM = 3


def _work(rank: int, barrier: Any, results: Any) -> None:
    config = config_of(HUB, "whole" if DEVICE.type == "cuda" else "tiny")
    torch.set_num_threads(1)
    backbone = build(config, family_of(HUB), DEVICE, torch.bfloat16).train()
    work = models.task(backbone, segments(backbone, [LENGTH] * ROWS), 5).to(DEVICE)
    trainable = [p for p in backbone.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trainable, lr=1e-5, fused=True)

    def update() -> None:
        optimiser.zero_grad()
        loss = loss_sum(backbone, work) / len(work.places)
        loss.backward()
        optimiser.step()
        loss.item()

    for _ in range(_WARM):
        update()
    barrier.wait()
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        update()
        count += 1
    results.put(count * ROWS * LENGTH / (time.perf_counter() - started))


def together(processes: int) -> float:
    """Tokens per second of all processes."""
    context = mp.get_context("spawn")
    barrier, results = context.Barrier(processes), context.Queue()
    spawned = mp.spawn(_work, (barrier, results), nprocs=processes, join=False)  # type: ignore[attr-defined]
    total = sum(results.get(timeout=120) for _ in range(processes))
    spawned.join()
    return float(total)


def run() -> dict[str, Any]:
    one, two = together(1), together(2)
    return {
        "model": HUB, "tokens_per_second": {"one": one, "two": two}, "gain": two / one,
        "passed": True,
    }  # fmt: skip
