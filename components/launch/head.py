"""A local Ray that lives as long as this process: python -m components.launch.head CPUS FILE.

It is a child of a local run and ends with it, and all of Ray's processes end with it. Ray itself
runs in a child (ray_node.py), which writes its address to FILE. Whatever happens there, this
process, with one thread and no library, is left to end the rest.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from components.launch.descendants import adopt_orphans, end_descendants
from xstilts.processes import die_with_parent, ended

#: The exit code of ray_node.py if one of Ray's servers ended while Ray started (EX_TEMPFAIL of
#: <sysexits.h>).
SERVER_ENDED = 75
#: How often Ray is started.
_ATTEMPTS = 3
#: Blocked, and waited for: no exception of a signal handler can skip the end of Ray's processes.
_SIGNALS = {signal.SIGTERM, signal.SIGCHLD}


def ended_file(address_file: Path) -> Path:
    """Says which process of Ray ended, and how."""
    return address_file.with_suffix(".ended")


def main(cpus: int, address_file: Path, node: str = "components.launch.ray_node") -> int:
    """Runs the module `node` until SIGTERM, or until it ends. Returns the exit code.

    If a server of Ray ends while Ray starts (another process took its port, for example), all of it
    is started again.
    """
    adopt_orphans()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    # SIGTERM, not SIGKILL: Ray's processes would outlive this one.
    die_with_parent(int(os.environ["XSTILTS_LOCAL"]), signal.SIGTERM)
    command = [sys.executable, "-m", node, str(cpus), str(address_file)]
    for attempt in range(1, _ATTEMPTS + 1):
        code = _run(command)
        end_descendants()  # agents that are still starting would retry for a minute
        if code != SERVER_ENDED:
            break
        print(f"attempt {attempt} of {_ATTEMPTS} to start Ray failed", file=sys.stderr, flush=True)
    if code < 0:
        ended_file(address_file).write_text(f"driver ended ({ended(code)})")
    return code if code >= 0 else 128 - code


def _run(command: list[str]) -> int:
    """Runs a program until it ends, and returns its exit code; at SIGTERM returns 0 at once."""
    process = subprocess.Popen(command)
    while process.poll() is None:
        if signal.sigwait(_SIGNALS) == signal.SIGTERM:
            return 0
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2])))
