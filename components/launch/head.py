"""One local Ray, for as long as this process lives: python -m components.launch.head CPUS ADDRESS_FILE.

Started by a local run as a child that dies with it; Ray's own processes die with this one.
"""

import logging
import os
import signal
import sys
from pathlib import Path

from components.launch.local import ENVIRONMENT
from xstilts.store.server import die_with_parent


def main(cpus: int, address_file: Path) -> None:
    """Starts Ray, writes its address to a file (whole or not at all), and waits to be ended."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    die_with_parent(
        int(os.environ["XSTILTS_LOCAL"]), signal.SIGTERM
    )  # Ray's processes would outlive a SIGKILL of this one
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    import ray

    context = ray.init(address="local", num_cpus=cpus, include_dashboard=False, logging_level=logging.WARNING)
    part = address_file.with_suffix(".part")
    part.write_text(context.address_info["address"])
    os.replace(part, address_file)
    try:
        signal.pause()
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
