"""What the kernel says of processes, and how they end (Linux)."""

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

#: From <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1
#: From <linux/sched.h>: a process that was forked, and has not called exec.
_PF_FORKNOEXEC = 0x40
#: How long a process may take from the start of exec until it has an environment.
_EXEC_SECONDS = 1.0


class ProcessStat(NamedTuple):
    """The fields of /proc/PID/stat that are used here (proc_pid_stat(5)).

    Args:
        name: of the program, at most 15 bytes.
        state: one letter. Z is a process that has ended, and that its parent has not waited for.
        parent: its process id.
        flags: the kernel's, as in <linux/sched.h>.
        size: of its memory in bytes; 0 for a zombie and for a thread of the kernel.
        code: the address of the program's code; 0 while exec loads it.
        environment: the address of its environment.
    """

    name: str
    state: str
    parent: int
    flags: int
    size: int
    code: int
    environment: int

    @property
    def is_fork(self) -> bool:
        """Whether it has not called exec since it was forked. Its environment and command line are
        those of its parent, also if it will call exec with others in a moment.
        """
        return bool(self.flags & _PF_FORKNOEXEC)

    @property
    def program(self) -> tuple[int, int]:
        """Changes with exec: the kernel places a program's environment at a random address."""
        return self.code, self.environment


def process_stat(process: int) -> ProcessStat | None:
    """What /proc says of a process; None if there is no such process."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(errors="replace")
    except OSError:
        return None
    name, _, rest = stat.partition("(")[2].rpartition(")")  # a name can have parentheses
    fields = rest.split()  # from the third on, in the numbers of the manual
    return ProcessStat(name, fields[0], *(int(fields[at]) for at in (1, 6, 20, 23, 47)))


def is_running(process: int) -> bool:
    """Whether a process runs. One that has ended does not, even if its parent, a shell script for
    example, never waits for it, and the kernel keeps its entry.
    """
    stat = process_stat(process)
    return stat is not None and stat.state not in ("Z", "X")


def process_environment(process: int) -> list[bytes]:
    """The environment with which a process was started, as NAME=value. Empty for a process that has
    ended, and for another user's.

    While exec replaces a program, its environment is empty as well; this waits for the end of it.
    """
    deadline = time.monotonic() + _EXEC_SECONDS
    program = None
    while time.monotonic() < deadline:
        try:
            environment = Path(f"/proc/{process}/environ").read_bytes()
        except OSError:
            break
        if environment:
            return environment.rstrip(b"\0").split(b"\0")
        stat = process_stat(process)
        if stat is None or not stat.size:
            break
        if stat.code and stat.program == program:  # no exec since the look before
            break
        program = stat.program
    return []


def die_with_parent(run: int | None = None, by: signal.Signals = signal.SIGKILL) -> None:
    """Makes the kernel end this process when its parent dies for whatever reason. Does nothing on
    other systems than Linux.

    Args:
        run: a process; if it does not run any more, this process exits now. The kernel does not
            report a parent that died before this call.
        by: the signal. SIGTERM lets this process stop its own children.
    """
    if os.uname().sysname == "Linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)
        if run is not None and not is_running(run):
            os._exit(1)


def ended(code: int) -> str:
    """How a process ended, for a message: its exit code or signal."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time signal, most of which have no name
        return f"signal {-code}"
