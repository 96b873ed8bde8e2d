"""What each worker of a scoring group does: models dealt out, each predicts all its evaluations in
one sorted pass.

Nothing is shared between workers, so a failure of one model is recorded and touches no other.
"""

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from xstilts.environment import require
from xstilts.errors import XstiltsError
from xstilts.models.head_set import Heads
from xstilts.models.heads import AnswerLimit
from xstilts.runs.folder import failure, failure_key, open_run, spec_of
from xstilts.runs.loaded_backbone import LoadedBackbone
from xstilts.runs.score_shards import Shard, complain, gathered, is_large, make, shards, share
from xstilts.runs.task_files import tasks_of
from xstilts.scoring.gold import Gold, encoded_gold
from xstilts.scoring.predict import Job, Predictor, predict, withheld, written
from xstilts.scoring.ranking import in_all_languages
from xstilts.scoring.vectors import FORMATS
from xstilts.step import Step
from xstilts.store.manifest import Manifest
from xstilts.training.workers import Workers

#: checkpoint: `selected` are the weights that count; `last` stands beside them where English dev
#: chose earlier ones. row: position of the example in its language's records. parallel: equal for
#: its translations, or empty.
_TEXTS = ("id", "cluster", "parallel", "prediction", "gold")
SCHEMA = pa.schema(
    [
        ("checkpoint", pa.string()),
        ("language", pa.string()),
        ("row", pa.int32()),
        *((name, pa.string()) for name in _TEXTS),
    ]
)

#: Errors that are recorded as a step's failure; others end the worker.
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
    """Settles a group's score steps: all workers make the shards of large pools, then each
    scores its share of the models. loaded: a backbone that is loaded already.
    """
    store, folder = open_run(run_uri)
    spec, steps = spec_of(store, folder, name)
    # As one worker sees it: the others must come to the same meeting.
    finished, models = workers.from_first((store.done("score"), store.done("finetune")))
    undone: dict[str, list[Step]] = {}
    for fingerprint in spec["score"]:
        if fingerprint not in finished:
            undone.setdefault(steps[fingerprint].parents.get("model", ""), []).append(
                steps[fingerprint]
            )
    large = {model: found for model, found in undone.items() if is_large(store, found)}
    mine = list(undone.items())[workers.rank :: workers.world]
    if not mine and not large:
        return
    first = next(iter(undone.values()))[0]
    require(first.spec.get("environment"))
    torch.set_num_threads(int(first.settings.get("threads", 1)))
    with tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
        if loaded is None:
            tasks = tasks_of(store, folder, steps.values())
            loaded = LoadedBackbone(store, first, Path(scratch), device, tasks)
        if large and workers.world > 1:
            _make_shards(
                loaded,
                {model: own for model, own in large.items() if not model or model in models},
                workers,
            )
            workers.meet()
        for model, own in mine:
            if model and model not in models:
                error: Exception = XstiltsError(f"its model finetune/{model[:12]} was not trained")
                failed = dict.fromkeys((step.fingerprint for step in own), error)
            else:
                try:
                    failed = score(loaded, model, own)
                except _RECORDED as error:
                    failed = dict.fromkeys((step.fingerprint for step in own), error)
            for step in own:
                if step.fingerprint in failed:
                    key = failure_key(folder, "score", step.fingerprint)
                    store.put_json(
                        key, failure(step.settings.get("label", "score"), failed[step.fingerprint])
                    )


def _make_shards(
    loaded: LoadedBackbone, large: Mapping[str, Sequence[Step]], workers: Workers
) -> None:
    """This worker's shards of all models' large pools."""
    wanted: dict[tuple[str, str], list[Shard]] = {}
    for model, steps in large.items():
        manifest = loaded.parent("finetune", model, steps[0]) if model else None
        jobs = _jobs(loaded, steps)
        for checkpoint in _checkpoints(manifest):
            wanted[model, checkpoint] = list(shards(jobs, checkpoint))
    for (model, checkpoint), own in share(wanted, workers.rank, workers.world).items():
        step = large[model][0]
        try:
            predictor = _predictor(
                loaded, loaded.parent("finetune", model, step) if model else None, step, checkpoint
            )
            with loaded.folded(), torch.no_grad():
                make(loaded.store, predictor, own)
        except _RECORDED as error:
            complain(model, error)


def score(loaded: LoadedBackbone, model: str, steps: Sequence[Step]) -> dict[str, Exception]:
    """One pass of one model over the rows of all the given score steps, then one manifest a
    step. Where English dev chose other weights than the last, both are scored. Returns
    fingerprint → error of the steps whose predictions could not be written; what stops the pass
    itself is raised.
    """
    started = time.perf_counter()
    any_step = steps[0]
    manifest = loaded.parent("finetune", model, any_step) if model else None
    jobs = _jobs(loaded, steps)
    found = {}
    for checkpoint in _checkpoints(manifest):
        predictor = _predictor(loaded, manifest, any_step, checkpoint)
        with loaded.folded(), torch.no_grad():
            found[checkpoint] = predict(
                predictor, gathered(loaded.store, predictor, jobs, checkpoint)
            )
    seconds = (time.perf_counter() - started) / len(steps)
    failed: dict[str, Exception] = {}
    for step in steps:
        try:
            _commit(loaded, step, found, seconds)
        except _RECORDED as error:  # of one evaluation: the model's others stand
            failed[step.fingerprint] = error
    return failed


def _jobs(loaded: LoadedBackbone, steps: Sequence[Step]) -> list[Job]:
    jobs = []
    for step in steps:
        format_, depth, head = (
            step.spec["format"],
            step.spec.get("layer"),
            int(step.spec.get("head", 0)),
        )
        limit = AnswerLimit(**step.spec["answer_limit"]) if format_ == "span" else None
        pooling = str(step.spec.get("pooling", "mean"))
        for language in step.spec["languages"]:
            rows, images = loaded.rows(f"test:{language}", step)
            searched = format_ in FORMATS
            queries = loaded.gold(step, language) if searched else None
            names = loaded.candidates(f"test:{language}", step) if searched else ()
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
    """`selected`, and `last` where English dev chose other weights than the last."""
    return ["selected"] + (
        ["last"] if manifest is not None and "last.trainable.safetensors" in manifest.files else []
    )


def _predictor(
    loaded: LoadedBackbone, manifest: Manifest | None, step: Step, checkpoint: str
) -> Predictor:
    """The loaded's backbone with a model's weights."""
    before = "last." if checkpoint == "last" else ""
    loaded.reset(0)
    heads: Heads | None = None
    if manifest is not None:
        loaded.load(manifest, before)
        heads = Heads.load(manifest, loaded.store, loaded.backbone, before).to(loaded.device)
    loaded.backbone.eval()
    budget = int(step.settings.get("tokens_per_micro_batch", 4096))
    return Predictor(
        loaded.backbone, heads, loaded.processor, budget, loaded.device, loaded.scratch / "vectors"
    )


def _commit(
    loaded: LoadedBackbone,
    step: Step,
    found: Mapping[str, Mapping[tuple[str, str], Mapping[int, Any]]],
    seconds: float,
) -> None:
    rows: list[dict[str, Any]] = []
    golds = {language: loaded.gold(step, language) for language in step.spec["languages"]}
    if step.spec["format"] == "ranking":
        golds = in_all_languages(golds)
    if step.spec["format"] == "words":
        golds = {
            language: _encoded(loaded, step, language, own, found)
            for language, own in golds.items()
        }
    if step.spec["format"] == "mining":
        golds = {language: _scored(step, language, own, found) for language, own in golds.items()}
    for language, examples in golds.items():
        gold = [json.dumps(example.gold, ensure_ascii=False) for example in examples]
        for checkpoint, predictions in found.items():
            given = predictions[step.fingerprint, language]
            answers = written(step.spec["format"], loaded.tags(step), examples, given)
            if step.spec["format"] == "span" and "squad_v2_f1" in step.spec["metrics"]:
                answers = withheld(answers, examples, given)
            rows += [
                {
                    "checkpoint": checkpoint,
                    "language": language,
                    "row": example.row,
                    "id": example.id,
                    "cluster": example.cluster,
                    "parallel": example.parallel,
                    "prediction": json.dumps(answer, ensure_ascii=False),
                    "gold": right,
                }
                for example, answer, right in zip(examples, answers, gold, strict=True)
            ]
    path = loaded.scratch / "predictions.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    loaded.store.commit(
        step, {"predictions.parquet": path}, {"rows": len(rows), "seconds": round(seconds, 3)}
    )
    if step.spec["format"] in FORMATS:
        loaded.store.clear_work(step.fingerprint)  # shards


def _encoded(
    loaded: LoadedBackbone, step: Step, language: str, golds: list[Gold],
    found: Mapping[str, Mapping[tuple[str, str], Mapping[int, Any]]],
) -> list[Gold]:  # fmt: skip
    """The examples that encoding did not leave out as bad rows; all of them where others lack a
    prediction too, so that the caller names those.
    """
    predictions = next(iter(found.values()))[step.fingerprint, language]
    bad = int(
        loaded.parent("encode", step.parents[f"test:{language}"], step).info.get("bad_rows", 0)
    )
    return encoded_gold(golds, predictions, bad)


def _scored(
    step: Step,
    language: str,
    golds: Sequence[Gold],
    found: Mapping[str, Mapping[tuple[str, str], Mapping[int, Any]]],
) -> list[Gold]:
    """Of a pool's sentences those that count: the test part's foreign ones that have a
    translation or were given one. The others, most of hundreds of thousands, add nothing to any
    sum.
    """
    told = [predictions[step.fingerprint, language] for predictions in found.values()]
    asked = told[0].keys()
    return [
        gold
        for gold in golds
        if gold.row in asked and (gold.gold or any(one[gold.row] for one in told))
    ]
