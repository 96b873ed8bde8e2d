"""Processes for a local run's tasks that have loaded their modules before they are needed.

KFP's SubprocessRunner starts a shell and a new Python for each task, which takes longer than a task
that has nothing to do. Here a task is a fork of a process that has loaded what all tasks import.
The first task that starts a worker group gets a process that has loaded Ray and torch while earlier
tasks ran; it is not a fork, because libraries of Ray have threads.

    python -m pipelines.task_processes fork|once SOCKET    (started by `TaskProcesses`)
"""

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from xstilts.errors import InfrastructureError
from xstilts.processes import die_with_parent

#: `sh -ec SCRIPT CODE ARGUMENTS…`: how KFP starts the Python code of a component.
SHELL, EXECUTOR = ["sh", "-ec"], "-m kfp.dsl.executor_main"
#: What tasks import, in the order in which they need it; `module:function` also calls the function.
#: None of these starts a thread, so that the process can be forked.
TASKS = (
    "kfp.dsl.executor_main",
    "xstilts.runs.actions",
    "xstilts.store.client:make_client",  # reads botocore's description of S3
    "xstilts.plan.expand",
    "components.launch.choose",
    "components.report.artifacts",
)
#: What a task with a worker group imports besides.
WORKER_GROUP = ("components.launch.local:set_environment", "ray.train.torch")
MODULES = {"fork": TASKS, "once": (*TASKS, *WORKER_GROUP)}
#: Length of a request in bytes, before the request.
LENGTH = struct.Struct("!Q")
#: Exit code of a task that ended without one: killed, or out of memory.
LOST = 137


class TaskProcesses:
    """Runs the commands of KFP's local tasks. Safe to use from several threads.

    log: receives what the processes print while no task runs in them.
    """

    def __init__(self, log: IO[str]) -> None:
        self._log, self._lock, self._launching = log, threading.Lock(), ""
        self._fork = _Process("fork", log)
        self._once: _Process | None = None
        self._all = [self._fork]

    def prepare_launch(self, component: str) -> None:
        """Loads Ray and torch for the first task of a component."""
        self._launching, self._once = component, _Process("once", self._log)
        self._all.append(self._once)

    def run(self, full_command: Sequence[str], env_vars: Mapping[str, str] | None = None) -> int:
        """Runs a task, prints its output and returns its exit code. Has the arguments of
        kfp.local.subprocess_task_handler.run_local_subprocess.
        """
        if [*full_command[:2]] != SHELL or EXECUTOR not in full_command[2]:
            raise InfrastructureError(
                f"KFP starts a component with an unknown command, {[*full_command[:3]]}; install "
                "xstilts with the version of kfp that it requires"
            )
        with self._lock:
            process = self._fork
            if self._once and full_command[-1] == self._launching:
                process, self._once = self._once, None
        return process.run(
            {
                "code": full_command[3],
                "arguments": [*full_command[4:]],
                "environment": {**os.environ, **(env_vars or {})},
                "folder": os.getcwd(),
            }
        )

    def close(self) -> None:
        """Ends the processes, and with them tasks that still run."""
        for process in self._all:
            process.close()

    @contextlib.contextmanager
    def used_by_kfp(self) -> Iterator[None]:
        """KFP's SubprocessRunner runs its tasks here; it has no option for it."""
        from kfp.local import subprocess_task_handler as handler

        name = "run_local_subprocess"
        original = getattr(handler, name)
        setattr(handler, name, self.run)
        try:
            with self._ended_by_signals():
                yield
        finally:
            setattr(handler, name, original)

    @contextlib.contextmanager
    def _ended_by_signals(self) -> Iterator[None]:
        """Ends the tasks before a signal ends the run: KFP waits for its threads, which wait for
        their tasks. Only the main thread can set signal handlers.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        handled = {number: old for number, old in before.items() if callable(old)}
        closing = False

        def end(number: int, frame: FrameType | None) -> None:
            nonlocal closing
            if closing:
                return  # a second signal, amid Popen.wait: another wait would never return
            closing = True
            try:
                self.close()
            finally:
                closing = False
            handled[signal.Signals(number)](number, frame)

        for number in handled:
            signal.signal(number, end)
        try:
            yield
        finally:
            for number, old in handled.items():
                signal.signal(number, old)


@contextlib.contextmanager
def task_processes(log: Path) -> Iterator[TaskProcesses]:
    """Starts the processes of a run, and ends them."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", buffering=1) as file:
        processes = TaskProcesses(file)
        try:
            yield processes
        finally:
            processes.close()


class _Process:
    """The process that this module is the program of, seen by the run."""

    def __init__(self, mode: str, log: IO[str]) -> None:
        self._socket, other = socket.socketpair()
        self._lock = threading.Lock()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.task_processes", mode, str(other.fileno())],
                env={**os.environ, "_KFP_RUNTIME": "true"}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, pass_fds=[other.fileno()],
            )  # fmt: skip

    def run(self, task: Mapping[str, object]) -> int:
        request = json.dumps(task).encode()
        output, output_in = os.pipe()
        status, status_in = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._socket, [LENGTH.pack(len(request))], [output_in, status_in])
                self._socket.sendall(request)
        except OSError as error:
            raise InfrastructureError(
                "the process that runs tasks has ended; see logs/processes.log in the run's "
                "output folder"
            ) from error
        finally:
            os.close(output_in)
            os.close(status_in)
        with open(output, errors="replace") as lines, open(status) as codes:
            for line in lines:
                print(line, end="")
            print("\n")
            return int(codes.read() or LOST)

    def close(self) -> None:
        self._socket.close()
        self._process.kill()  # not SIGTERM: a driver of Ray takes half a minute to end
        self._process.wait()


def serve(connection: socket.socket, mode: str) -> None:
    """Imports modules while there is no task, and runs tasks until the run closes the connection:
    each in a fork, or one in this process.
    """
    modules = [*MODULES[mode]]
    while True:
        busy = mode == "once" or not select.select([connection], [], [], 0)[0]
        if modules and busy:
            _load(modules.pop(0))
            continue
        header, files, _, _ = socket.recv_fds(connection, LENGTH.size, 2)
        if not header:
            return
        request = _received(connection, LENGTH.unpack(header)[0])
        for file in files:
            os.set_inheritable(file, False)  # programs that a task starts may outlive it
        parent = os.getppid() if mode == "once" else os.getpid()
        if mode == "once" or os.fork() == 0:
            connection.close()
            _run(json.loads(request), parent, *files)
        for file in files:
            os.close(file)
        with contextlib.suppress(ChildProcessError):  # there is none
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _load(name: str) -> None:
    module, _, function = name.partition(":")
    loaded = importlib.import_module(module)
    if function:
        getattr(loaded, function)()


def _received(connection: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        part = connection.recv(length - len(parts))
        if not part:
            raise EOFError("the run ended while it sent a task")
        parts += part
    return bytes(parts)


def _run(task: Mapping[str, object], parent: int, output: int, status: int) -> None:
    """Does what KFP's command does, and ends this process with the task's exit code. `parent`: the
    process that this one ends with.
    """
    code = 1
    try:
        die_with_parent()
        if os.getppid() != parent:
            return  # it died before this process asked the kernel to end with it
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(output, stream.fileno())
        os.close(output)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        _execute(**task)  # type: ignore[arg-type]
        code = 0
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except BaseException:  # noqa: BLE001  the task's last resort: its log and exit code
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
            os.write(status, str(code).encode())
        finally:
            os._exit(code)  # no exit handlers of the process that was forked


def _execute(code: str, arguments: list[str], environment: dict[str, str], folder: str) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment, _KFP_RUNTIME="true")
    from kfp.dsl.executor_main import executor_main

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "ephemeral_component.py"
        path.write_text(code)
        sys.argv = ["executor_main", "--component_module_path", str(path), *arguments]
        executor_main()


def main(mode: str, file: int) -> None:
    if run := os.environ.get("XSTILTS_LOCAL"):
        die_with_parent(int(run))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the run, which closes the socket
    with socket.socket(fileno=file) as connection:
        serve(connection, mode)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
