"""All workers of a group score one model together: each computes every n-th batch of its rows, and
one of them, the owner, commits the steps.

This is for the models that do not make a whole round of one model for each worker, so that no
worker is idle: 9 models on 8 workers take 1 round and an eighth, not 2. The batches are those of a
single worker, so the results are equal to the last bit. Predictions travel through memory. Nothing
is written before the owner has all of them, so a lost worker leaves no partial result.
"""

import time
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from xstilts.errors import XstiltsError
from xstilts.models import sharding
from xstilts.runs.loaded_backbone import LoadedBackbone
from xstilts.runs.memory_fit import scoring_budget
from xstilts.runs.score_output import Predictions, commit_all
from xstilts.runs.score_pass import RECORDED, checkpoints, jobs_of, predictor_of
from xstilts.runs.score_shards import with_vectors, without_large
from xstilts.scoring.predict import Item, Job, Predictor, join_rows, predicted
from xstilts.step import Step
from xstilts.training.workers import Workers

#: A model's fingerprint, empty for the backbone alone, and its score steps.
Model = tuple[str, Sequence[Step]]
#: A checkpoint, its predictor, all jobs, and the predictions of one worker.
Part = tuple[str, Predictor, list[Job], list[Item]]


def deal(
    undone: Mapping[str, Sequence[Step]], trained: Collection[str], world: int
) -> tuple[list[Model], list[Model]]:
    """(the models that are scored by one worker each, in turn; those that are scored together).

    Models that are not trained are among the former: they only fail.

    Args:
        undone: Model → its unfinished score steps.
        trained: Models that are trained.
        world: Number of workers.
    """
    ready = [item for item in undone.items() if not item[0] or item[0] in trained]
    failing = [item for item in undone.items() if item[0] and item[0] not in trained]
    whole = len(ready) // world * world
    return ready[:whole] + failing, ready[whole:]


def least_budget(loaded: LoadedBackbone, step: Step, workers: Workers) -> int:
    """Tokens per batch that fit into the memory of every worker. All workers need the same batches.
    StepFailed on every worker if one has too little memory.
    """
    budget, error = 0, None
    try:
        budget = scoring_budget(loaded.backbone, step)
    except RECORDED as raised:
        error = str(raised)
    workers.agree(error)
    return min(workers.everyone(budget))


def score_together(
    loaded: LoadedBackbone,
    model: str,
    steps: Sequence[Step],
    budget: int,
    owner: int,
    workers: Workers,
) -> dict[str, Exception]:
    """Scores one model on all its score steps; all workers call this. The owner commits the steps
    and returns fingerprint → error for those that failed on any worker; the others return nothing.

    Args:
        loaded: The backbone.
        model: The model.
        steps: Its score steps.
        budget: Tokens per batch.
        owner: Rank of the worker that commits.
        workers: This worker's rank and its connection to the others.
    """
    started = time.perf_counter()
    mine: list[Part] = []
    error = ""
    with sharding.in_step(loaded.backbone, workers.any):
        try:  # in here: after an error, this worker still joins the passes of the others
            mine = _part_of(loaded, model, steps, budget, owner, workers)
        except RECORDED as raised:
            error = f"{type(raised).__name__}: {raised}"
    parts = workers.send((error, [items for *_, items in mine]), owner)
    if workers.rank != owner:
        return {}
    errors = [f"worker {rank}: {text}" for rank, (text, _) in enumerate(parts) if text]
    if errors:
        return {step.fingerprint: XstiltsError("\n".join(errors)) for step in steps}
    try:
        predictions: Predictions = {
            checkpoint: join_rows(
                predictor,
                jobs,
                (_unpacked(item) for _, shares in parts for item in shares[number]),
            )
            for number, (checkpoint, predictor, jobs, _) in enumerate(mine)
        }
    except RECORDED as raised:
        return {step.fingerprint: raised for step in steps}
    return commit_all(loaded, steps, predictions, (time.perf_counter() - started) / len(steps))


def _part_of(
    loaded: LoadedBackbone,
    model: str,
    steps: Sequence[Step],
    budget: int,
    owner: int,
    workers: Workers,
) -> list[Part]:
    """What this worker predicts, for each checkpoint."""
    manifest = loaded.parent("finetune", model, steps[0]) if model else None
    every = jobs_of(loaded, steps)
    parts: list[Part] = []
    for checkpoint in checkpoints(manifest):
        predictor = predictor_of(loaded, manifest, steps, checkpoint, budget)
        with loaded.folded(), torch.no_grad():
            jobs = (
                with_vectors(loaded.store, predictor, every, checkpoint)
                if workers.rank == owner
                else without_large(every)
            )
            share = predicted(predictor, jobs, workers.rank, workers.world)
            parts.append((checkpoint, predictor, jobs, [_packed(item) for item in share]))
    return parts


def _packed(item: Item) -> Item:
    """Vectors as arrays: a pickled view of a tensor carries the tensor's whole storage."""
    value = item[3]
    return (*item[:3], value.numpy()) if isinstance(value, Tensor) else item


def _unpacked(item: Item) -> Item:
    value = item[3]
    return (*item[:3], torch.from_numpy(value)) if hasattr(value, "dtype") else item
