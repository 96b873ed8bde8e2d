"""What each worker of a scoring group does: it scores its share of the models, each on all of its
evaluations in one sorted pass.

Workers share nothing, so the failure of one model is recorded and does not affect others.
"""

import json
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from xstilts.environment import require
from xstilts.errors import XstiltsError
from xstilts.models import sharding
from xstilts.models.head_set import Heads
from xstilts.models.heads import AnswerLimit
from xstilts.runs.counts import write_counts
from xstilts.runs.folder import open_run, record_failure, spec_of
from xstilts.runs.loaded_backbone import ALONE, LoadedBackbone
from xstilts.runs.memory_fit import scoring_budget
from xstilts.runs.score_shards import (
    Shard,
    assigned,
    is_large,
    make,
    print_error,
    shards,
    with_vectors,
)
from xstilts.runs.task_files import tasks_of
from xstilts.scoring.gold import Gold, encoded_gold
from xstilts.scoring.predict import Job, Predictor, predict, withheld, written
from xstilts.scoring.ranking import in_all_languages
from xstilts.scoring.vectors import FORMATS
from xstilts.step import Step
from xstilts.store.manifest import Manifest
from xstilts.training.workers import StepFailed, Workers

#: The columns of `predictions.parquet`. checkpoint: `selected`, and `last` for the weights of the
#: last update if English dev selected earlier ones. row: position of the example in its language's
#: records. parallel: a key that its translations share, or empty.
_TEXTS = ("id", "cluster", "parallel", "prediction", "gold")
SCHEMA = pa.schema(
    [
        ("checkpoint", pa.string()),
        ("language", pa.string()),
        ("row", pa.int32()),
        *((name, pa.string()) for name in _TEXTS),
    ]
)

#: checkpoint → (fingerprint of the score step, language) → row → prediction
Predictions = Mapping[str, Mapping[tuple[str, str], Mapping[int, Any]]]

#: Errors that are recorded as a step's failure; any other error ends the worker.
_RECORDED = (RuntimeError, ValueError, KeyError, OSError, XstiltsError)


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
    """Runs a group's unfinished score steps: all workers compute shards of large pools, then each
    scores its share of the models.

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
    mine = list(undone.items())[workers.rank :: workers.world]
    if not undone:
        return
    first = next(iter(undone.values()))[0]
    # Weights that all train differ between models, so each worker needs its own.
    sharing = workers if first.spec["tuning"]["mode"] == "lora" else ALONE
    setting = str(first.settings.get("sharding", "none"))
    if not mine and not large and not sharding.possible(setting, sharing.world, device):
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
        with sharding.in_step(loaded.backbone, workers.any):
            _score_mine(loaded, mine, models, folder)


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
            except _RECORDED as error:
                failed = dict.fromkeys(fingerprints, error)
        for step in of_model:
            if step.fingerprint in failed:
                record_failure(loaded.store, folder, step, failed[step.fingerprint])


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
            jobs = _jobs(loaded, steps)
        except _RECORDED as error:
            print_error(model, error)
            continue
        for checkpoint in _checkpoints(manifest):
            every[model, checkpoint] = list(shards(jobs, checkpoint))
    for (model, checkpoint), parts in assigned(every, workers.rank, workers.world).items():
        step = large[model][0]
        try:
            predictor = _predictor(
                loaded, loaded.parent("finetune", model, step) if model else None, step, checkpoint
            )
            with loaded.folded(), torch.no_grad():
                make(loaded.store, predictor, parts)
        except _RECORDED as error:
            print_error(model, error)


def score(loaded: LoadedBackbone, model: str, steps: Sequence[Step]) -> dict[str, Exception]:
    """Scores one model on all its score steps in one pass, then commits each step.

    If English dev selected other weights than the last, both are scored. Returns fingerprint →
    error for the steps whose predictions could not be written; errors of the pass itself are
    raised.
    """
    started = time.perf_counter()
    manifest = loaded.parent("finetune", model, steps[0]) if model else None
    jobs = _jobs(loaded, steps)
    predictions = {}
    for checkpoint in _checkpoints(manifest):
        predictor = _predictor(loaded, manifest, steps[0], checkpoint)
        with loaded.folded(), torch.no_grad():
            predictions[checkpoint] = predict(
                predictor, with_vectors(loaded.store, predictor, jobs, checkpoint)
            )
    seconds = (time.perf_counter() - started) / len(steps)
    failed: dict[str, Exception] = {}
    for step in steps:
        try:
            _commit(loaded, step, predictions, seconds)
        except _RECORDED as error:  # the model's other evaluations are still valid
            failed[step.fingerprint] = error
    return failed


def _jobs(loaded: LoadedBackbone, steps: Sequence[Step]) -> list[Job]:
    loaded.fetch(steps)
    jobs = []
    for step in steps:
        format_, depth = step.spec["format"], step.spec.get("layer")
        head = int(step.spec.get("head", 0))
        limit = AnswerLimit(**step.spec["answer_limit"]) if format_ == "span" else None
        pooling = str(step.spec.get("pooling", "mean"))
        for language in step.spec["languages"]:
            rows, images = loaded.rows(f"test:{language}", step)
            has_pool = format_ in FORMATS
            queries = loaded.gold(step, language) if has_pool else None
            names = loaded.candidates(f"test:{language}", step) if has_pool else ()
            jobs.append(
                Job(
                    step.fingerprint, language, format_, rows, images, depth, queries, head,
                    names=names, answer_limit=limit, pooling=pooling,
                )
            )  # fmt: skip
        if "pool" in step.parents:
            names, rows = loaded.candidates("pool", step), loaded.rows("pool", step)[0]
            jobs.append(Job(step.fingerprint, "pool", format_, rows, names=names, pooling=pooling))
    return jobs


def _checkpoints(manifest: Manifest | None) -> list[str]:
    """`selected`, and `last` if English dev selected other weights than the last."""
    return ["selected"] + (
        ["last"] if manifest is not None and "last.trainable.safetensors" in manifest.files else []
    )


def _predictor(
    loaded: LoadedBackbone, manifest: Manifest | None, step: Step, checkpoint: str
) -> Predictor:
    """The loaded backbone with a model's weights; without a manifest, with its own."""
    prefix = "last." if checkpoint == "last" else ""
    loaded.reset(0)
    heads: Heads | None = None
    if manifest is not None:
        loaded.load(manifest, prefix)
        heads = Heads.load(manifest, loaded.store, loaded.backbone, prefix).to(loaded.device)
    loaded.backbone.eval()
    budget = scoring_budget(loaded.backbone, step)
    return Predictor(
        loaded.backbone, heads, loaded.processor, budget, loaded.device, loaded.scratch / "vectors"
    )


def _commit(loaded: LoadedBackbone, step: Step, predictions: Predictions, seconds: float) -> None:
    """Writes a step's predictions with their gold answers and commits it."""
    rows: list[dict[str, Any]] = []
    golds = {language: loaded.gold(step, language) for language in step.spec["languages"]}
    if step.spec["format"] == "ranking":
        golds = in_all_languages(golds)
    if step.spec["format"] == "words":
        golds = {
            language: _encoded(loaded, step, language, gold, predictions)
            for language, gold in golds.items()
        }
    if step.spec["format"] == "mining":
        golds = {
            language: _mined(step, language, gold, predictions) for language, gold in golds.items()
        }
    for language, examples in golds.items():
        gold_texts = [json.dumps(example.gold, ensure_ascii=False) for example in examples]
        for checkpoint, by_step in predictions.items():
            raw = by_step[step.fingerprint, language]
            answers = written(step.spec["format"], loaded.tags(step), examples, raw)
            if step.spec["format"] == "span" and "squad_v2_f1" in step.spec["metrics"]:
                answers = withheld(answers, examples, raw)
            rows += [
                {
                    "checkpoint": checkpoint,
                    "language": language,
                    "row": example.row,
                    "id": example.id,
                    "cluster": example.cluster,
                    "parallel": example.parallel,
                    "prediction": json.dumps(answer, ensure_ascii=False),
                    "gold": gold_text,
                }
                for example, answer, gold_text in zip(examples, answers, gold_texts, strict=True)
            ]
    path = loaded.scratch / "predictions.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    files = {path.name: path, **write_counts(path, step.spec["metrics"], loaded.scratch)}
    loaded.store.commit(step, files, {"rows": len(rows), "seconds": round(seconds, 3)})
    if step.spec["format"] in FORMATS:
        loaded.store.clear_work(step.fingerprint)  # the shards


def _encoded(
    loaded: LoadedBackbone,
    step: Step,
    language: str,
    golds: list[Gold],
    predictions: Predictions,
) -> list[Gold]:
    """The examples without the bad rows that encoding left out. All examples if more predictions
    are missing, so that the caller names those.

    Args:
        loaded: the backbone.
        step: the score step.
        language: a language of the step.
        golds: all examples of the language.
        predictions: of all checkpoints.
    """
    by_row = next(iter(predictions.values()))[step.fingerprint, language]
    encoded = loaded.parent("encode", step.parents[f"test:{language}"], step)
    return encoded_gold(golds, by_row, int(encoded.info.get("bad_rows", 0)))


def _mined(
    step: Step, language: str, golds: Sequence[Gold], predictions: Predictions
) -> list[Gold]:
    """The sentences of a pool that count: foreign sentences of the test part with a gold or a
    predicted translation. The others, most of hundreds of thousands, do not change any metric.
    """
    by_checkpoint = [by_step[step.fingerprint, language] for by_step in predictions.values()]
    queried = by_checkpoint[0].keys()
    return [
        gold
        for gold in golds
        if gold.row in queried and (gold.gold or any(rows[gold.row] for rows in by_checkpoint))
    ]
