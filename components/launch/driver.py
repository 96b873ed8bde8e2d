"""The program of a Ray job, on the head: python -m components.launch.driver RUN_URI GROUP KIND.

A thread watches the group's lease. When it expires, because the waiting step was terminated or the
run was cancelled, the driver exits, and with it the job and its workers. Starting it twice is safe:
finished steps are skipped and an unfinished one resumes from its checkpoint. The end of its output
is stored in the run's folder.
"""

import logging
import os
import sys
import threading
import traceback

from components.launch.lease import watch, work_of
from components.launch.log import Copy, own_output
from components.launch.state import LEASE_LOST
from xstilts.errors import XstiltsError
from xstilts.runs.actions import WORKERS
from xstilts.runs.folder import open_run, settled, spec_of
from xstilts.store.store import Store

log = logging.getLogger(__name__)


def main(run_uri: str, group: str, kind: str) -> None:
    """Runs the steps of a kind in a group. Exits the process with an error's exit code, or with
    LEASE_LOST.
    """
    store, folder = open_run(run_uri)
    if settled(store, folder, group, kind):
        return
    with Copy(lambda: (store, folder), group, kind, own_output()) as copy:
        log.info("%s of %s, for %s", kind, group, run_uri)
        try:
            _work(store, folder, group, kind, run_uri, copy)
        except XstiltsError as error:
            print(f"xstilts: {error}", file=sys.stderr, flush=True)
            sys.exit(error.exit_code)
        except Exception:  # noqa: BLE001  printed here, so that it is in the stored log
            traceback.print_exc()
            sys.exit(1)


def _work(store: Store, folder: str, group: str, kind: str, run_uri: str, copy: Copy) -> None:
    def end(reason: str) -> None:
        """Ends this process at once; Ray then ends all workers of its job."""
        try:
            print(f"exiting: {reason}", file=sys.stderr, flush=True)
            copy.last()
        finally:  # even if the disk is full
            os._exit(LEASE_LOST)

    def guarded() -> None:
        try:
            watch(store, folder, work_of(kind, group), end, stop)
        except BaseException as error:  # noqa: BLE001  never hold GPUs without a watched lease
            end(f"cannot watch the lease ({type(error).__name__}: {error})")

    spec, steps = spec_of(store, folder, group)
    stop = threading.Event()
    threading.Thread(target=guarded, name="lease", daemon=True).start()
    from components.launch.local import launch

    resources = steps[spec[kind][0]].settings
    launch(
        WORKERS[kind],
        {"run_uri": run_uri, "group": group, "kind": kind},
        resources,
        on_cluster=True,
    )
    stop.set()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        main(*sys.argv[1:4])
    except XstiltsError as error:
        print(f"xstilts: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
