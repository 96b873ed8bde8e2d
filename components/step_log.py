"""Stores the log of a task of KFP in the run's folder, where it outlives the pod.

KFP deletes finished workflows with their pods, by default an hour after their end.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

from components.launch.log import LAST_SECONDS, Copy, Place
from xstilts.errors import PlanError
from xstilts.runs.folder import open_run
from xstilts.store.store import Store


@contextlib.contextmanager
def kept(run_uri: str, kind: str, item: str = "") -> Iterator[None]:
    """Stores the output of this process while the body runs, and an error that it raises. It does
    nothing outside a pod: a local run has a log file.

    Args:
        run_uri: the run, or a schedule whose firing creates one.
        kind: the component.
        item: its batch or group.
    """
    pod = os.environ.get("XSTILTS_POD_NAME")
    if not pod:
        yield
        return
    attempt = int(os.environ.get("KFP_RETRY_INDEX") or 0) + 1
    with tempfile.TemporaryDirectory(prefix="xstilts-log-") as folder:
        file = Path(folder) / "log"
        file.touch()
        with Copy(_place(run_uri), item, kind, file, pod, attempt):
            try:
                with _duplicated(file):
                    yield
            except BaseException as error:  # KFP prints it when this log has ended
                with file.open("a") as stream:
                    stream.write("".join(traceback.format_exception(error)))
                raise


def _place(run_uri: str) -> Place:
    """Opens the run when its folder exists: the plan step of a firing creates it."""
    places: list[tuple[Store, str]] = []

    def place() -> tuple[Store, str] | None:
        if not places:
            try:
                places.append(open_run(run_uri))
            except PlanError:
                return None
        return places[0]

    return place


@contextlib.contextmanager
def _duplicated(file: Path) -> Iterator[None]:
    """Writes the output of this process and its children to a file as well. A process of its own
    copies it, so that nothing is lost if this one is killed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    tee = subprocess.Popen(["tee", "-a", str(file)], stdin=subprocess.PIPE, stdout=saved[0])
    assert tee.stdin is not None
    for descriptor in (1, 2):
        os.dup2(tee.stdin.fileno(), descriptor)
    tee.stdin.close()
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, original in enumerate(saved, start=1):
            os.dup2(original, descriptor)
            os.close(original)
        with contextlib.suppress(subprocess.TimeoutExpired):  # a child of the body still writes
            tee.wait(LAST_SECONDS)
