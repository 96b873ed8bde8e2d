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

from xstilts.data.stage import parent
from xstilts.errors import XstiltsError
from xstilts.plan.step import Step
from xstilts.run import failure, failure_key, open_run, spec_of
from xstilts.scoring.gold import gold_answers
from xstilts.scoring.predict import Job, as_written, predict
from xstilts.tasks.registry import TASKS
from xstilts.training.group import Bench
from xstilts.training.losses import Heads

SCHEMA = pa.schema(
    {"language": pa.string(), "id": pa.string(), "cluster": pa.string(), "prediction": pa.string(), "gold": pa.string()}
)


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
    torch.set_num_threads(int(first.settings.get("threads", 1)))
    with tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
        bench = bench or Bench(store, first, Path(scratch), device)
        for model, fingerprints in shares:
            undone = [steps[fp] for fp in fingerprints if fp not in finished]
            error: Exception | None = None
            if model and model not in models:
                error = XstiltsError(f"its model finetune/{model[:12]} was not trained")
            else:
                try:
                    score(bench, model, undone)
                except (RuntimeError, ValueError, KeyError, OSError, XstiltsError) as raised:
                    error = raised
            for step in undone if error else ():
                key = failure_key(folder, "score", step.fingerprint)
                store.put_json(key, failure(step.settings.get("label", "score"), error))  # type: ignore[arg-type]


def score(bench: Bench, model: str, steps: Sequence[Step]) -> None:
    """One pass of one model over the rows of all the given score steps, then one manifest a step."""
    started = time.perf_counter()
    store, any_step = bench.store, steps[0]
    bench.reset(0)
    heads: Heads | None = None
    if model:
        manifest = parent(store, "finetune", model, any_step)
        bench.load(manifest)
        heads = Heads.load(manifest, store, bench.backbone).to(bench.device)
    bench.backbone.eval()
    jobs = [
        Job(step.fingerprint, language, step.spec["format"], bench.rows(f"test:{language}", step)[0])
        for step in steps
        for language in step.spec["languages"]
    ]
    budget = int(any_step.settings.get("tokens_per_micro_batch", 4096))
    with bench.folded(), torch.no_grad():
        predictions = predict(bench.backbone, heads, jobs, budget, bench.device, any_step.spec.get("layer"))
    seconds = (time.perf_counter() - started) / len(steps)
    for step in steps:
        _commit(bench, step, predictions, seconds)


def _commit(bench: Bench, step: Step, predictions: Mapping[tuple[str, str], Mapping[str, Any]], seconds: float) -> None:
    rows: list[dict[str, str]] = []
    task = TASKS[step.spec["evaluation"]]
    for language in step.spec["languages"]:
        records = parent(bench.store, "records", step.parents[f"gold:{language}"], step)
        predicted = predictions[step.fingerprint, language]
        for example in gold_answers(bench.store.file(records, "records.parquet"), step.spec["format"]):
            if example.id not in predicted:
                raise ValueError(f"{step.spec['evaluation']} {language}: no prediction for example {example.id}")
            words = len(example.gold) if task.format == "tagging" else 0
            written = as_written(task.format, predicted[example.id], example.context, task.labels, words)
            rows.append(
                {"language": language, "id": example.id, "cluster": example.cluster,
                 "prediction": json.dumps(written, ensure_ascii=False),
                 "gold": json.dumps(example.gold, ensure_ascii=False)}
            )  # fmt: skip
    path = bench.scratch / "predictions.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    bench.store.commit(step, {"predictions.parquet": path}, {"rows": len(rows), "seconds": round(seconds, 3)})
