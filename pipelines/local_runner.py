"""A run on this machine: the embedded store, a local Ray when a group needs one, and KFP's local
runner.
"""

import contextlib
import io
import json
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from components.launch import private_ray
from components.launch.head import ended_file
from pipelines.console import Level, level, log_line, visible_warnings, warn
from pipelines.log_noise import NoiseFilter
from pipelines.marked_processes import kill_marked
from pipelines.run_list import is_run_of
from pipelines.task_processes import TaskProcesses
from xstilts.document_shape import read_shaped
from xstilts.environment import variables
from xstilts.errors import InfrastructureError
from xstilts.new_files import new_file
from xstilts.processes import ended
from xstilts.store.private_files import private_folder
from xstilts.store.server import serve
from xstilts.store.store import Store
from xstilts.stored_documents import OUTPUT

log = logging.getLogger(__name__)

BUCKET_URI = "s3://xstilts/store"
#: Secrets that no step of a local run uses, so its processes do not inherit them.
NOT_FOR_STEPS = ("XSTILTS_KFP_TOKEN", "XSTILTS_KFP_COOKIE")
#: The caller's own AWS credentials, which the embedded store has no use for. boto3 would send it a
#: session token together with its own keys.
NOT_FOR_EMBEDDED_STORE = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
)

#: Seconds between two looks at a process that a run needs, and seconds that it gets to end.
WATCH_SECONDS, END_SECONDS = 0.5, 8.0
#: Marks the processes of a run's Ray: an environment variable that all of them inherit. Its value
#: differs between runs.
HEAD = "XSTILTS_RAY_HEAD"


@dataclass(frozen=True)
class LocalFolders:
    """Folders of a local run. `home`: shared by runs (store, cache, mirrors). `out`: its own."""

    home: Path
    out: Path

    @property
    def logs(self) -> Path:
        return self.out / "logs"


@contextlib.contextmanager
def store_at(uri: str | None, home: Path) -> Iterator[str]:
    """Yields the URI of the store: `uri`, or that of an embedded server over <home>/store. Sets
    AWS_*, XSTILTS_CACHE and PYTHONPATH in the environment, which child processes inherit, removes
    secrets that they do not need, and restores it.
    """
    before = dict(os.environ)
    os.environ.setdefault("XSTILTS_CACHE", str(home / "cache"))
    os.environ["XSTILTS_LOCAL"] = str(os.getpid())  # child processes end with this one
    root = Path(__file__).resolve().parents[1]
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(root), os.environ.get("PYTHONPATH", "")])
    )
    _remove_variables(NOT_FOR_STEPS)
    try:
        log.info("store %s, cache %s", uri or home / "store", os.environ["XSTILTS_CACHE"])
        if uri is not None:
            yield uri
            return
        folder = home / "store"
        _remove_variables(NOT_FOR_EMBEDDED_STORE)
        with serve(folder, log=home / "store.log", say=warn) as server:
            os.environ.update(server.env())
            yield BUCKET_URI
    finally:
        os.environ.clear()
        os.environ.update(before)


def _remove_variables(names: Iterable[str]) -> None:
    for name in names:
        os.environ.pop(name, None)


@contextlib.contextmanager
def ray_head(cpus: int, logs: Path) -> Iterator[Path]:
    """Starts a Ray that is private to this run in a child process, without waiting for it. Yields
    the file that it writes its address to.
    """
    with variables(private_ray.settings()):
        yield from _ray_head(cpus, logs)


def _ray_head(cpus: int, logs: Path) -> Iterator[Path]:
    private_folder(logs)
    address = logs / "ray.address"
    for file in (address, ended_file(address)):
        file.unlink(missing_ok=True)
    # Random, not the folder: another run may have the same --out, and its Ray must not end here.
    mark = secrets.token_hex(16)
    log.info("starting Ray with %d CPUs; its log: %s", cpus, logs / "ray.log")
    with open(logs / "ray.log", "ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "components.launch.head", str(cpus), str(address)],
            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
            env=os.environ | {HEAD: mark},
            start_new_session=True,  # Ctrl-C must not end Ray before the steps that use it
        )  # fmt: skip
    os.environ["XSTILTS_RAY_ADDRESS_FILE"] = str(address)
    try:
        with watched(process, lambda: _ray_ended(process, address, logs / "ray.log")):
            yield address
    finally:
        os.environ.pop("XSTILTS_RAY_ADDRESS_FILE", None)
        _end(process, f"{HEAD}={mark}")


def _ray_ended(process: subprocess.Popen[bytes], address: Path, log: Path) -> str:
    reason = ended_file(address)
    what = f"its {reason.read_text()}" if reason.is_file() else f"its head process {process.pid}"
    how = "" if reason.is_file() else f" ended ({ended(process.returncode)})"
    return f"Ray was lost: {what}{how}; see {log}. Run the same command again to resume"


@contextlib.contextmanager
def watched(process: subprocess.Popen[bytes], message: Callable[[], str]) -> Iterator[None]:
    """Ends the body with InfrastructureError within a second if a process that it needs ends. The
    body runs in the main thread, which a signal interrupts; in any other nothing is watched.

    message: says what ended, and what to do.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopped, lost = threading.Event(), threading.Event()

    def watch() -> None:
        while not stopped.wait(WATCH_SECONDS):
            if process.poll() is not None:
                lost.set()
                os.kill(os.getpid(), signal.SIGUSR1)
                return

    # Not SIGINT: shells let programs in the background ignore it.
    old = signal.signal(signal.SIGUSR1, _interrupt)
    thread = threading.Thread(target=watch, name="process-watch", daemon=True)
    thread.start()
    try:
        yield
    except BaseException as error:
        if lost.is_set():
            raise InfrastructureError(message()) from error
        raise
    finally:
        stopped.set()
        thread.join()
        signal.signal(signal.SIGUSR1, old)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    """Ends a process, and after some seconds kills it. Then kills all others with its mark: if
    Ray's head was killed, nobody else knows those that it has started. They are children of PID 1
    then, and Ray's agents retry for a minute before they end.
    """
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    kill_marked(mark, END_SECONDS)
    process.wait()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Treats SIGTERM like Ctrl-C, so that child processes are stopped. Only the main thread can
    set signal handlers; in any other nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    old = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


def run_pipeline(
    run_uri: str,
    folders: LocalFolders,
    processes: TaskProcesses | None = None,
    runner: Any = None,
    pipeline: Any = None,
) -> None:
    """Runs the pipeline. The outcome is in the run's folder, whatever KFP reports.

    Args:
        run_uri: the run.
        folders: of the run; the output goes to <out>/logs/pipeline.log.
        processes: run the tasks of KFP's SubprocessRunner; by default it starts its own.
        runner: KFP's runner, instead of its SubprocessRunner.
        pipeline: to run instead of the one for subprocesses.
    """
    private_folder(folders.logs)
    from kfp import local as kfp_local

    from pipelines.intermediate_to_xtreme_r import intermediate_to_xtreme_r
    from pipelines.kfp import local_loops

    scratch = folders.out / "pipeline"
    if runner is None:
        shutil.rmtree(scratch, ignore_errors=True)
    with (
        open(folders.logs / "pipeline.log", "w", buffering=1) as file,
        _redirected(file),
        processes.used_by_kfp() if processes else contextlib.nullcontext(),
    ):
        kfp_local.init(
            runner=runner or kfp_local.SubprocessRunner(use_venv=False), pipeline_root=str(scratch),
            raise_on_error=False,
        )  # fmt: skip
        with local_loops.any_output():
            (pipeline or intermediate_to_xtreme_r)(run=run_uri)
    shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def _redirected(file: IO[str]) -> Iterator[None]:
    """Redirects the output of KFP and its subprocesses to a file, and with --verbose shows it."""
    target = EchoedLog(file, log_line) if level() is Level.VERBOSE else file
    handler = logging.StreamHandler(file)
    logging.getLogger().addHandler(handler)
    try:
        with (
            visible_warnings(),
            contextlib.redirect_stdout(target),
            contextlib.redirect_stderr(target),
        ):
            yield
    finally:
        logging.getLogger().removeHandler(handler)
        if isinstance(target, EchoedLog):
            target.end()


class EchoedLog(io.TextIOBase):
    """A log file whose lines are also printed, without those that are the same in every run. Tasks
    write to it from several threads.
    """

    def __init__(self, file: IO[str], print_line: Callable[[str], None]) -> None:
        self._file, self._print = file, print_line
        self._lock, self._filter, self._started = threading.Lock(), NoiseFilter(), ""

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._started = (self._started + text).split("\n")
            self._echo(lines)
            return self._file.write(text)

    def end(self) -> None:
        """Prints what was written after the last line break."""
        with self._lock:
            self._echo([self._started])
            self._started = ""

    def _echo(self, lines: Iterable[str]) -> None:
        for line in self._filter(filter(str.strip, lines)):
            self._print(line)

    def fileno(self) -> int:
        return self._file.fileno()

    def flush(self) -> None:
        self._file.flush()


def outcome(store: Store, run: str) -> tuple[int, list[Mapping[str, Any]]]:
    """Returns (exit code, failures) of a run from its folder, whatever the runner reported. The
    exit code is 3 if tasks were lost before they recorded anything.
    """
    documents = [store.get_json(key) for key in store.list(f"runs/{run}/failures/")]
    failures: list[Mapping[str, Any]] = [record for record in documents if record is not None]
    status = store.get_json(f"runs/{run}/status.json")
    if status is not None:
        return int(status["exit_code"]), failures
    if failures:
        return max(int(failure["exit_code"]) for failure in failures), failures
    return InfrastructureError.exit_code, []


def run_name(plan_name: str, out: Path) -> str:
    """Returns the run's name. The same name of a plan and output folder give the same run, so that
    running the command again resumes it.
    """
    marker = out / "run.json"
    if marker.is_file():
        remedy = "delete it to start a new run in this folder"
        run = str(read_shaped(marker, OUTPUT, remedy)["run"])
        if is_run_of(run, plan_name):
            return run
    out.mkdir(parents=True, exist_ok=True)
    name = f"{plan_name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    with new_file(marker) as part:
        part.write_text(json.dumps({"run": name}))
    return name
