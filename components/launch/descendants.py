"""The processes that this process has started, and those that they have started (Linux)."""

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

#: From <linux/prctl.h>.
PR_SET_CHILD_SUBREAPER = 36
#: How long a killed process may take to end before it is looked for again.
_POLL_SECONDS = 0.01


class Child(NamedTuple):
    """pid: its process id. name: of its program, at most 15 bytes. state: one letter; Z is one
    that has ended, and that this process has not waited for.
    """

    pid: int
    name: str
    state: str


def adopt_orphans() -> None:
    """Makes orphaned descendants children of this process (a child subreaper)."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def children(process: int | None = None) -> list[Child]:
    """The children of a process; by default of this one.

    Reads the parent of each process of the machine. /proc/self/task/*/children is shorter, but it
    leaves children out when a process ends meanwhile (proc(5)), and its files vanish with the
    threads of the process.
    """
    parent_pid = process or os.getpid()
    rows = map(_parent_and_child, Path("/proc").glob("[0-9]*"))
    return [child for parent, child in filter(None, rows) if parent == parent_pid]


def _parent_and_child(folder: Path) -> tuple[int, Child] | None:
    """None for a process that has ended and that was waited for."""
    try:
        stat = (folder / "stat").read_text(errors="replace")
    except OSError:
        return None
    name, _, rest = stat.partition("(")[2].rpartition(")")  # a name can have parentheses
    state, parent = rest.split()[:2]
    return int(parent), Child(int(folder.name), name, state)


def end_descendants() -> None:
    """Kills all descendants of this process, which has called `adopt_orphans`, and waits until the
    kernel knows no child of it.
    """
    while True:
        for child in children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(_POLL_SECONDS)
