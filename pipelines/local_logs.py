"""The logs of a local run: files in its output folder, and the failures that its store has."""

import time
from pathlib import Path

from pipelines.console import say
from pipelines.log_follow import Selection
from pipelines.log_noise import NoiseFilter
from xstilts.errors import InfrastructureError, PlanError
from xstilts.store.store import Store

#: Files in <out>/logs, in the order in which they are shown.
FILES = ("ray.log", "pipeline.log")


def folder_of(store: Store, run: str) -> Path | None:
    """The output folder of a local run, None for a run on a cluster."""
    document = store.get_json(f"runs/{run}/run.json") or {}
    return Path(document["out"]) / "logs" if "out" in document else None


def show(store: Store, run: str, folder: Path, selection: Selection, every: float | None) -> int:
    """Prints the end of each log and the failures; then, every N seconds, what is new until
    the run has an outcome. Returns its exit code, 0 if it has none.
    """
    if selection.step is not None or selection.since is not None:
        raise PlanError(f"--step, --since: {run} is a local run, which has one log for all steps")
    files = {folder / name: 0 for name in FILES if (folder / name).is_file()}
    failures = store.list(f"runs/{run}/failures/")
    if not files and not failures:
        raise InfrastructureError(f"no logs of {run}: {folder} has none, and no step has failed")
    for file in files:
        text = file.read_text(encoding="utf-8", errors="replace")
        files[file] = file.stat().st_size
        lines = NoiseFilter(selection.raw)(text.splitlines())[-selection.tail :]
        if lines:
            say("\n".join([f"==> {file}", *lines, ""]))
    for key in failures:
        if failure := store.get_json(key):
            say(f"==> failed: {failure['what']}: {failure['error']}\n{failure['log'].rstrip()}\n")
    outcome = store.get_json(f"runs/{run}/status.json")
    while every is not None and outcome is None:
        time.sleep(every)
        outcome = store.get_json(f"runs/{run}/status.json")
        for file in files:
            files[file] = _print_new(file, files[file], selection.raw)
    return int(outcome["exit_code"]) if every is not None and outcome is not None else 0


def _print_new(file: Path, position: int, raw: bool) -> int:
    """Prints the whole lines after a position; returns the position after them."""
    with open(file, "rb") as stream:
        stream.seek(position)
        data = stream.read()
    end = data.rfind(b"\n") + 1
    for line in NoiseFilter(raw)(data[:end].decode(errors="replace").splitlines()):
        say(line)
    return position + end
