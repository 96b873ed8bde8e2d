"""What each worker of a group does: it runs the group's finetune steps in turn on one backbone.

Every step resets the weights, so cells do not influence each other. A failed step is recorded and
the group continues. Ray Train restarts a killed worker, and the step resumes from its checkpoint.
"""

import gc
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from xstilts.environment import require
from xstilts.errors import XstiltsError
from xstilts.models import sharding
from xstilts.models.head_set import Heads
from xstilts.models.heads import AnswerLimit
from xstilts.models.lora import load_trainable, trainable_state
from xstilts.plan.memory_choice import usual_budget
from xstilts.plan.sampling import weights_in
from xstilts.runs.checkpoint_uploads import CheckpointUploads, on_first
from xstilts.runs.folder import failure_key, open_run, record_failure, spec_of
from xstilts.runs.loaded_backbone import LoadedBackbone, task_role
from xstilts.runs.memory_fit import applied, explained, training_choice
from xstilts.runs.score import group as score_group
from xstilts.runs.task_files import tasks_of
from xstilts.scoring.gold import encoded_gold, gold_answers
from xstilts.step import Step
from xstilts.store.store import Store
from xstilts.training.checkpoint import load_state, save_state
from xstilts.training.loop import (
    Progress,
    Rows,
    TrainingSettings,
    TrainTask,
    make_optimiser,
    train,
)
from xstilts.training.losses import Learner
from xstilts.training.order import updates_for
from xstilts.training.prefetch import Prefetcher, Prepared, processes_for
from xstilts.training.selection import Best, Development, best_update
from xstilts.training.workers import StepFailed, Workers

#: A step that was started this often at the same update, with as many workers, has killed them. It
#: is recorded as failed, and the group continues. Lost nodes and nodes that come back change the
#: number of workers; they interrupt a step as often as they happen.
MAX_ATTEMPTS = 3


def work(config: Mapping[str, Any]) -> None:
    """Ray Train's `train_loop_per_worker`: config holds `run_uri` and `group`."""
    import ray.train
    import ray.train.torch

    context = ray.train.get_context()
    workers = Workers(context.get_world_rank(), context.get_world_size())
    group(
        config["run_uri"], config["group"], workers, ray.train.torch.get_device(), ray.train.report
    )


def group(
    run_uri: str,
    name: str,
    workers: Workers,
    device: torch.device,
    report_progress: Callable[[dict[str, Any]], None],
) -> None:
    """Runs a group's unfinished finetune steps, then scores its models.

    Args:
        run_uri: the run.
        name: the group's id.
        workers: this worker's rank and its connection to the others.
        device: where the backbone runs.
        report_progress: called on every worker after each step.
    """
    store, folder = open_run(run_uri)
    spec, steps = spec_of(store, folder, name)
    done = store.finished("finetune", spec["finetune"])
    undone = workers.from_first([fp for fp in spec["finetune"] if fp not in done])
    if not undone:
        return
    require(steps[undone[0]].spec.get("environment"))
    torch.set_num_threads(int(steps[undone[0]].settings.get("threads", 1)))
    with tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
        tasks = tasks_of(store, folder, steps.values())
        loaded: LoadedBackbone | None
        try:
            loaded = LoadedBackbone(store, steps[undone[0]], Path(scratch), device, tasks, workers)
        except StepFailed as error:  # no step of the group can run
            if workers.rank == 0:
                for fingerprint in undone:
                    record_failure(store, folder, steps[fingerprint], error)
            return
        for fingerprint in undone:
            step, key = steps[fingerprint], failure_key(folder, "finetune", fingerprint)
            if workers.from_first(store.get_json(key) is not None):
                continue  # failed before the worker group was restarted
            started = time.perf_counter()
            try:
                _count_attempt(store, folder, fingerprint, workers)
                _check_parents(store, folder, step, workers)
                finetune(loaded, step, workers)
            except StepFailed as error:
                if workers.rank == 0:
                    record_failure(store, folder, step, explained(error, loaded.choice))
            report_progress({"step": fingerprint, "seconds": time.perf_counter() - started})
        if loaded.backbone.sharded and not loaded.lora:
            loaded = None  # workers score different weights, so each loads a whole backbone
            gc.collect()  # modules refer to themselves, and would stay on the GPU beside it
        # The backbone is loaded, and starting a group costs more than scoring. The score task then
        # runs only what failed here and evaluations that a later plan adds.
        score_group(run_uri, name, workers, device, loaded)


def _count_attempt(store: Store, folder: str, fingerprint: str, workers: Workers) -> None:
    attempts = 0
    if workers.rank == 0:
        checkpoint = store.latest_checkpoint(fingerprint)
        attempt = {"update": checkpoint[1]["update"] if checkpoint else 0, "workers": workers.world}
        before = store.list(f"{folder}/attempts/{fingerprint}/")
        attempts = sum(store.get_json(key) == attempt for key in before)
        store.put_json(f"{folder}/attempts/{fingerprint}/{time.time_ns()}.json", attempt)
    if workers.from_first(attempts) >= MAX_ATTEMPTS:
        raise StepFailed(
            f"its workers were lost {MAX_ATTEMPTS} times; check their memory limits and logs"
        )


def _check_parents(store: Store, folder: str, step: Step, workers: Workers) -> None:
    init = step.parents.get("init")
    missing = bool(init) and store.manifest("finetune", str(init)) is None
    if workers.from_first(missing):
        raise StepFailed(f"its parent finetune/{str(init)[:12]} failed")


def finetune(loaded: LoadedBackbone, step: Step, workers: Workers) -> None:
    """Runs one finetune step and commits it.

    Raises:
        StepFailed: the step failed; raised on every worker.
    """
    spec, recipe, store = step.spec, step.spec["recipe"], loaded.store
    seed = int(spec["seed"]["value"])
    started = time.perf_counter()
    error: str | None = None
    try:
        init = store.manifest("finetune", step.parents["init"]) if "init" in step.parents else None
        loaded.reset(seed)
        if init:
            loaded.load(init)
        loaded.fetch([step])
        data = [loaded.rows(f"train:{task_role(task)}", step) for task in spec["tasks"]]
        tasks = [
            TrainTask(task["name"], rows, task["objective"])
            for task, (rows, _) in zip(spec["tasks"], data, strict=True)
        ]
        stage = spec["name"] if spec["stage"] == "target" else "intermediate"
        heads = Heads(_with_classes(loaded, step), loaded.backbone, recipe, seed, stage).to(
            loaded.device
        )
        if init and init.step["spec"]["stage"] == "target":
            heads.continue_from(init, store)
        development = _development(loaded, step)
        images = [task_images for _, task_images in data]
        shown = any(task_images is not None for task_images in images)
        choice = training_choice(loaded.backbone, step, tasks, shown, loaded.pristine)
        sizes = [_source_rows(loaded, step, task) for task in spec["tasks"]]
        settings = replace(
            _settings(spec, tasks, step.settings, seed, stage, sizes),
            sharded=loaded.backbone.sharded,
        )
    except (KeyError, ValueError, OSError, RuntimeError, XstiltsError) as raised:
        error = f"{type(raised).__name__}: {raised}"
    workers.agree(error)

    sharding.reshard(loaded.backbone)
    trainable = {n: p for n, p in loaded.backbone.named_parameters() if p.requires_grad}
    optimiser = make_optimiser(trainable, heads, settings, loaded.backbone)
    progress, best = _resume(loaded, step, heads, optimiser, workers)
    loaded.choice = workers.from_first(choice)
    settings = applied(loaded.choice, loaded.backbone, step, settings)
    learner = Learner(
        loaded.backbone, heads, loaded.processor, images, recipe, seed, stage, loaded.device
    )
    attempt = f"{time.time_ns()}"

    def checkpoint(now: Progress) -> None:
        def write() -> dict[str, Path]:
            return save_state(
                loaded.scratch / "checkpoint",
                trainable_state(loaded.backbone),
                heads,
                optimiser,
                now,
                best,
                workers.rank == 0,
            )

        if loaded.backbone.sharded:
            on_first(workers, uploads.wait)  # no worker gathers weights unless all of them do
            if workers.rank:
                write()
        on_first(workers, lambda: uploads.put(write, now.update))

    def evaluate(now: Progress) -> None:
        if development and development.due(now.update, settings.updates):
            value = development.value(learner, workers, now.update)
            earlier = max((entry["value"] for entry in now.evaluations), default=-math.inf)
            if value > earlier:
                best.keep(loaded.backbone, heads, workers.rank == 0)
            now.evaluations.append({"update": now.update, "value": value})

    loaded.backbone.train()

    def prepare(batches: Sequence[Rows], fillers: int, task: int, update: int) -> None:
        learner.prepare(batches, task, update, workers, fillers)

    pairs = any(task["format"] == "ranking" for task in spec["tasks"])
    on_gpu = loaded.device.type == "cuda"
    prepared = Prepared([task.rows for task in tasks], learner.preparation)
    processes = processes_for(
        step.settings.get("data_processes"),
        int(step.settings.get("threads", 1)),
        any(task_images is not None for task_images in images),
        loaded.device,
    )
    with (
        CheckpointUploads(store, step.fingerprint, attempt) as uploads,
        Prefetcher(prepared, processes, pin=on_gpu) as prefetcher,
    ):
        train(
            tasks,
            learner.loss_sum,
            optimiser,
            settings,
            progress,
            workers,
            checkpoint,
            evaluate,
            prepare if pairs else None,
            prefetcher,
        )
        on_first(workers, uploads.wait)
    weights = sharding.on_host(trainable_state(loaded.backbone), workers.rank == 0)
    if workers.rank == 0:
        seconds = time.perf_counter() - started
        _commit(loaded, step, weights, heads, progress, best, settings, seconds)
    workers.agree(None)


def _source_rows(loaded: LoadedBackbone, step: Step, task: Mapping[str, Any]) -> int:
    """The rows of a task's source before any cap or budget, which a mixture samples by."""
    encoded = loaded.parent("encode", step.parents[f"train:{task_role(task)}"], step)
    return int(
        loaded.parent("records", encoded.step["parents"]["records"], step).info["source_rows"]
    )


def _settings(
    spec: Mapping[str, Any],
    tasks: list[TrainTask],
    free: Mapping[str, Any],
    seed: int,
    stage: str,
    sizes: Sequence[int],
) -> TrainingSettings:
    """The settings of the training loop.

    Args:
        spec: the step's spec.
        tasks: its encoded training rows.
        free: settings that do not change the result.
        seed: of the random streams.
        stage: `intermediate`, or the target's name.
        sizes: source rows of each task.
    """
    recipe = spec["recipe"]
    batch = int(recipe["examples_per_step"])
    weights = weights_in(spec, sizes)
    if recipe.get("supervised_tokens"):
        rows = [task.rows.supervised for task in tasks]
        updates = updates_for(int(recipe["supervised_tokens"]), rows, weights, batch)
    else:
        # A mixture has its first task's recipe, and sees that task as often as it would alone. With
        # proportional sampling this holds for all tasks.
        passes = (
            float(recipe.get("epochs") or 0) * len(tasks[0].rows) / weights[0]
            if weights[0]
            else 0.0
        )
        updates = recipe.get("updates") or max(1, round(passes / batch))
    return TrainingSettings(
        updates=int(updates),
        examples_per_step=batch,
        lr=float(recipe["lr"]),
        schedule=recipe.get("schedule", "linear"),
        warmup=float(recipe.get("warmup", 0.1)),
        weight_decay=float(recipe.get("weight_decay", 0.0)),
        max_grad_norm=float(recipe.get("max_grad_norm", 1.0)),
        head_lr_factor=float(recipe.get("head_lr_factor", 1.0)),
        seed=seed,
        stage=stage,
        weights=tuple(weights),
        tokens_per_micro_batch=usual_budget(free),
        checkpoint_every=int(free.get("checkpoint_every", 0)),
    )


def _with_classes(loaded: LoadedBackbone, step: Step) -> list[dict[str, Any]]:
    """The step's tasks with their numbers of classes; encoding counts them if the training rows
    define the tags.
    """
    tasks = []
    for task in step.spec["tasks"]:
        encoded = loaded.parent("encode", step.parents[f"train:{task_role(task)}"], step)
        tasks.append({**task, "classes": task["classes"] or int(encoded.info.get("classes", 0))})
    return tasks


def _development(loaded: LoadedBackbone, step: Step) -> Development | None:
    """The English dev set that selects the weights; None if the recipe keeps the last ones."""
    every = step.spec["recipe"].get("selection")
    if every in (None, "last"):
        return None
    spec = step.spec["tasks"][0]
    role = f"select:{task_role(spec)}"
    rows, images = loaded.rows(role, step)
    encoded = loaded.parent("encode", step.parents[role], step)
    records = loaded.parent("records", encoded.step["parents"]["records"], step)
    gold = encoded_gold(
        gold_answers(loaded.store.file(records, "records.parquet"), spec["format"]),
        set(rows.table.column("row").to_pylist()),
        int(encoded.info.get("bad_rows", 0)),
    )
    budget = usual_budget(step.settings)
    task = loaded.tasks[spec["name"]]
    labels = task.labels or (loaded.trained_tags(step, spec) if task.format == "tagging" else ())
    limit = AnswerLimit(**step.spec["recipe"].get("answer_limit", {}))
    return Development(
        task, spec["objective"], rows, images, gold, int(every), budget, labels, limit
    )


def _resume(
    loaded: LoadedBackbone,
    step: Step,
    heads: Heads,
    optimiser: torch.optim.Optimizer,
    workers: Workers,
) -> tuple[Progress, Best]:
    """Progress and best weights of the latest checkpoint, whose state is loaded; empty without a
    checkpoint.
    """
    checkpoint = workers.from_first(
        loaded.store.latest_checkpoint(step.fingerprint) if workers.rank == 0 else None
    )
    if checkpoint is None:
        return Progress(), Best()
    folder, state = checkpoint
    files = loaded.store.checkpoint_files(folder, state, loaded.scratch / "resumed")
    weights, progress, best = load_state(files, heads, optimiser)
    load_trainable(loaded.backbone, weights)
    return progress, best


def _commit(
    loaded: LoadedBackbone,
    step: Step,
    weights: Mapping[str, Tensor],
    heads: Heads,
    progress: Progress,
    best: Best,
    settings: TrainingSettings,
    seconds: float,
) -> None:
    """Writes weights and history and commits the step.

    Args:
        loaded: the backbone.
        step: the finetune step.
        weights: the last weights.
        heads: its heads.
        progress: what was trained.
        best: the weights that English dev selected.
        settings: of the training loop.
        seconds: duration of the step.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = loaded.scratch / "out"
    out.mkdir(exist_ok=True)
    files = {"history.parquet": out / "history.parquet"}
    selected = best_update(progress.evaluations)
    # Both sets of weights are kept if they differ.
    prefix = "" if selected in (None, progress.update) else "last."
    files.update(_weights(out, weights, heads, prefix))
    if prefix:
        heads.load_state_dict(best.heads)
        files.update(_weights(out, best.weights, heads, ""))
    pq.write_table(pa.Table.from_pylist(progress.history), files["history.parquet"])
    budget = {
        "examples": progress.update * settings.examples_per_step, "updates": progress.update,
        "supervised_tokens": progress.supervised_tokens, "tokens": progress.tokens,
        "flops": 6 * loaded.backbone.parameter_count() * progress.tokens,
    }  # fmt: skip
    selection = (
        {"selection": {"update": selected, "looks": progress.evaluations}}
        if progress.evaluations
        else {}
    )
    info = {
        **selection,
        "budget": budget,
        "loss": progress.history[-1]["loss"],
        "seconds": round(seconds, 3),
    }
    loaded.store.commit(step, files, info)
    loaded.store.clear_work(step.fingerprint)


def _weights(
    folder: Path, state: Mapping[str, Tensor], heads: Heads, prefix: str
) -> dict[str, Path]:
    """Writes weights and heads. Returns file name → path."""
    path = folder / f"{prefix}trainable.safetensors"
    save_file({name: tensor.detach().contiguous().cpu() for name, tensor in state.items()}, path)
    return {path.name: path, **heads.save(folder, prefix)}
