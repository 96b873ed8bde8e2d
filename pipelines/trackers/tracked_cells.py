"""Reads the cells of a run from its store for an experiment tracker."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from xstilts import __version__
from xstilts.analysis.table_file import read_table
from xstilts.analysis.tracked_runs import Curves, TrackedRun, tracked_runs
from xstilts.errors import PlanError
from xstilts.runs.folder import expanded_of
from xstilts.runs.recorded_steps import dev_scores
from xstilts.runs.stored_report import has_report
from xstilts.store.manifest import Manifest
from xstilts.store.store import Store

#: Columns of a training's history → names of their curves.
HISTORY = {"loss": "loss", "lr": "learning_rate", "norm": "gradient_norm"}
#: Trainings whose curves are kept: cells of several targets share an intermediate training.
KEPT = 32


def cells_of(store: Store, run: str) -> tuple[str, float, Iterator[TrackedRun]]:
    """(name of the plan, time of the run in seconds since 1970, its cells).

    Raises:
        PlanError: the run has no report yet.
    """
    expanded = expanded_of(store, run)
    key = f"runs/{run}/report/results.parquet"
    if not has_report(store, run):
        raise PlanError(f"{store.uri}/{key}: the run has no report yet; see `xstilts status`")
    with tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
        results = read_table(store.get_file(key, Path(scratch) / "results.parquet"))
    document = store.get_json(f"runs/{run}/run.json") or {}
    tags = {
        "plan": str(expanded["name"]),
        "run": run,
        "store": store.uri,
        "mirror": str(document.get("mirror", "")),
        "xstilts": __version__,
    }
    cells = tracked_runs(expanded, results, _reader(store, expanded), tags)
    return str(expanded["name"]), float(document.get("created", 0.0)), cells


def _reader(store: Store, expanded: Mapping[str, Any]) -> Callable[[str], Curves]:
    """A function that reads the curves of a training; none if it is not finished."""
    steps = [fp for fp, step in expanded["steps"].items() if step["kind"] == "finetune"]
    manifests = dict(zip(steps, store.manifests([("finetune", fp) for fp in steps]), strict=True))

    @lru_cache(maxsize=KEPT)
    def read(fingerprint: str) -> Curves:
        manifest = manifests[fingerprint]
        return {} if manifest is None else _of_training(store, manifest)

    return read


def _of_training(store: Store, manifest: Manifest) -> Curves:
    history = pq.read_table(store.file(manifest, "history.parquet")).to_pydict()
    # `update` counts from 0; after it, as English dev counts, there was one more.
    updates = [int(update) + 1 for update in history["update"]]
    seconds = dict(zip(updates, history["seconds"], strict=True))
    curves = {
        name: list(zip(updates, history["seconds"], history[column], strict=True))
        for column, name in HISTORY.items()
    }
    dev = [(update, seconds.get(update, 0.0), score) for update, score in dev_scores(manifest)]
    return {**curves, "dev": dev} if dev else curves
