"""What each worker of a scoring group does: models dealt out, each predicts all its evaluations in one sorted pass.

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

from xstilts.errors import XstiltsError
from xstilts.plan.environment import require
from xstilts.plan.step import Step
from xstilts.run import failure, failure_key, open_run, spec_of
from xstilts.scoring.predict import Job, Predictor, predict, withheld, written
from xstilts.scoring.ranking import in_all_languages
from xstilts.store.manifest import Manifest
from xstilts.training.group import Bench
from xstilts.training.losses import Heads

#: checkpoint: `selected` are the weights that count; `last` stands beside them where English dev chose earlier ones.
SCHEMA = pa.schema([(name, pa.string()) for name in ("checkpoint", "language", "id", "cluster", "prediction", "gold")])

#: Errors that are recorded as a step's failure; others end the worker.
_RECORDED = (RuntimeError, ValueError, KeyError, OSError, XstiltsError)


def work(config: Mapping[str, Any]) -> None:
    """Ray Train's `train_loop_per_worker`: config holds `run_uri` and `group`."""
    import ray.train
    import ray.train.torch

    context = ray.train.get_context()
    device = ray.train.torch.get_device()
    group(config["run_uri"], config["group"], context.get_world_rank(), context.get_world_size(), device)


def group(run_uri: str, name: str, rank: int, world: int, device: torch.device, bench: Bench | None = None) -> None:
    """Settles this worker's share of a group's score steps. bench: a backbone that is loaded already."""
    store, folder = open_run(run_uri)
    spec, steps = spec_of(store, folder, name)
    finished, models = store.done("score"), store.done("finetune")
    by_model: dict[str, list[str]] = {}
    for fingerprint in spec["score"]:
        by_model.setdefault(steps[fingerprint].parents.get("model", ""), []).append(fingerprint)
    shares = [(model, scores) for model, scores in by_model.items() if not set(scores) <= finished][rank::world]
    if not shares:
        return
    first = steps[shares[0][1][0]]
    require(first.spec.get("environment"))
    torch.set_num_threads(int(first.settings.get("threads", 1)))
    with tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
        bench = bench or Bench(store, first, Path(scratch), device)
        for model, fingerprints in shares:
            undone = [steps[fp] for fp in fingerprints if fp not in finished]
            if model and model not in models:
                error: Exception = XstiltsError(f"its model finetune/{model[:12]} was not trained")
                failed = dict.fromkeys((step.fingerprint for step in undone), error)
            else:
                try:
                    failed = score(bench, model, undone)
                except _RECORDED as error:
                    failed = dict.fromkeys((step.fingerprint for step in undone), error)
            for step in undone:
                if step.fingerprint in failed:
                    key = failure_key(folder, "score", step.fingerprint)
                    store.put_json(key, failure(step.settings.get("label", "score"), failed[step.fingerprint]))


def score(bench: Bench, model: str, steps: Sequence[Step]) -> dict[str, Exception]:
    """One pass of one model over the rows of all the given score steps, then one manifest a step. Where English dev chose
    other weights than the last, both are scored. Returns fingerprint → error of the steps whose predictions could not be
    written; what stops the pass itself is raised."""
    started = time.perf_counter()
    any_step = steps[0]
    manifest = bench.parent("finetune", model, any_step) if model else None
    jobs = []
    for step in steps:
        for language in step.spec["languages"]:
            rows, images = bench.rows(f"test:{language}", step)
            queries = bench.gold(step, language) if step.spec["format"] == "ranking" else None
            depth = step.spec.get("layer")
            head = int(step.spec.get("head", 0))
            jobs.append(Job(step.fingerprint, language, step.spec["format"], rows, images, depth, queries, head))
        if "pool" in step.parents:
            jobs.append(Job(step.fingerprint, "pool", step.spec["format"], bench.rows("pool", step)[0]))
    found = {"selected": _predictions(bench, manifest, any_step, jobs, "")}
    if manifest is not None and "last.trainable.safetensors" in manifest.files:
        found["last"] = _predictions(bench, manifest, any_step, jobs, "last.")
    seconds = (time.perf_counter() - started) / len(steps)
    failed: dict[str, Exception] = {}
    for step in steps:
        try:
            _commit(bench, step, found, seconds)
        except _RECORDED as error:  # of one evaluation: the model's others stand
            failed[step.fingerprint] = error
    return failed


def _predictions(
    bench: Bench, manifest: Manifest | None, step: Step, jobs: Sequence[Job], before: str
) -> dict[tuple[str, str], dict[str, Any]]:
    bench.reset(0)
    heads: Heads | None = None
    if manifest is not None:
        bench.load(manifest, before)
        heads = Heads.load(manifest, bench.store, bench.backbone, before).to(bench.device)
    bench.backbone.eval()
    budget = int(step.settings.get("tokens_per_micro_batch", 4096))
    predictor = Predictor(bench.backbone, heads, bench.processor, budget, bench.device)
    with bench.folded(), torch.no_grad():
        return predict(predictor, jobs)


def _commit(
    bench: Bench, step: Step, found: Mapping[str, Mapping[tuple[str, str], Mapping[str, Any]]], seconds: float
) -> None:
    rows: list[dict[str, str]] = []
    golds = {language: bench.gold(step, language) for language in step.spec["languages"]}
    if step.spec["format"] == "ranking":
        golds = in_all_languages(golds)
    for language, examples in golds.items():
        gold = [json.dumps(example.gold, ensure_ascii=False) for example in examples]
        for checkpoint, predictions in found.items():
            given = predictions[step.fingerprint, language]
            answers = written(step.spec["format"], bench.tags(step), examples, given)
            if step.spec["format"] == "span" and "squad_v2_f1" in step.spec["metrics"]:
                answers = withheld(answers, examples, given)
            rows += [
                {"checkpoint": checkpoint, "language": language, "id": example.id, "cluster": example.cluster,
                 "prediction": json.dumps(answer, ensure_ascii=False), "gold": right}
                for example, answer, right in zip(examples, answers, gold, strict=True)
            ]  # fmt: skip
    path = bench.scratch / "predictions.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    bench.store.commit(step, {"predictions.parquet": path}, {"rows": len(rows), "seconds": round(seconds, 3)})
