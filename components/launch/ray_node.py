"""Starts a Ray of this machine and watches it: python -m components.launch.ray_node CPUS FILE.

A child of head.py, which ends all that is started here.
"""

import logging
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from components.launch import private_ray
from components.launch.descendants import children
from components.launch.head import SERVER_ENDED, ended_file
from components.launch.local import ray_start_seconds, set_environment
from xstilts.errors import InfrastructureError
from xstilts.new_files import new_file
from xstilts.processes import die_with_parent, ended

#: Servers that Ray cannot start without.
_SERVERS = ("gcs_server", "raylet")


def main(cpus: int, address_file: Path) -> int:
    """Starts Ray, writes its address to a file atomically, and waits until a process of Ray ends.
    Returns the exit code.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # Ray's processes inherit it
    die_with_parent(int(os.environ["XSTILTS_LOCAL"]))
    set_environment()
    import ray

    started = threading.Event()
    threading.Thread(target=_exit_with_servers, args=(started,), daemon=True).start()
    with private_ray.agent_ports(), private_ray.patient(ray_start_seconds()):
        context = ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            logging_level=logging.WARNING,
        )
    started.set()
    with new_file(address_file) as part:
        part.write_text(context.address_info["address"])
    ended_file(address_file).write_text(_first_death())
    return InfrastructureError.exit_code


def _exit_with_servers(started: threading.Event) -> None:
    """Exits if one of Ray's servers ends while Ray starts: ray.init would wait for it."""
    while not started.wait(0.2):
        for child in children().values():
            if child.name in _SERVERS and child.state == "Z":
                print(f"Ray's {child.name} ended while Ray started", file=sys.stderr, flush=True)
                os._exit(SERVER_ENDED)


def _first_death() -> str:
    """Waits until a process of Ray ends; returns which one, and how."""
    from ray._private.worker import _global_node

    while not (dead := _global_node.dead_processes()):
        time.sleep(0.5)
    kind, process = dead[0]
    return f"{kind} ended ({ended(process.returncode)})"


def main_and_exit() -> None:
    """`main` with the command line's arguments. Exits without Ray's clean-up at exit, which would
    wait for what died.
    """
    code = 1
    try:
        code = main(int(sys.argv[1]), Path(sys.argv[2]))
    except Exception:  # noqa: BLE001 - printed, and the exit code says it
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main_and_exit()
