"""What each worker of a scoring group does: it scores its share of the models, each on all of its
evaluations in one sorted pass. Models that do not make a whole round, one for each worker, are
scored by all workers together (runs/score_together.py).

The failure of one model is recorded and does not affect others.
"""

import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from xstilts.environment import require
from xstilts.errors import XstiltsError
from xstilts.models import sharding
from xstilts.runs.folder import open_run, record_failure, spec_of
from xstilts.runs.loaded_backbone import ALONE, LoadedBackbone
from xstilts.runs.score_output import commit_all
from xstilts.runs.score_pass import RECORDED, checkpoints, jobs_of, predictor_of
from xstilts.runs.score_shards import (
    Shard,
    assigned,
    is_large,
    make,
    print_error,
    shards,
    with_vectors,
)
from xstilts.runs.score_together import Model, deal, least_budget, score_together
from xstilts.runs.task_files import tasks_of
from xstilts.scoring.predict import predict
from xstilts.step import Step
from xstilts.store.store import Store
from xstilts.training.workers import StepFailed, Workers


def work(config: Mapping[str, Any]) -> None:
    """Ray Train's `train_loop_per_worker`: config holds `run_uri` and `group`."""
    import ray.train
    import ray.train.torch

    context = ray.train.get_context()
    workers = Workers(context.get_world_rank(), context.get_world_size())
    group(config["run_uri"], config["group"], workers, ray.train.torch.get_device())


def group(
    run_uri: str,
    name: str,
    workers: Workers,
    device: torch.device,
    loaded: LoadedBackbone | None = None,
) -> None:
    """Runs a group's unfinished score steps: all workers compute shards of large pools, then score
    the models of an incomplete round together, then each its share of the others.

    Args:
        run_uri: the run.
        name: the group's id.
        workers: this worker's rank and its connection to the others.
        device: where the backbone runs.
        loaded: a backbone that is already loaded.
    """
    store, folder = open_run(run_uri)
    spec, steps = spec_of(store, folder, name)
    # All workers use the first one's view, so that they reach the same barrier.
    finished, models = workers.from_first((store.done("score"), store.done("finetune")))
    undone: dict[str, list[Step]] = {}
    for fingerprint in spec["score"]:
        if fingerprint not in finished:
            undone.setdefault(steps[fingerprint].parents.get("model", ""), []).append(
                steps[fingerprint]
            )
    large = {model: parts for model, parts in undone.items() if is_large(store, parts)}
    rounds, together = deal(undone, models, workers.world)
    mine = rounds[workers.rank :: workers.world]
    if not undone:
        return
    first = next(iter(undone.values()))[0]
    # Weights that all train differ between models, so each worker needs its own.
    sharing = workers if first.spec["tuning"]["mode"] == "lora" else ALONE
    setting = str(first.settings.get("sharding", "none"))
    if not (mine or large or together) and not sharding.possible(setting, sharing.world, device):
        return
    require(first.spec.get("environment"))
    torch.set_num_threads(int(first.settings.get("threads", 1)))
    with tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
        if loaded is None:
            tasks = tasks_of(store, folder, steps.values())
            try:
                loaded = LoadedBackbone(store, first, Path(scratch), device, tasks, sharing)
            except StepFailed as error:  # no step of the group can run
                for step in (step for parts in undone.values() for step in parts):
                    record_failure(store, folder, step, error)
                return
        if large and workers.world > 1:
            with sharding.in_step(loaded.backbone, workers.any):
                _make_shards(
                    loaded,
                    {
                        model: parts
                        for model, parts in large.items()
                        if not model or model in models
                    },
                    workers,
                )
            workers.meet()
        if together:
            _score_together(loaded, together, folder, workers)
        with sharding.in_step(loaded.backbone, workers.any):
            _score_mine(loaded, mine, models, folder)


def _score_together(
    loaded: LoadedBackbone, together: Sequence[Model], folder: str, workers: Workers
) -> None:
    """Scores models together with the other workers, and records failures."""
    try:
        budget = least_budget(loaded, together[0][1][0], workers)
    except StepFailed as error:
        for _, steps in together:
            _record(loaded.store, folder, steps, {step.fingerprint: error for step in steps})
        return
    for number, (model, steps) in enumerate(together):
        owner = number % workers.world
        failed = score_together(loaded, model, steps, budget, owner, workers)
        _record(loaded.store, folder, steps, failed)


def _score_mine(
    loaded: LoadedBackbone,
    mine: Sequence[tuple[str, Sequence[Step]]],
    models: Collection[str],
    folder: str,
) -> None:
    """Scores this worker's share of the models, and records failures.

    Args:
        loaded: The backbone.
        mine: (model, its undone score steps).
        models: Models that are trained.
        folder: The run's folder.
    """
    for model, of_model in mine:
        fingerprints = [step.fingerprint for step in of_model]
        if model and model not in models:
            error: Exception = XstiltsError(f"its model finetune/{model[:12]} was not trained")
            failed = dict.fromkeys(fingerprints, error)
        else:
            try:
                failed = score(loaded, model, of_model)
            except RECORDED as error:
                failed = dict.fromkeys(fingerprints, error)
        _record(loaded.store, folder, of_model, failed)


def _record(
    store: Store, folder: str, steps: Sequence[Step], failed: Mapping[str, Exception]
) -> None:
    for step in steps:
        if step.fingerprint in failed:
            record_failure(store, folder, step, failed[step.fingerprint])


def _make_shards(
    loaded: LoadedBackbone, large: Mapping[str, Sequence[Step]], workers: Workers
) -> None:
    """Computes this worker's shards of all models' large pools. Errors are printed: the worker that
    scores the model records them.
    """
    every: dict[tuple[str, str], list[Shard]] = {}
    for model, steps in large.items():
        try:
            manifest = loaded.parent("finetune", model, steps[0]) if model else None
            jobs = jobs_of(loaded, steps)
        except RECORDED as error:
            print_error(model, error)
            continue
        for checkpoint in checkpoints(manifest):
            every[model, checkpoint] = list(shards(jobs, checkpoint))
    for (model, checkpoint), parts in assigned(every, workers.rank, workers.world).items():
        step = large[model][0]
        try:
            manifest = loaded.parent("finetune", model, step) if model else None
            predictor = predictor_of(loaded, manifest, large[model], checkpoint)
            with loaded.folded(), torch.no_grad():
                make(loaded.store, predictor, parts)
        except RECORDED as error:
            print_error(model, error)


def score(loaded: LoadedBackbone, model: str, steps: Sequence[Step]) -> dict[str, Exception]:
    """Scores one model on all its score steps in one pass, then commits each step.

    If English dev selected other weights than the last, both are scored. Returns fingerprint →
    error for the steps whose predictions could not be written; errors of the pass itself are
    raised.
    """
    started = time.perf_counter()
    manifest = loaded.parent("finetune", model, steps[0]) if model else None
    jobs = jobs_of(loaded, steps)
    predictions = {}
    for checkpoint in checkpoints(manifest):
        predictor = predictor_of(loaded, manifest, steps, checkpoint)
        with loaded.folded(), torch.no_grad():
            predictions[checkpoint] = predict(
                predictor, with_vectors(loaded.store, predictor, jobs, checkpoint)
            )
    seconds = (time.perf_counter() - started) / len(steps)
    return commit_all(loaded, steps, predictions, seconds)
