"""The processes that this process has started, and those that they have started (Linux)."""

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

from xstilts.processes import ProcessStat, process_stat

#: From <linux/prctl.h>.
PR_SET_CHILD_SUBREAPER = 36
#: How long a killed process may take to end before it is looked for again.
_POLL_SECONDS = 0.01


def adopt_orphans() -> None:
    """Makes orphaned descendants children of this process (a child subreaper)."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def children(process: int | None = None) -> dict[int, ProcessStat]:
    """Process id → what is known of it, of each child of a process; by default of this one.

    Reads the parent of each process of the machine. /proc/self/task/*/children is shorter, but it
    leaves children out when a process ends meanwhile (proc(5)), and its files vanish with the
    threads of the process.
    """
    parent = process or os.getpid()
    stats = {int(each.name): process_stat(int(each.name)) for each in Path("/proc").glob("[0-9]*")}
    return {pid: stat for pid, stat in stats.items() if stat is not None and stat.parent == parent}


def end_descendants() -> None:
    """Kills all descendants of this process, which has called `adopt_orphans`, and waits until the
    kernel knows no child of it.
    """
    while True:
        for pid in children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(_POLL_SECONDS)
