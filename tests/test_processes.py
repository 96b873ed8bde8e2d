"""What the kernel says of processes, also while they start."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from xstilts.processes import ended, is_running, process_environment, process_stat

#: Calls exec with itself for ever.
EXECS = """#!/bin/sh
exec "$0"
"""
#: Forks; the child calls exec when its parent closes the pipe.
FORKS = """
import os, sys
child = os.fork()
if child == 0:
    sys.stdin.read()
    os.execv("/bin/sleep", ["sleep", "60"])
print(child, flush=True)
os.wait()
"""


@contextmanager
def killed(*command: str | Path, **options: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options,  # type: ignore[call-overload]
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


def test_a_process_that_calls_exec_all_the_time_always_has_its_environment(
    tmp_path: Path,
) -> None:
    """While exec replaces a program, /proc/PID/environ is empty: in 5 of 100 looks here."""
    script = tmp_path / "execs"
    script.write_text(EXECS)
    script.chmod(0o755)
    with killed(script, env={"XSTILTS_MARK": "a"}) as process:
        assert wait_until(lambda: b"XSTILTS_MARK=a" in process_environment(process.pid))
        looks = [b"XSTILTS_MARK=a" in process_environment(process.pid) for _ in range(3000)]
        assert looks.count(False) == 0


def test_a_process_without_variables_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xstilts.processes._EXEC_SECONDS", 60)
    with killed("/bin/cat", env={}) as process:
        started = time.monotonic()
        assert process_environment(process.pid) == []
        assert time.monotonic() - started < 30


def test_a_process_that_has_ended_has_no_environment_and_does_not_run() -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        assert wait_until(lambda: not is_running(process.pid))
        stat = process_stat(process.pid)
        assert stat is not None
        assert (stat.state, stat.size) == ("Z", 0)
        assert process_environment(process.pid) == []
    assert process_stat(process.pid) is None
    assert process_environment(process.pid) == []


@pytest.mark.parametrize("signal", range(1, 65))
def test_every_signal_that_ends_a_process_has_a_text(signal: int) -> None:
    known = {9: "SIGKILL", 15: "SIGTERM", 40: "signal 40"}
    assert ended(-signal) == known.get(signal, ended(-signal))
    assert ended(-signal)
    assert ended(signal) == f"exit code {signal}"


def test_a_child_is_a_fork_until_it_calls_exec() -> None:
    with killed(sys.executable, "-c", FORKS) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        child = int(parent.stdout.readline())

        def stats() -> list[bool]:
            return [stat.is_fork for pid in (parent.pid, child) if (stat := process_stat(pid))]

        assert stats() == [False, True]
        parent.stdin.close()
        assert wait_until(lambda: stats() == [False, False])
        os.kill(child, 9)


@pytest.mark.parametrize("name", ["a b", "a) Z 1 (", "((", ") )"])
def test_a_program_may_have_any_name(tmp_path: Path, name: str) -> None:
    program = tmp_path / name
    program.symlink_to("/bin/cat")
    with killed(program) as process:
        assert wait_until(lambda: (stat := process_stat(process.pid)) and stat.name == name)
        stat = process_stat(process.pid)
        assert stat is not None
        assert stat.parent == os.getpid()
        assert is_running(process.pid)
