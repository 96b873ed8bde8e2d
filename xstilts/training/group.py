"""What each worker of a group does: its finetune steps one after another, the backbone loaded once.

Every step starts from weights that are set anew, so nothing of one cell reaches the next. A step that fails is recorded
and the group goes on; a worker that is killed is started again by Ray Train, and the step resumes from its checkpoint.
"""

import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from xstilts.data.encoded import EncodedRow, EncodedRows, Images
from xstilts.data.stage import model_folder, parent
from xstilts.models.backbone import Backbone, load_backbone
from xstilts.models.heads import AnswerLimit
from xstilts.models.lora import add_lora, initial_state, load_trainable, merged, trainable_state
from xstilts.models.processor import load_processor
from xstilts.plan.environment import require
from xstilts.plan.step import Step, training_role
from xstilts.run import failure, failure_key, open_run, spec_of
from xstilts.scoring.gold import Gold, answers_in_words, candidate_names, gold_answers
from xstilts.store.manifest import Manifest
from xstilts.store.store import Store
from xstilts.tasks.registry import TASKS
from xstilts.training.checkpoint import load_state, save_state
from xstilts.training.loop import Progress, Settings, TrainTask, make_optimiser, train
from xstilts.training.losses import Heads, Learner
from xstilts.training.order import sampling_weights, updates_for
from xstilts.training.selection import Best, Development, chosen
from xstilts.training.workers import StepFailed, Workers

#: A step that was begun this often without being settled has killed its workers; it is failed and the group goes on.
MAX_ATTEMPTS = 3


def work(config: Mapping[str, Any]) -> None:
    """Ray Train's `train_loop_per_worker`: config holds `run_uri` and `group`."""
    import ray.train
    import ray.train.torch

    context = ray.train.get_context()
    workers = Workers(context.get_world_rank(), context.get_world_size())
    group(config["run_uri"], config["group"], workers, ray.train.torch.get_device(), ray.train.report)


def group(
    run_uri: str, name: str, workers: Workers, device: torch.device, beat: Callable[[dict[str, Any]], None]
) -> None:
    """Settles every finetune step of a group. `beat` is called on every worker after each settled step."""
    store, folder = open_run(run_uri)
    spec, steps = spec_of(store, folder, name)
    wanted: list[str] = list(spec["finetune"])
    undone = workers.from_first([fp for fp in wanted if fp not in store.done("finetune")])
    if not undone:
        return
    require(steps[undone[0]].spec.get("environment"))
    torch.set_num_threads(int(steps[undone[0]].settings.get("threads", 1)))
    with tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
        bench = Bench(store, steps[undone[0]], Path(scratch), device)
        for fingerprint in undone:
            step, key = steps[fingerprint], failure_key(folder, "finetune", fingerprint)
            if workers.from_first(store.get_json(key) is not None):
                continue  # failed before this worker group was started again
            started = time.perf_counter()
            try:
                _count_attempt(store, folder, fingerprint, workers)
                _check_parents(store, folder, step, workers)
                finetune(bench, step, workers)
            except StepFailed as error:
                if workers.rank == 0:
                    store.put_json(key, failure(step.settings.get("label", "finetune"), error))
            beat({"step": fingerprint, "seconds": time.perf_counter() - started})
        # The models are at hand and starting a group costs more than scoring: what is left to the score step is what
        # failed here, and evaluations that a later plan adds.
        from xstilts.scoring.group import group as score_group

        score_group(run_uri, name, workers, device, bench)


def _count_attempt(store: Store, folder: str, fingerprint: str, workers: Workers) -> None:
    begun = 0
    if workers.rank == 0:
        begun = len(store.list(f"{folder}/attempts/{fingerprint}/"))
        store.put_json(f"{folder}/attempts/{fingerprint}/{time.time_ns()}.json", {})
    if workers.from_first(begun) >= MAX_ATTEMPTS:
        raise StepFailed(f"its workers were lost {MAX_ATTEMPTS} times; look at memory and at the workers' logs")


def _check_parents(store: Store, folder: str, step: Step, workers: Workers) -> None:
    init = step.parents.get("init")
    missing = bool(init) and store.manifest("finetune", str(init)) is None
    if workers.from_first(missing):
        raise StepFailed(f"it continues finetune/{str(init)[:12]}, which failed")


class Bench:
    """A backbone on its device, with what makes every step start afresh: the weights as loaded and the processor."""

    def __init__(self, store: Store, step: Step, scratch: Path, device: torch.device) -> None:
        self.store, self.device, self.scratch = store, device, scratch
        folder = model_folder(step, store, scratch)
        self.tuning: Mapping[str, Any] = step.spec["tuning"]
        self.backbone: Backbone = load_backbone(folder, step.spec["family"], step.spec.get("attention", "causal"))
        self.processor = load_processor(folder, step.spec["family"])
        if self.tuning["mode"] == "lora":
            add_lora(self.backbone, self.tuning["r"], self.tuning["alpha"])
        self.backbone.to(device)
        self.lora = self.tuning["mode"] == "lora"
        # Full tuning writes to the weights, so every step starts from this copy; under LoRA they are never written to.
        self.pristine = {} if self.lora else {n: t.clone() for n, t in trainable_state(self.backbone).items()}
        self._images: dict[str, Images] = {}
        self._rows: dict[str, EncodedRows] = {}
        self._parents: dict[tuple[str, str], Manifest] = {}
        self._gold: dict[tuple[str, str], list[Gold]] = {}
        self._names: dict[str, list[str]] = {}

    def reset(self, seed: int) -> None:
        """The weights from which every road starts: the backbone's own, and adapters drawn from the seed."""
        state = initial_state(self.backbone, self.tuning, seed) if self.lora else self.pristine
        load_trainable(self.backbone, state)

    def load(self, manifest: Manifest, before: str = "") -> None:
        """The weights that a finished finetune step left; before: `last.` for those of its last update."""
        load_trainable(self.backbone, load_file(self.store.file(manifest, f"{before}trainable.safetensors")))

    def parent(self, kind: str, fingerprint: str, child: Step) -> Manifest:
        """A parent's manifest, read once: many models are scored on one set of rows."""
        if (kind, fingerprint) not in self._parents:
            self._parents[kind, fingerprint] = parent(self.store, kind, fingerprint, child)
        return self._parents[kind, fingerprint]

    def folded(self) -> AbstractContextManager[Backbone]:
        """Inside, adapters are folded into the weights for scoring."""
        return merged(self.backbone)

    def gold(self, step: Step, language: str) -> list[Gold]:
        """The right answers of a score step in a language, read once for all models."""
        fingerprint = step.parents[f"gold:{language}"]
        key = (fingerprint, step.spec["format"])
        if key not in self._gold:
            path = self.store.file(self.parent("records", fingerprint, step), "records.parquet")
            in_words = step.spec["format"] == "words"
            self._gold[key] = (
                answers_in_words(path, TASKS[step.spec["evaluation"]])
                if in_words
                else gold_answers(path, step.spec["format"])
            )
        return self._gold[key]

    def candidates(self, role: str, step: Step) -> list[str]:
        """Of a ranking or a pool to mine, the name of each row of the records behind an encoded parent as a candidate."""
        fingerprint = self.parent("encode", step.parents[role], step).step["parents"]["records"]
        if fingerprint not in self._names:
            manifest = self.parent("records", fingerprint, step)
            self._names[fingerprint] = candidate_names(self.store.file(manifest, "records.parquet"))
        return self._names[fingerprint]

    def tags(self, step: Step) -> Sequence[str]:
        """The tag names of a score step in the order of their ids: the task's, else those of its model's training rows."""
        task = TASKS[step.spec["evaluation"]]
        if task.labels or task.format != "tagging" or "model" not in step.parents:
            return task.labels
        trained = Step.from_json(self.parent("finetune", step.parents["model"], step).step)
        return self.trained_tags(trained, trained.spec["tasks"][int(step.spec.get("head", 0))])

    def trained_tags(self, step: Step, task: Mapping[str, Any]) -> Sequence[str]:
        """The tags that a finetune step's head of an open set of tags tells apart."""
        encoded = self.parent("encode", step.parents[f"train:{_role(task)}"], step)
        return list(encoded.info["tags"])

    def rows(self, role: str, step: Step) -> tuple[EncodedRows, Images | None]:
        """What an encode step left, read once for all steps that share it."""
        fingerprint = step.parents[role]
        manifest = self.parent("encode", fingerprint, step)
        sha = manifest.info.get("images_sha")
        if sha and sha not in self._images:
            self._images[sha] = Images([self.store.blob_path(sha)])
        if fingerprint not in self._rows:
            self._rows[fingerprint] = EncodedRows(self.store.file(manifest, "encoded.parquet"))
        return self._rows[fingerprint], self._images[sha] if sha else None


def finetune(bench: Bench, step: Step, workers: Workers) -> None:
    """Does one finetune step and commits it. Raises StepFailed on every worker."""
    spec, recipe, store = step.spec, step.spec["recipe"], bench.store
    seed = int(spec["seed"]["value"])
    started = time.perf_counter()
    error: str | None = None
    try:
        init = store.manifest("finetune", step.parents["init"]) if "init" in step.parents else None
        bench.reset(seed)
        if init:
            bench.load(init)
        loaded = [bench.rows(f"train:{_role(one)}", step) for one in spec["tasks"]]
        tasks = [
            TrainTask(one["name"], rows, one["objective"]) for one, (rows, _) in zip(spec["tasks"], loaded, strict=True)
        ]
        stage = spec["name"] if spec["stage"] == "target" else "intermediate"
        heads = Heads(_with_classes(bench, step), bench.backbone, recipe, seed, stage).to(bench.device)
        if init and init.step["spec"]["stage"] == "target":
            heads.continue_from(init, store)
        development = _development(bench, step)
        settings = _settings(
            spec, tasks, step.settings, seed, stage, [_source_rows(bench, step, t) for t in spec["tasks"]]
        )
    except (KeyError, ValueError, OSError, RuntimeError) as raised:
        error = f"{type(raised).__name__}: {raised}"
    workers.agree(error)

    trainable = {n: p for n, p in bench.backbone.named_parameters() if p.requires_grad}
    optimiser = make_optimiser(trainable, heads, settings)
    progress, best = _resume(bench, step, heads, optimiser, workers)
    images = [found for _, found in loaded]
    learner = Learner(bench.backbone, heads, bench.processor, images, recipe, seed, stage, bench.device)
    attempt = f"{time.time_ns()}"

    def checkpoint(now: Progress) -> None:
        if workers.rank == 0:
            files = save_state(
                bench.scratch / "checkpoint", trainable_state(bench.backbone), heads, optimiser, now, best
            )
            store.put_checkpoint(step.fingerprint, attempt, files, {"update": now.update})

    def look(now: Progress) -> None:
        if development and development.due(now.update, settings.updates):
            value = development.value(learner, workers, now.update)
            if workers.rank == 0 and value > max((seen["value"] for seen in now.looks), default=-math.inf):
                best.keep(bench.backbone, heads)
            now.looks.append({"update": now.update, "value": value})

    bench.backbone.train()

    def prepare(batches: Sequence[Sequence[EncodedRow]], task: int, update: int) -> None:
        learner.prepare(batches, task, update, workers)

    train(tasks, learner.loss_sum, optimiser, settings, progress, workers, checkpoint, look, prepare)
    if workers.rank == 0:
        _commit(bench, step, heads, progress, best, settings, time.perf_counter() - started)
    workers.agree(None)


def _source_rows(bench: Bench, step: Step, task: Mapping[str, Any]) -> int:
    """Rows of a task's source: what a cap or a budget leaves of it does not change how often a mixture draws it."""
    encoded = bench.parent("encode", step.parents[f"train:{_role(task)}"], step)
    return int(bench.parent("records", encoded.step["parents"]["records"], step).info["source_rows"])


def _settings(
    spec: Mapping[str, Any],
    tasks: list[TrainTask],
    free: Mapping[str, Any],
    seed: int,
    stage: str,
    sizes: Sequence[int],
) -> Settings:
    recipe = spec["recipe"]
    batch = int(recipe["examples_per_step"])
    given = [one.get("weight", 1.0) for one in spec["tasks"]]
    sampling = spec.get("sampling") or {}
    kind = sampling if isinstance(sampling, str) else sampling.get("kind", "proportional")
    temperature = 1.0 if isinstance(sampling, str) else float(sampling.get("temperature") or 1.0)
    cap = 0 if isinstance(sampling, str) else int(sampling.get("cap") or 0)
    weights = sampling_weights(sizes, kind or "proportional", given, temperature, cap)
    if recipe.get("supervised_tokens"):
        rows = [task.rows.supervised for task in tasks]
        updates = updates_for(int(recipe["supervised_tokens"]), rows, weights, batch)
    else:
        # The first task, whose recipe a mixture trains by, is seen as often as alone; of proportional draws all are.
        passes = float(recipe.get("epochs") or 0) * len(tasks[0].rows) / weights[0] if weights[0] else 0.0
        updates = recipe.get("updates") or max(1, round(passes / batch))
    return Settings(
        updates=int(updates), examples_per_step=batch, lr=float(recipe["lr"]), schedule=recipe.get("schedule", "linear"),
        warmup=float(recipe.get("warmup", 0.1)), weight_decay=float(recipe.get("weight_decay", 0.0)),
        max_grad_norm=float(recipe.get("max_grad_norm", 1.0)), head_lr_factor=float(recipe.get("head_lr_factor", 1.0)),
        seed=seed, stage=stage, weights=tuple(weights),
        tokens_per_micro_batch=int(free.get("tokens_per_micro_batch", 4096)),
        checkpoint_every=int(free.get("checkpoint_every", 0)),
    )  # fmt: skip


def _with_classes(bench: Bench, step: Step) -> list[dict[str, Any]]:
    """The step's tasks; where the training rows' own tags are the classes, their number is what encoding found."""
    found = []
    for one in step.spec["tasks"]:
        encoded = bench.parent("encode", step.parents[f"train:{_role(one)}"], step)
        found.append({**one, "classes": one["classes"] or int(encoded.info.get("classes", 0))})
    return found


def _role(task: Mapping[str, Any]) -> str:
    return training_role(task["name"], task.get("translated"))


def _development(bench: Bench, step: Step) -> Development | None:
    """What the step selects its weights on; None where its recipe keeps the last."""
    every = step.spec["recipe"].get("selection")
    if every in (None, "last"):
        return None
    given = step.spec["tasks"][0]
    role = f"select:{_role(given)}"
    rows, images = bench.rows(role, step)
    encoded = bench.parent("encode", step.parents[role], step)
    records = bench.parent("records", encoded.step["parents"]["records"], step)
    gold = gold_answers(bench.store.file(records, "records.parquet"), given["format"])
    budget = int(step.settings.get("tokens_per_micro_batch", 4096))
    task = TASKS[given["name"]]
    labels = task.labels or (bench.trained_tags(step, given) if task.format == "tagging" else ())
    limit = AnswerLimit(**step.spec["recipe"].get("answer_limit", {}))
    return Development(task, given["objective"], rows, images, gold, int(every), budget, labels, limit)


def _resume(
    bench: Bench, step: Step, heads: Heads, optimiser: torch.optim.Optimizer, workers: Workers
) -> tuple[Progress, Best]:
    found = workers.from_first(bench.store.latest_checkpoint(step.fingerprint) if workers.rank == 0 else None)
    if found is None:
        return Progress(), Best()
    folder, state = found
    files = bench.store.checkpoint_files(folder, state, bench.scratch / "resumed")
    weights, progress, best = load_state(files, heads, optimiser)
    load_trainable(bench.backbone, weights)
    return progress, best


def _commit(
    bench: Bench, step: Step, heads: Heads, progress: Progress, best: Best, settings: Settings, seconds: float
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = bench.scratch / "out"
    out.mkdir(exist_ok=True)
    files = {"history.parquet": out / "history.parquet"}
    kept = chosen(progress.looks)
    last = "" if kept in (None, progress.update) else "last."  # both are kept where they differ
    files.update(_weights(out, trainable_state(bench.backbone), heads, last))
    if last:
        heads.load_state_dict(best.heads)
        files.update(_weights(out, best.weights, heads, ""))
    pq.write_table(pa.Table.from_pylist(progress.history), files["history.parquet"])
    budget = {
        "examples": progress.update * settings.examples_per_step, "updates": progress.update,
        "supervised_tokens": progress.supervised_tokens, "tokens": progress.tokens,
        "flops": 6 * bench.backbone.parameter_count() * progress.tokens,
    }  # fmt: skip
    selection = {"selection": {"update": kept, "looks": progress.looks}} if progress.looks else {}
    info = {**selection, "budget": budget, "loss": progress.history[-1]["loss"], "seconds": round(seconds, 3)}
    bench.store.commit(step, files, info)
    bench.store.clear_work(step.fingerprint)


def _weights(folder: Path, state: Mapping[str, Tensor], heads: Heads, before: str) -> dict[str, Path]:
    path = folder / f"{before}trainable.safetensors"
    save_file({name: tensor.detach().contiguous().cpu() for name, tensor in state.items()}, path)
    return {path.name: path, **heads.save(folder, before)}
