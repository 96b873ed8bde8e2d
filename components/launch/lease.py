"""The lease of a group's job: a key in the store that the step renews and the Ray driver watches.

`runs/<run>/leases/<kind>-<group>.json` {holder, beat, renewed, seconds, cancelled}. A terminated
step has no time to clean up, and the driver has no access to Kubernetes, so the driver exits when
the lease is not renewed. `runs/<run>/cancelled.json` cancels all groups of a run; renewals do not
overwrite it.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from xstilts.environment import seconds_setting
from xstilts.errors import StoreError
from xstilts.store.store import Store

SECONDS = 180.0
#: Lifetimes for which a driver continues when it cannot read the store, which may recover.
UNREADABLE = 4.0
#: Allowed difference between two machines' clocks where a lease is judged by its time stamp.
SKEW_SECONDS = 60.0

Lease = Mapping[str, Any]
Status = Literal["held", "expired", "cancelled", "absent"]
log = logging.getLogger(__name__)


def seconds() -> float:
    """How long a lease lasts: XSTILTS_LEASE_SECONDS, or 180."""
    return seconds_setting("XSTILTS_LEASE_SECONDS", SECONDS)


def work_of(kind: str, group: str) -> str:
    """The name of a lease. Training and scoring of a group have separate leases: a training job
    that could not be removed must not live on the lease of the scoring after it.
    """
    return f"{kind}-{group}"


def lease_key(folder: str, work: str) -> str:
    """folder: `runs/<run>`."""
    return f"{folder}/leases/{work}.json"


def cancelled_key(folder: str) -> str:
    return f"{folder}/cancelled.json"


def cancel(store: Store, folder: str) -> None:
    """Cancels every group of a run with one PUT: drivers exit and steps stop waiting."""
    store.put_json(cancelled_key(folder), {"cancelled": time.time()})


def is_cancelled(store: Store, folder: str, work: str) -> bool:
    """Whether the run, or this work of it, was cancelled."""
    return _cancels(store, folder, store.get_json(lease_key(folder, work)))


def _cancels(store: Store, folder: str, lease: Lease | None) -> bool:
    """Whether a lease that was read, or its run, is cancelled."""
    return bool((lease or {}).get("cancelled")) or store.get_json(cancelled_key(folder)) is not None


def status(store: Store, folder: str, work: str, now: float) -> Status:
    """The state of a lease at `now` (seconds since the epoch), from a single read."""
    lease = store.get_json(lease_key(folder, work))
    if _cancels(store, folder, lease):
        return "cancelled"
    if lease is None:
        return "absent"
    return "held" if now <= lease["renewed"] + lease["seconds"] + SKEW_SECONDS else "expired"


class Keeper:
    """Renews a lease in a thread while the body runs, six times per lifetime, and deletes it at the
    end. `cancelled` is set once the lease is cancelled. Failed renewals are retried.

    Two attempts of a step can overlap, if the pod of the first one ends slowly. Neither deletes the
    lease then: the work of the other would be removed. It expires instead.
    """

    def __init__(
        self, store: Store, folder: str, work: str, holder: str, lifetime: float | None = None
    ) -> None:
        self.store, self.folder, self.work, self.holder = store, folder, work, holder
        self.lifetime = lifetime or seconds()
        self.cancelled = threading.Event()
        self._stop = threading.Event()
        self._beat = 0
        self._shared = False
        self._thread = threading.Thread(target=self._keep_renewing, name="lease", daemon=True)

    def renew(self) -> None:
        """One renewal; a cancelled lease is not renewed."""
        lease = self._read()
        if _cancels(self.store, self.folder, lease):
            self.cancelled.set()
            return
        self._shared |= self._beat > 0 and not self._holds(lease)
        self._beat += 1
        document = {
            "holder": self.holder,
            "beat": self._beat,
            "renewed": time.time(),
            "seconds": self.lifetime,
        }
        self.store.put_json(lease_key(self.folder, self.work), document)

    def _read(self) -> Lease | None:
        lease: Lease | None = self.store.get_json(lease_key(self.folder, self.work))
        return lease

    def _holds(self, lease: Lease | None) -> bool:
        """Whether the last renewal was by this holder."""
        return lease is not None and lease.get("holder") == self.holder

    def _keep_renewing(self) -> None:
        while not self._stop.wait(self.lifetime / 6):
            try:
                self.renew()
            except Exception as error:  # noqa: BLE001  without renewals the job would end
                log.warning("cannot renew the lease of %s, retrying: %s", self.work, error)

    def __enter__(self) -> "Keeper":
        self.renew()  # raises: without a store the step must not start
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(self.lifetime)
        try:
            lease = self._read()
            cancelled = _cancels(self.store, self.folder, lease)
            if not cancelled and not self._shared and self._holds(lease):
                self.store.delete(lease_key(self.folder, self.work))
        except StoreError as lost:
            log.warning("cannot delete the lease of %s, it will expire: %s", self.work, lost)


@dataclass
class Guard:
    """Judges a lease by whether it changes, on its own clock, independent of other machines."""

    lifetime: float
    started: float
    last: tuple[Any, ...] | None = None
    changed: float | None = None
    read: float | None = None

    def see(self, lease: Mapping[str, Any] | None, cancelled: bool, now: float) -> str | None:
        """Records a read of the lease at `now`; returns why the work must end, or None."""
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
            return f"lease not renewed for {now - since:.0f} s: the waiting step is gone"
        return None

    def blind(self, now: float) -> str | None:
        """Records a failed read at `now`; returns why the work must end, or None."""
        since = self.started if self.read is None else self.read
        if now - since > UNREADABLE * self.lifetime:
            return f"the lease could not be read for {now - since:.0f} s: the store is unreachable"
        return None


def watch(
    store: Store, folder: str, work: str, end: Callable[[str], None], stop: threading.Event,
    lifetime: float | None = None, clock: Callable[[], float] = time.monotonic,
) -> None:  # fmt: skip
    """Polls the lease until `stop` is set; calls `end` with the reason once the work must end."""
    lifetime = lifetime or seconds()
    guard = Guard(lifetime, clock())
    while True:
        try:
            lease = store.get_json(lease_key(folder, work))
            reason = guard.see(lease, store.get_json(cancelled_key(folder)) is not None, clock())
        except StoreError as error:
            log.warning("cannot read the lease of %s: %s", work, error)
            reason = guard.blind(clock())
        if reason:
            return end(reason)
        if stop.wait(lifetime / 12):
            return None
