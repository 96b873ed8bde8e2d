"""Runs a whole plan in this process, as the components and a launcher do on a cluster. Groups of
several workers run in processes of their own.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tests.processes import run_in_processes
from xstilts.miniature.splits import Sizes
from xstilts.miniature.write import write_miniature
from xstilts.runs import actions
from xstilts.runs.finetune import group as train_group
from xstilts.runs.score import group as score_group
from xstilts.store.server import serve
from xstilts.store.store import Store
from xstilts.training.workers import Workers


def write_small_mirror(folder: Path) -> Path:
    """A generated mirror of two languages with few rows."""
    write_miniature(folder, languages=("en", "qaa"), sizes=Sizes(60, 40, 12, 8, 8))
    return folder


def run_plan(
    text: str, mirror: Path, scratch: Path, report: Path | None = None, workers: int = 1
) -> dict[str, dict[str, Any]]:
    """Runs every step of a plan, each group on `workers` workers, and writes its report into a
    folder. Returns kind → fingerprint → info of its manifest. AssertionError if a step is not
    finished.
    """
    before = dict(os.environ)
    try:
        with serve(scratch / "s3") as server:
            os.environ.update(server.env() | {"XSTILTS_CACHE": str(scratch / "cache")})
            store = Store.open("s3://xstilts/store", cache=scratch / "cache")
            done = _run(store, text, mirror, workers)
            if report is not None:
                actions.report(f"{store.uri}/runs/run", report)
            return done
    finally:
        os.environ.clear()
        os.environ.update(before)


def _group(rank: int, world: int, config: Mapping[str, Any], rendezvous: str) -> None:
    """What one worker of a group does."""
    run, group, workers = config["run_uri"], config["group"], Workers(rank, world)
    if world > 1:
        torch.set_num_threads(1)
        dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=world)
    if config["kind"] == "finetune":
        train_group(run, group, workers, torch.device("cpu"), lambda _: None)
    else:
        score_group(run, group, workers, torch.device("cpu"))
    if world > 1:
        dist.destroy_process_group()


def _run(store: Store, text: str, mirror: Path, workers: int) -> dict[str, dict[str, Any]]:
    def launch(worker: str, config: Mapping[str, Any], resources: Mapping[str, Any]) -> None:
        if workers == 1:
            _group(0, 1, config, "")
            return
        with tempfile.TemporaryDirectory() as folder:
            file = (Path(folder) / "rendezvous").as_uri()
            run_in_processes(_group, (workers, dict(config), file), workers)

    actions.create(store, "run", text, str(mirror))
    uri = f"{store.uri}/runs/run"
    actions.plan(uri)
    ids = store.get_json("runs/run/work.json")
    assert ids is not None
    for kind in ("sources", "builds", "encodings"):
        for batch in ids[kind]:
            actions.stage(uri, batch)
    for group in ids["groups"]:
        actions.finetune(uri, group, launch)
        actions.score(uri, group, launch)
    failures = [store.get_json(key) for key in store.list("runs/run/failures/")]
    assert not failures, failures[0]
    infos: dict[str, dict[str, Any]] = {}
    document = store.get_json("runs/run/expanded.json")
    assert document is not None
    for fingerprint, step in document["steps"].items():
        manifest = store.manifest(step["kind"], fingerprint)
        assert manifest is not None, f"{step['kind']} {fingerprint} is not finished"
        infos.setdefault(step["kind"], {})[fingerprint] = manifest.info
    return infos
