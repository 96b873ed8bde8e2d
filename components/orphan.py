"""Ends a local step when the run that started it is killed."""

import os
import threading
import time

#: Seconds between two checks of whether the run exists.
INTERVAL = 1.0


def end_with_parent() -> None:
    """Ends this process with the local run whose process id is XSTILTS_LOCAL; without that
    variable it does nothing. The kernel signals the death of the parent only, and KFP starts a
    step through a shell that outlives a killed run, so the run itself is watched as well.
    """
    run = os.environ.get("XSTILTS_LOCAL")
    if run and os.uname().sysname == "Linux":
        from xstilts.processes import die_with_parent, is_running

        def watch() -> None:
            while is_running(int(run)):
                time.sleep(INTERVAL)
            os._exit(1)

        die_with_parent(int(run))
        threading.Thread(target=watch, name="run-watch", daemon=True).start()
