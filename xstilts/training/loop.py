"""The training loop of one finetune step.

Each update draws a fixed set of examples, splits it into padding-free micro-batches for each
worker, sums the gradients of losses that are already divided by the update's count, and steps the
optimizer. The number of workers, sharding, the token budget and restarts change only the order of
floating-point sums.

An update waits for the GPU once, after everything is queued: it reads the loss and the norm.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from xstilts.data.encoded import EncodedRow, EncodedRows
from xstilts.training.learning_rate import factor
from xstilts.training.micro_batches import micro_batches
from xstilts.training.order import Order, task_sequence
from xstilts.training.prefetch import MicroBatch, PreparationFailed, Request
from xstilts.training.row_gradients import RowAdamW, numbers, of_all_workers, use_rows
from xstilts.training.workers import StepFailed, Workers

#: The rows of one micro-batch, or what a model takes of them.
Rows = Sequence[EncodedRow] | MicroBatch
#: (one micro-batch, task index, update) → sum of the losses of its rows, with its graph.
LossSum = Callable[[Any, int, int], Tensor]
#: (this worker's micro-batches of an update, how many of them are fillers, task index, update):
#: called on every worker before they run.
Prepare = Callable[[Sequence[Rows], int, int, int], None]
#: This worker's requests of all remaining updates → their micro-batches, see prefetch.py.
Prefetch = Callable[[Iterator[Request]], Iterator[Rows]]


@dataclass(frozen=True)
class TrainTask:
    """One task of a finetune step: its encoded rows, and the objective that says how its loss is
    normalized (`lm`: by supervised tokens).
    """

    name: str
    rows: EncodedRows
    objective: str


@dataclass
class Progress:
    """Progress of a step: finished updates, tokens, the loss of each update, and evaluations on
    English dev.
    """

    update: int = 0
    supervised_tokens: int = 0
    tokens: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class TrainingSettings:
    """Settings from the recipe, which change the result, and three that affect only memory and
    time: tokens_per_micro_batch, checkpoint_every, and sharded (every forward and backward pass is
    a collective of all workers).
    """

    updates: int
    examples_per_step: int
    lr: float
    schedule: str = "linear"
    warmup: float = 0.1
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    head_lr_factor: float = 1.0
    seed: int = 0
    stage: str = ""
    weights: tuple[float, ...] = (1.0,)
    tokens_per_micro_batch: int = 4096
    checkpoint_every: int = 0
    sharded: bool = False


def parameter_groups(
    backbone: Mapping[str, Tensor], heads: nn.Module, lr: float, head_factor: float, decay: float
) -> list[dict[str, Any]]:
    """AdamW groups: no weight decay on vectors (biases, norms), the heads' learning rate scaled by
    `head_factor`.
    """
    groups: list[dict[str, Any]] = []
    named: tuple[list[tuple[str, Any]], ...] = ([*backbone.items()], [*heads.named_parameters()])
    for parameters, rate in zip(named, (lr, lr * head_factor), strict=True):
        for matrix in (True, False):
            chosen = [p for _, p in parameters if (p.ndim > 1) == matrix]
            if chosen:
                groups.append(
                    {
                        "params": chosen,
                        "lr": rate,
                        "peak": rate,
                        "weight_decay": decay if matrix else 0.0,
                    }
                )
    return groups


def make_optimiser(
    trainable: Mapping[str, nn.Parameter],
    heads: nn.Module,
    settings: TrainingSettings,
    backbone: nn.Module | None = None,
) -> torch.optim.Optimizer:
    """AdamW for the trainable weights of a backbone and for heads. Input embeddings of `backbone`
    then give their gradients as rows where that is faster (row_gradients.py); None: nowhere.
    """
    groups = parameter_groups(
        trainable, heads, settings.lr, settings.head_lr_factor, settings.weight_decay
    )
    if backbone is not None:
        use_rows(backbone, [p for g in groups if not g["weight_decay"] for p in g["params"]])
    return RowAdamW(groups, betas=(0.9, 0.999), eps=1e-8)


def train(
    tasks: Sequence[TrainTask],
    loss_sum: LossSum,
    optimiser: torch.optim.Optimizer,
    settings: TrainingSettings,
    progress: Progress,
    workers: Workers,
    checkpoint: Callable[[Progress], None] | None = None,
    watch: Callable[[Progress], None] | None = None,
    prepare: Prepare | None = None,
    prefetch: Prefetch | None = None,
) -> Progress:
    """Runs the remaining updates.

    Args:
        tasks: The tasks of the step.
        loss_sum: Loss of one micro-batch.
        optimiser: Holds the parameters that train.
        settings: Settings of the step.
        progress: Progress so far, changed in place.
        workers: This worker and the others.
        checkpoint: Called every `settings.checkpoint_every` updates.
        watch: Called after every update.
        prepare: Called before the micro-batches of every update.
        prefetch: Prepares micro-batches ahead; None: `loss_sum` gets encoded rows.

    Returns:
        The progress.

    Raises:
        StepFailed: On every worker, if one of them fails or the loss is not finite.
    """
    orders = [
        Order(len(t.rows), settings.examples_per_step, settings.seed, f"{settings.stage}/{t.name}")
        for t in tasks
    ]
    sequence = task_sequence(settings.weights, settings.updates, settings.seed, settings.stage)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    requests = (
        (index, rows)
        for index, seen in sequence[progress.update :]
        for rows in _plan(tasks[index], orders[index].draw(seen), settings, workers)[0]
    )
    batches = (
        prefetch(requests)
        if prefetch
        else (tasks[index].rows.rows(rows) for index, rows in requests)
    )
    for update in range(progress.update, settings.updates):
        index, seen = sequence[update]
        started = time.perf_counter()
        total, spent = _update(
            tasks[index],
            index,
            orders[index].draw(seen),
            batches,
            loss_sum,
            parameters,
            settings,
            update,
            workers,
            prepare,
        )
        norm = clip_gradients(parameters, settings.max_grad_norm, workers)
        scale = factor(update, settings.updates, settings.warmup, settings.schedule)
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * scale
        optimiser.step()
        loss, size = torch.stack([total, norm.double()]).tolist()
        if not math.isfinite(loss):
            raise StepFailed(
                f"update {update}: the loss is {loss}; lower the learning rate or check the data"
            )
        progress.update = update + 1
        progress.supervised_tokens += spent["supervised"]
        progress.tokens += spent["tokens"]
        progress.history.append(
            {
                "update": update,
                "task": index,
                "loss": loss,
                "lr": settings.lr * scale,
                "norm": size,
                "seconds": time.perf_counter() - started,
            }
        )
        if watch:
            watch(progress)
        if (
            checkpoint
            and settings.checkpoint_every
            and progress.update % settings.checkpoint_every == 0
        ):
            checkpoint(progress)
    return progress


def _update(
    task: TrainTask,
    index: int,
    drawn: Sequence[int],
    batches: Iterator[Rows],
    loss_sum: LossSum,
    parameters: Sequence[nn.Parameter],
    settings: TrainingSettings,
    update: int,
    workers: Workers,
    prepare: Prepare | None,
) -> tuple[Tensor, dict[str, int]]:
    """Sums the gradients of one update over workers into the parameters' `.grad`. Returns the loss,
    on the device of the parameters, and numbers of tokens.
    """
    lengths = [task.rows.lengths[i] for i in drawn]
    supervised = sum(task.rows.supervised[i] for i in drawn)
    count = supervised if task.objective == "lm" else len(drawn)
    for parameter in parameters:
        parameter.grad = None
    total = torch.zeros((), dtype=torch.float64, device=parameters[0].device)
    error: str | None = None
    try:
        plan, fillers = _plan(task, drawn, settings, workers)
        ready: Iterable[Rows] = islice(batches, len(plan))
        if prepare:
            ready = [*ready]
            prepare(ready, fillers, index, update)
        for place, rows in enumerate(ready):
            weight = 1.0 if place < len(plan) - fillers else 0.0
            loss = weight * loss_sum(rows, index, update) / max(1, count)
            loss.backward()
            total += loss.detach().double()
    except PreparationFailed as raised:
        if settings.sharded:
            raise
        error = str(raised)
    except (RuntimeError, ValueError, KeyError, OSError) as raised:
        if settings.sharded:  # the other workers wait in a collective: only a restart helps
            raise
        error = f"{type(raised).__name__}: {raised}"
    _sum_gradients(parameters, total, error, update, workers)
    return total, {"supervised": supervised, "tokens": sum(lengths)}


def _plan(
    task: TrainTask, drawn: Sequence[int], settings: TrainingSettings, workers: Workers
) -> tuple[list[list[int]], int]:
    """The rows of each micro-batch of this worker, of those drawn for an update, and how many
    micro-batches at the end are fillers.

    Sharded workers run equally many micro-batches. A worker with fewer of them adds fillers: the
    shortest row of the update, whose loss counts 0.
    """
    lengths = [task.rows.lengths[i] for i in drawn]
    plans = micro_batches(lengths, workers.world, settings.tokens_per_micro_batch)
    share = [[drawn[i] for i in batch] for batch in plans[workers.rank]]
    fillers = max(map(len, plans)) - len(share) if settings.sharded else 0
    shortest = min(drawn, key=lambda i: task.rows.lengths[i])
    return [*share, *[[shortest]] * fillers], fillers


def _sum_gradients(
    parameters: Sequence[nn.Parameter],
    total: Tensor,
    error: str | None,
    update: int,
    workers: Workers,
) -> None:
    """All-reduces gradients and the loss. A failure flag is reduced before them, so that a failed
    worker never leaves the others waiting in a collective. Gradients of sharded parameters are
    summed already, by the backward pass.
    """
    gradients = [parameter.grad for parameter in parameters]
    touched = [0.0 if gradient is None else 1.0 for gradient in gradients]
    whole = [0.0 if gradient is None or gradient.is_sparse else 1.0 for gradient in gradients]
    flags = torch.tensor([[1.0 if error else 0.0, *touched], [0.0, *whole]])
    workers.sum_(flags)
    (failed, *used), (_, *whole) = flags.tolist()
    if failed:
        workers.agree(error and f"update {update}: {error}")
    for parameter, workers_with, workers_whole in zip(parameters, used, whole, strict=True):
        # Another worker's rows may have reached it. A parameter that no row reached must not decay.
        if workers_with:
            parameter.grad = of_all_workers(parameter, bool(workers_whole), workers)
    workers.sum_(total)
    if workers.world > 1:
        parts = [
            numbers(p.grad) for p in parameters if p.grad is not None and not isinstance(p, DTensor)
        ]
        for bucket in _buckets(parts):
            flat = torch.cat([g.reshape(-1) for g in bucket])
            workers.sum_(flat)
            for gradient, part in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                gradient.copy_(part.view_as(gradient))


def clip_gradients(parameters: Sequence[nn.Parameter], most: float, workers: Workers) -> Tensor:
    """Scales all gradients so that their norm is at most `most`. Returns the norm before, without
    waiting for the GPU.
    """
    sharded = [p.grad for p in parameters if isinstance(p, DTensor) and p.grad is not None]
    whole = [
        numbers(p.grad) for p in parameters if not isinstance(p, DTensor) and p.grad is not None
    ]
    parts = [gradient.to_local() for gradient in sharded]  # type: ignore[attr-defined]
    norm = nn.utils.get_total_norm(whole)
    if sharded:
        squared = nn.utils.get_total_norm(parts).double() ** 2
        workers.sum_(squared)
        norm = (squared + norm.double() ** 2).sqrt().float()
    factor = (most / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_([*parts, *whole], factor)
    return norm


def _buckets(gradients: Sequence[Tensor], elements: int = 16_000_000) -> Iterator[list[Tensor]]:
    """Gradients in order, in groups of about `elements` numbers, so that many small tensors need
    one collective.
    """
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        if bucket and size + gradient.numel() > elements:
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += gradient.numel()
    if bucket:
        yield bucket
