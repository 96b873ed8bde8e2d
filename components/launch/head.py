"""A local Ray that lives as long as this process: python -m components.launch.head CPUS FILE.

It writes its address to FILE. It is a child of a local run and ends with it; Ray's own processes
end with this one.
"""

import ctypes
import logging
import os
import signal
import sys
import time
from pathlib import Path

from components.launch import private_ray
from components.launch.local import ENVIRONMENT, ray_start_seconds
from xstilts.errors import InfrastructureError
from xstilts.store.server import die_with_parent, ended

#: From <linux/prctl.h>.
PR_SET_CHILD_SUBREAPER = 36


def main(cpus: int, address_file: Path) -> None:
    """Starts Ray, writes its address to a file atomically, and waits for SIGTERM. If a process of
    Ray ends, writes which one to FILE with the suffix `.ended`, and exits.
    """
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # SIGTERM, not SIGKILL: Ray's processes would outlive this one.
    die_with_parent(int(os.environ["XSTILTS_LOCAL"]), signal.SIGTERM)
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    import ray

    try:  # Ray replaces our SIGTERM handler by one that raises the same exception
        with private_ray.agent_ports(), private_ray.patient(ray_start_seconds()):
            context = ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                logging_level=logging.WARNING,
            )
        part = address_file.with_suffix(".part")
        part.write_text(context.address_info["address"])
        os.replace(part, address_file)
        address_file.with_suffix(".ended").write_text(_first_death())
        end_descendants()
        os._exit(InfrastructureError.exit_code)  # ray.shutdown would wait for what died
    finally:
        ray.shutdown()
        end_descendants()  # agents that are still starting would retry for a minute


def _first_death() -> str:
    """Waits until a process of Ray ends; returns which one, and how."""
    from ray._private.worker import _global_node

    while not (dead := _global_node.dead_processes()):
        time.sleep(0.5)
    kind, process = dead[0]
    return f"{kind} ended ({ended(process.returncode)})"


def adopt_orphans() -> None:
    """Makes orphaned descendants children of this process (Linux child subreaper)."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def end_descendants() -> None:
    """Kills all descendants of this process."""
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
