"""One local Ray, for as long as this process lives: python -m components.launch.head CPUS
ADDRESS_FILE.

Started by a local run as a child that dies with it; Ray's own processes die with this one.
"""

import ctypes
import logging
import os
import signal
import sys
from pathlib import Path

from components.launch.local import ENVIRONMENT
from xstilts.store.server import die_with_parent

#: From <linux/prctl.h>.
PR_SET_CHILD_SUBREAPER = 36


def main(cpus: int, address_file: Path) -> None:
    """Starts Ray, writes its address to a file (whole or not at all), and waits to be ended."""
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    die_with_parent(
        int(os.environ["XSTILTS_LOCAL"]), signal.SIGTERM
    )  # Ray's processes would outlive a SIGKILL of this one
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    import ray

    try:  # Ray's own handler of SIGTERM, which takes ours' place, ends in the same exception
        context = ray.init(
            address="local", num_cpus=cpus, include_dashboard=False, logging_level=logging.WARNING
        )
        part = address_file.with_suffix(".part")
        part.write_text(context.address_info["address"])
        os.replace(part, address_file)
        signal.pause()
    finally:
        ray.shutdown()
        end_descendants()  # agents that lose their Ray while they start would try to report it for a minute


def adopt_orphans() -> None:
    """Processes whose parent ends become this one's children (Linux's child subreaper)."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def end_descendants() -> None:
    """Kills what is left below this process."""
    while children := [
        int(pid)
        for tasks in Path("/proc/self/task").glob("*/children")
        for pid in tasks.read_text().split()
    ]:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
