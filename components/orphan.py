"""A local step ends when the run that started it is gone: a killed run leaves nothing behind
that computes on.
"""

import os
import threading
import time
from pathlib import Path

#: Seconds between two looks at whether the run is still there.
INTERVAL = 1.0


def end_with_parent() -> None:
    """Local runs only (`XSTILTS_LOCAL` is the run's process): this process ends when its parent
    dies, by the kernel, and when the run dies. KFP starts a step through a shell, which outlives
    a killed run: the kernel reports the shell's death only.
    """
    run = os.environ.get("XSTILTS_LOCAL")
    if run and os.uname().sysname == "Linux":
        from xstilts.store.server import die_with_parent

        die_with_parent(int(run))
        threading.Thread(
            target=_watch, args=(Path(f"/proc/{run}"),), name="run-watch", daemon=True
        ).start()


def _watch(run: Path) -> None:
    while run.exists():
        time.sleep(INTERVAL)
    os._exit(1)
