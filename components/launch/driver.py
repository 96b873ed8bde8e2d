"""What a RayJob runs on its head: python -m components.launch.driver RUN_URI GROUP KIND.

Looks at the group's lease in a thread, and ends itself, and with it the job and its workers, when the lease is gone: the
step that waits for the job was terminated, or the run was cancelled. Starting it twice is safe: finished steps are
skipped and the one in flight resumes from its checkpoint.
"""

import logging
import os
import sys
import threading

from components.launch.lease import watch
from components.launch.state import LEASE_LOST
from xstilts.errors import XstiltsError
from xstilts.run import WORKERS, open_run, settled, spec_of


def end(why: str) -> None:
    """Ends this process at once. Ray then ends the workers of its job, wherever they are."""
    print(f"the job ends itself: {why}", file=sys.stderr, flush=True)
    os._exit(LEASE_LOST)


def main(run_uri: str, group: str, kind: str) -> None:
    store, folder = open_run(run_uri)
    spec, steps = spec_of(store, folder, group)
    if settled(store, folder, group, kind):
        return
    stop = threading.Event()
    guard = threading.Thread(target=watch, args=(store, folder, group, end, stop), name="lease", daemon=True)
    guard.start()
    from components.launch.local import launch

    resources = steps[spec[kind][0]].settings
    launch(WORKERS[kind], {"run_uri": run_uri, "group": group, "kind": kind}, resources, on_cluster=True)
    stop.set()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        main(*sys.argv[1:4])
    except XstiltsError as error:
        print(f"xstilts: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
