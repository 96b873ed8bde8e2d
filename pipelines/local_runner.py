"""A run on this machine: the embedded store, one Ray when a group needs it, and KFP's local
runner over both.
"""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.launch import private_ray
from xstilts.errors import InfrastructureError
from xstilts.store.server import serve
from xstilts.store.store import Store

BUCKET_URI = "s3://xstilts/store"


@dataclass(frozen=True)
class Local:
    """Where a local run keeps things: `home` for what runs share (store, cache, mirrors), `out`
    for its own.
    """

    home: Path
    out: Path

    @property
    def logs(self) -> Path:
        return self.out / "logs"


@contextlib.contextmanager
def store_at(uri: str | None, home: Path) -> Iterator[str]:
    """The store's URI: the given one, or that of an embedded server over <home>/store for as
    long as the body runs. Sets the AWS_* and XSTILTS_CACHE environment, which child processes
    inherit, and puts it back.
    """
    before = dict(os.environ)
    os.environ.setdefault("XSTILTS_CACHE", str(home / "cache"))
    os.environ["XSTILTS_LOCAL"] = str(os.getpid())  # what is started for this run ends with it
    try:
        if uri is not None:
            yield uri
            return
        folder = home / "store"
        folder.mkdir(parents=True, exist_ok=True)
        with serve(folder, log=home / "store.log") as server:
            os.environ.update(server.env())
            yield BUCKET_URI
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def ray_head(cpus: int, logs: Path) -> Iterator[Path]:
    """One Ray in a child process, private to this run. Yields the file that will hold its
    address; Ray starts in the background.
    """
    with private_ray.inherited():
        yield from _ray_head(cpus, logs)


def _ray_head(cpus: int, logs: Path) -> Iterator[Path]:
    logs.mkdir(parents=True, exist_ok=True)
    address = logs / "ray.address"
    address.unlink(missing_ok=True)
    with open(logs / "ray.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "components.launch.head", str(cpus), str(address)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    os.environ["XSTILTS_RAY_ADDRESS_FILE"] = str(address)
    try:
        yield address
    finally:
        os.environ.pop("XSTILTS_RAY_ADDRESS_FILE", None)
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does, so that what it started is stopped."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


def run_pipeline(run_uri: str, local: Local, runner: Any = None, pipeline: Any = None) -> bool:
    """Runs the pipeline by KFP's SubprocessRunner, or by a given runner; its output goes to
    <out>/logs/pipeline.log. True when it ended green. The outcome that counts is what the run's
    folder says.
    """
    root = Path(__file__).resolve().parents[1]
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(root), os.environ.get("PYTHONPATH", "")])
    )
    local.logs.mkdir(parents=True, exist_ok=True)
    from kfp import local as kfp_local

    from pipelines.intermediate_to_xtreme_r import intermediate_to_xtreme_r

    scratch = local.out / "pipeline"
    if runner is None:
        shutil.rmtree(scratch, ignore_errors=True)
    with open(local.logs / "pipeline.log", "w", buffering=1) as log, _quiet(log):
        kfp_local.init(
            runner=runner or kfp_local.SubprocessRunner(use_venv=False), pipeline_root=str(scratch),
            raise_on_error=False,
        )  # fmt: skip
        task = (pipeline or intermediate_to_xtreme_r)(run=run_uri)
    green = bool(getattr(task, "state", None) and str(task.state).endswith("SUCCESS"))
    shutil.rmtree(scratch, ignore_errors=True)
    return green


@contextlib.contextmanager
def _quiet(log: io.TextIOBase) -> Iterator[None]:
    """Sends everything that KFP and its subprocesses print to the log."""
    import logging

    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        yield
    logging.getLogger().removeHandler(handler)


class Watch(threading.Thread):
    """Prints how far a run is, from the store's listings: one line whenever a number changes."""

    def __init__(self, store: Store, totals: dict[str, set[str]], say: Any) -> None:
        super().__init__(daemon=True)
        self.store, self.totals, self.say = store, totals, say
        self.stopped = threading.Event()
        self.started = time.monotonic()

    def run(self) -> None:
        last = ""
        while not self.stopped.wait(3.0):
            line = self.line()
            if line != last:
                self.say(f"  {time.monotonic() - self.started:5.0f} s  {line}")
                last = line

    def line(self) -> str:
        parts = []
        for kind, wanted in self.totals.items():
            if wanted:
                parts.append(f"{kind} {len(wanted & self.store.done(kind))}/{len(wanted)}")
        return "  ".join(parts)


def outcome(store: Store, run: str, green: bool) -> tuple[int, list[dict[str, Any]]]:
    """(exit code, failures) of a run, by what its folder holds and not by what the runner said."""
    failures = [store.get_json(key) for key in store.list(f"runs/{run}/failures/")]
    status = store.get_json(f"runs/{run}/status.json")
    if status is not None:
        return int(status["exit_code"]), failures
    codes = [failure["exit_code"] for failure in failures if failure]
    if codes:
        return max(codes), failures
    raise InfrastructureError(
        "the pipeline ended without a report or a recorded failure; see logs/pipeline.log"
    )


def run_name(plan_name: str, out: Path) -> str:
    """The run's id. The same plan into the same folder is the same run, so that starting it
    again goes on with it.
    """
    marker = out / "run.json"
    if marker.is_file():
        return str(json.loads(marker.read_text())["run"])
    out.mkdir(parents=True, exist_ok=True)
    name = f"{plan_name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    part = marker.with_suffix(".part")
    part.write_text(json.dumps({"run": name}))
    os.replace(part, marker)
    return name
