"""A local Ray that lives as long as this process: python -m components.launch.head CPUS FILE.

It writes its address to FILE. It is a child of a local run and ends with it; Ray's own processes
end with this one.
"""

import contextlib
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
#: Servers that Ray cannot start without. It does not notice that one ends while it starts.
_SERVERS = ("gcs_server", "raylet")
#: How often Ray is started, and the variable with the number of the attempt.
_ATTEMPTS, _ATTEMPT = 3, "XSTILTS_RAY_ATTEMPT"


def main(cpus: int, address_file: Path) -> None:
    """Starts Ray, writes its address to a file atomically, and waits for SIGTERM. If a process of
    Ray ends, writes which one to FILE with the suffix `.ended`, and exits.

    If a server of Ray ends while Ray starts (another process took its port, for example), all of it
    is started again.
    """
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # SIGTERM, not SIGKILL: Ray's processes would outlive this one.
    die_with_parent(int(os.environ["XSTILTS_LOCAL"]), signal.SIGTERM)
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    import ray

    attempt = int(os.environ.get(_ATTEMPT, "1"))
    try:  # Ray replaces our SIGTERM handler by one that raises the same exception
        seconds = ray_start_seconds()
        with private_ray.agent_ports(), private_ray.patient(seconds, _check_servers):
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
    except Exception as error:
        if attempt == _ATTEMPTS or not (server := ended_server()):
            raise
        message = f"Ray's {server} ended while Ray started: attempt {attempt} of {_ATTEMPTS}"
        print(f"{message} ({error})", file=sys.stderr, flush=True)
    finally:
        ray.shutdown()
        end_descendants()  # agents that are still starting would retry for a minute
    # A new program: ray.init cannot be called again after it failed.
    os.environ[_ATTEMPT] = str(attempt + 1)
    arguments = ["-m", "components.launch.head", str(cpus), str(address_file)]
    os.execv(sys.executable, [sys.executable, *arguments])


def ended_server() -> str | None:
    """The name of one of Ray's servers, a child of this process, that has ended."""
    for pid in _children():
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_text()
            name, state = stat.partition("(")[2].rpartition(")")[::2]
            if name in _SERVERS and state.split()[0] == "Z":
                return name
    return None


def _check_servers() -> None:
    if server := ended_server():
        raise InfrastructureError(f"no {server}")


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
    while children := _children():
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _children() -> list[int]:
    """Process ids of children, also of those that have ended and were not waited for."""
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
