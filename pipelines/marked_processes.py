"""Processes that are known by a mark: a variable of their environment, which each process inherits
from the one that starts it, and keeps when that one ends.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

from pipelines.console import warn
from xstilts.processes import process_environment


def marked(mark: str) -> list[int]:
    """The ids of the processes of this user whose environment has `NAME=value`."""
    numbers = (entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in map(int, numbers) if mark.encode() in process_environment(pid)]


def kill_marked(mark: str, seconds: float) -> None:
    """Kills all processes with a mark, also those that are started meanwhile. Warns of those that
    are still there after some seconds.
    """
    deadline = time.monotonic() + seconds
    while pids := marked(mark):
        if time.monotonic() > deadline:
            warn(f"processes do not end: {', '.join(map(str, pids))}; kill them")
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
