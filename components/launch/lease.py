"""The lease of a group's work on its GPUs: a key in the store that the step renews while it lives,
and the Ray driver watches.

`runs/<run>/leases/<kind>-<group>.json` {holder, beat, renewed, seconds, cancelled}. A terminated
step can clean nothing up: it is gone within a tenth of a second. So the driver, which may ask
nothing of Kubernetes, ends itself when the lease is no longer renewed. `runs/<run>/cancelled.json`
cancels all groups of a run; no renewal can overwrite it.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from xstilts.errors import StoreError
from xstilts.store.store import Store

SECONDS = 180.0
#: How much longer a driver that cannot read the store goes on: it can save nothing either, but the
#: store may come back.
UNREADABLE = 4.0
#: Between two machines' clocks, when one must judge another's lease by the time written in it.
SKEW_SECONDS = 60.0

Status = Literal["held", "expired", "cancelled", "absent"]
log = logging.getLogger(__name__)


def seconds() -> float:
    """How long a lease lasts: XSTILTS_LEASE_SECONDS, or 180."""
    return float(os.environ.get("XSTILTS_LEASE_SECONDS") or SECONDS)


def work_of(kind: str, group: str) -> str:
    """What a lease is for. A group's training and its scoring have one each: a training job that
    could not be removed must not live on the lease of the scoring after it.
    """
    return f"{kind}-{group}"


def lease_key(folder: str, work: str) -> str:
    """folder: `runs/<run>`."""
    return f"{folder}/leases/{work}.json"


def cancelled_key(folder: str) -> str:
    return f"{folder}/cancelled.json"


def cancel(store: Store, folder: str) -> None:
    """Cancels every group of a run: their drivers end themselves, their steps stop waiting. One
    PUT.
    """
    store.put_json(cancelled_key(folder), {"cancelled": time.time()})


def is_cancelled(store: Store, folder: str, work: str) -> bool:
    """Whether the run, or this work of it, was cancelled."""
    lease = store.get_json(lease_key(folder, work)) or {}
    return bool(lease.get("cancelled")) or store.get_json(cancelled_key(folder)) is not None


def status(store: Store, folder: str, work: str, now: float) -> Status:
    """What the lease is at `now` (seconds since the epoch) for one who sees it once: the
    collector.
    """
    lease = store.get_json(lease_key(folder, work))
    if store.get_json(cancelled_key(folder)) is not None or (lease or {}).get("cancelled"):
        return "cancelled"
    if lease is None:
        return "absent"
    return "held" if now <= lease["renewed"] + lease["seconds"] + SKEW_SECONDS else "expired"


class Keeper:
    """Renews a lease in a thread for as long as the body runs, six times in its lifetime, and
    gives it up at the end. `cancelled` is set when somebody cancelled it; a store that is away
    for a while is waited for.
    """

    def __init__(
        self, store: Store, folder: str, work: str, holder: str, lifetime: float | None = None
    ) -> None:
        self.store, self.folder, self.work, self.holder = store, folder, work, holder
        self.lifetime = lifetime or seconds()
        self.cancelled = threading.Event()
        self._stop = threading.Event()
        self._beat = 0
        self._thread = threading.Thread(target=self._renew_on, name="lease", daemon=True)

    def renew(self) -> None:
        """One renewal; a cancelled lease is not renewed."""
        if is_cancelled(self.store, self.folder, self.work):
            self.cancelled.set()
            return
        self._beat += 1
        document = {
            "holder": self.holder,
            "beat": self._beat,
            "renewed": time.time(),
            "seconds": self.lifetime,
        }
        self.store.put_json(lease_key(self.folder, self.work), document)

    def _renew_on(self) -> None:
        while not self._stop.wait(self.lifetime / 6):
            try:
                self.renew()
            except Exception as error:  # noqa: BLE001  without this thread the job would be ended as nobody's
                log.warning(
                    "the lease of %s could not be renewed, trying again: %s", self.work, error
                )

    def __enter__(self) -> "Keeper":
        self.renew()  # an error here is the step's: there is no point in starting without a store
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(self.lifetime)
        try:
            if not is_cancelled(self.store, self.folder, self.work):
                self.store.delete(lease_key(self.folder, self.work))
        except StoreError as gone:
            log.warning(
                "the lease of %s could not be given up, it will expire: %s", self.work, gone
            )


@dataclass
class Guard:
    """Judges a lease by whether it changes, on the guard's own clock: two machines' clocks need
    not agree.
    """

    lifetime: float
    started: float
    last: tuple[Any, ...] | None = None
    changed: float | None = None
    read: float | None = None

    def see(self, lease: Mapping[str, Any] | None, cancelled: bool, now: float) -> str | None:
        """Takes in what the store holds at `now`; returns why the work must end, or None."""
        self.read = now
        if cancelled or (lease or {}).get("cancelled"):
            return "the run was cancelled"
        mark = (
            None
            if lease is None
            else (lease.get("holder"), lease.get("beat"), lease.get("renewed"))
        )
        if mark is not None and mark != self.last:
            self.last, self.changed = mark, now
        since = self.started if self.changed is None else self.changed
        if now - since > self.lifetime:
            return f"its lease was not renewed for {now - since:.0f} s: the step that waits for it is gone"
        return None

    def blind(self, now: float) -> str | None:
        """The store cannot be read at `now`; returns why the work must end, or None."""
        since = self.started if self.read is None else self.read
        if now - since > UNREADABLE * self.lifetime:
            return f"the store, and so the lease, could not be read for {now - since:.0f} s"
        return None


def watch(
    store: Store, folder: str, work: str, end: Callable[[str], None], stop: threading.Event,
    lifetime: float | None = None, clock: Callable[[], float] = time.monotonic,
) -> None:  # fmt: skip
    """Looks at the lease until `stop` is set, and calls `end` with the reason once the work must
    end. What the driver's thread runs.
    """
    lifetime = lifetime or seconds()
    guard = Guard(lifetime, clock())
    while True:
        try:
            lease = store.get_json(lease_key(folder, work))
            why = guard.see(lease, store.get_json(cancelled_key(folder)) is not None, clock())
        except StoreError as error:
            log.warning("the lease of %s could not be read: %s", work, error)
            why = guard.blind(clock())
        if why:
            return end(why)
        if stop.wait(lifetime / 12):
            return None
