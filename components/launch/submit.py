"""Starts a group's job and waits until the store has its results or the job has failed.

All launchers use the same loop. Only the store decides whether the work is done; the polled status
shows when to ask it, and why a job ended.
"""

import logging
import math
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from components.launch.backends import (
    OUTAGE_SECONDS,
    Backend,
    LocalBackend,
    RayBackend,
    RayJobBackend,
    ray_api,
)
from components.launch.kubernetes import Api
from components.launch.lease import Keeper, is_cancelled, work_of
from components.launch.state import Memory, after, decide, remember
from components.launch.waiting import Waiting, clear, record
from xstilts.errors import InfrastructureError, StoreError
from xstilts.runs.folder import open_run, settled
from xstilts.store.store import Store

POLL_SECONDS = 5.0
#: Phase of a job → how often its objects are read to say why it waits.
REASON_SECONDS = {"queue": 10.0, "start": 10.0, "run": 60.0}
#: Phase of a job → the state of its record.
STATES: Mapping[str, Literal["queued", "pending", "running"]] = {
    "queue": "queued", "start": "pending", "run": "running",
}  # fmt: skip
#: Records that a job waits: its phase and the reasons.
Note = Callable[[str | None, list[str]], None]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """Polling interval and clock of the loop."""

    poll: float = POLL_SECONDS
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


def follow(
    backend: Backend,
    is_settled: Callable[[], bool],
    is_cancelled: Callable[[], bool],
    pace: Pace | None = None,
    note: Note = lambda phase, reasons: None,
) -> None:
    """Runs a job to its end and removes it. Returns once the work is settled or the job reports
    SUCCEEDED. Raises InfrastructureError, with the reason and what to do, if it failed, was lost
    too often or was cancelled.

    Args:
        backend: where the job runs.
        is_settled: whether the store has the job's results or failures.
        is_cancelled: whether the run was cancelled.
        pace: polling interval and clock.
        note: called with the phase of a waiting job and the reasons.
    """
    pace = pace or Pace()
    memory, last = Memory(), ""
    reasons, phase, read = list[str](), None, -math.inf
    outage: float | None = None
    while True:
        seen, now = backend.observe(), pace.clock()
        memory = remember(memory, seen, now)
        try:
            done, outage = seen.worth_asking and is_settled(), None
        except StoreError as error:  # the job may be done: wait for the store
            outage = now if outage is None else outage
            if now - outage > OUTAGE_SECONDS:
                raise
            log.warning(
                "%s: cannot ask the store whether its work is done, retrying: %s",
                backend.name,
                error,
            )
            pace.sleep(pace.poll)
            continue
        decision = decide(seen, memory, now, done, is_cancelled(), backend.limits)
        due = now - read >= REASON_SECONDS.get(memory.phase or "", math.inf)
        if decision.action == "wait" and (due or memory.phase != phase):
            reasons, phase, read = backend.reasons(), memory.phase, now
            note(phase, reasons)
        why = [decision.why, *(reasons if decision.action == "wait" else [])]
        line = f"{decision.action} {'; '.join(why)}".strip()
        if line != last:
            log.warning("%s: %s", backend.name, line)
            last = line
        if decision.action == "create":
            backend.create()
        elif decision.action == "adopt":
            backend.adopt()
        elif decision.action == "replace":
            backend.delete()
        elif decision.action in ("done", "fail", "cancel"):
            if decision.action == "fail":  # its pods may be gone: then the last known reasons
                reasons = backend.reasons() or reasons
            why = [decision.why, *(reasons if decision.action == "fail" else [])]
            _remove(backend)
            if decision.action == "done":
                return
            raise InfrastructureError(f"{backend.name}: {'; '.join(why)}")
        memory = after(memory, decision.action)
        if decision.action == "wait":
            pace.sleep(pace.poll)


def _remove(backend: Backend) -> None:
    try:
        backend.delete()
    except InfrastructureError as error:  # the outcome stands, and the job has no lease
        log.warning("cannot remove %s, garbage collection will: %s", backend.name, error)


class WaitRecord:
    """Records in the run's folder that and why a job waits. The job does not depend on it: a store
    that cannot be reached causes a warning only.
    """

    def __init__(self, store: Store, folder: str, waiting: Waiting) -> None:
        self.store, self.folder, self.waiting = store, folder, waiting
        self._written: Waiting | None = None

    def note(self, phase: str | None, reasons: list[str]) -> None:
        """Writes the record if it has changed; deletes it for a job that runs."""
        state = STATES.get(phase or "")
        if state is None or (state == "running" and not reasons):
            return self.clear()
        since = self._written.since if self._written else time.time()
        waiting = replace(self.waiting, state=state, since=since, reasons=tuple(reasons))
        if waiting != self._written:
            try:
                record(self.store, self.folder, waiting)
                self._written = waiting
            except StoreError as error:
                log.warning("cannot record why %s waits: %s", self.waiting.job, error)
        return None

    def clear(self) -> None:
        if self._written is not None:
            try:
                clear(self.store, self.folder, work_of(self.waiting.kind, self.waiting.group))
                self._written = None
            except StoreError as error:
                log.warning("cannot delete why %s waits: %s", self.waiting.job, error)

    def __enter__(self) -> "WaitRecord":
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()


def _leased(backend: Backend, config: Mapping[str, Any], pace: Pace | None = None) -> None:
    store, folder = open_run(config["run_uri"])
    group, kind = config["group"], config["kind"]
    work = work_of(kind, group)

    def is_settled() -> bool:
        return settled(store, folder, group, kind)

    if not backend.leased:
        follow(backend, is_settled, lambda: False, pace)
        return
    if is_cancelled(store, folder, work):
        raise InfrastructureError(f"{config['run_uri']} was cancelled; submit it again to resume")
    holder = os.environ.get("XSTILTS_POD_UID") or f"{socket.gethostname()}/{os.getpid()}"
    waiting = Waiting(kind, group, backend.name, backend.namespace)
    with Keeper(store, folder, work, holder) as keeper, WaitRecord(store, folder, waiting) as waits:
        follow(backend, is_settled, keeper.cancelled.is_set, pace, waits.note)


def rayjob(
    worker: str, config: Mapping[str, Any], resources: Mapping[str, Any], pace: Pace | None = None
) -> None:
    """Runs a group as a RayJob in the step's cluster."""
    _leased(RayJobBackend(resources, os.environ, config, Api.in_cluster()), config, pace)


def ray(
    worker: str, config: Mapping[str, Any], resources: Mapping[str, Any], pace: Pace | None = None
) -> None:
    """Runs a group on the Ray cluster at XSTILTS_RAY_ADDRESS, which has the worker image and S3
    credentials.
    """
    api = ray_api(os.environ.get("XSTILTS_RAY_ADDRESS", ""))
    _leased(RayBackend(resources, os.environ, config, api), config, pace)


def local(
    worker: str, config: Mapping[str, Any], resources: Mapping[str, Any], pace: Pace | None = None
) -> None:
    """Runs a group on this machine's Ray."""

    def run() -> None:
        from components.launch.local import launch

        launch(worker, config, resources)

    _leased(LocalBackend(run, f"{config['kind']} of {config['group']}"), config, pace)
