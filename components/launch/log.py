"""Stores the end of a log in the run's folder: `runs/<run>/logs/<kind>-<group>/<started>.json` of a
group's job on Ray, `runs/<run>/logs/step-<kind>-<item>/<started>.json` of a task's pod
(components/step_log.py).

Ray writes the output of the driver and of its workers to a file on the head, which is deleted with
the cluster. The driver copies the last part of that file to the store while it runs and when it
ends. Readers need only the store; Ray's dashboard would need rights to services/proxy, the
cluster's token and an opening in the network policies, and has no log of a deleted job. Values of
secrets in the environment are masked.
"""

import logging
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from components.launch.lease import seconds
from xstilts.document_shape import fields_in
from xstilts.errors import StoreError
from xstilts.store.store import Store

#: Bytes that are kept of a log.
KEPT = 200_000
#: How long an exiting driver waits for its log to be stored.
LAST_SECONDS = 5.0
_CHUNK = 1 << 20
#: Ends of the names of variables whose values are secrets.
SECRETS = ("_SECRET_ACCESS_KEY", "_TOKEN", "_COOKIE", "PASSWORD")
#: Shorter values are words, and masking them would hide text.
SHORTEST_SECRET = 8
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredLog:
    """The end of a log.

    Attributes:
        kind: of the steps, or the component of a task.
        group: of a job; of a task its batch or group, empty for plan and report.
        started: in UTC.
        before: the number of lines before `text`, which are not kept.
        text: the last lines.
        pod: the pod of a task; empty for a job on Ray.
        attempt: of a task, from 1.
    """

    kind: str
    group: str
    started: str
    before: int
    text: str
    pod: str = ""
    attempt: int = 1


def masked(text: str, environment: Mapping[str, str]) -> str:
    """A text without the values of the secrets in an environment."""
    for name, value in environment.items():
        if name.endswith(SECRETS) and len(value) >= SHORTEST_SECRET:
            text = text.replace(value, "***")
    return text


def logs_key(folder: str) -> str:
    """folder: `runs/<run>`."""
    return f"{folder}/logs/"


def stored_logs(
    store: Store, folder: str, known: Mapping[str, str] | None = None
) -> Iterator[tuple[str, str, StoredLog]]:
    """Yields (key, ETag, log) of every job of a run, by group and start. known: key → ETag of logs
    that need not be read again.
    """
    for key, (_, etag) in sorted(store.listing(logs_key(folder)).items()):
        if (known or {}).get(key) != etag and (document := store.get_json(key)) is not None:
            yield key, etag, StoredLog(**fields_in(document, StoredLog))


def own_output() -> Path | None:
    """The file to which this process writes its output, None for a terminal or a pipe."""
    return Path("/proc/self/fd/1") if stat.S_ISREG(os.fstat(1).st_mode) else None


class Tail:
    """The last lines of a growing file, at most `limit` bytes, and the number of lines before."""

    def __init__(self, path: Path, limit: int = KEPT) -> None:
        self.path, self.limit = path, limit
        self.before, self.kept = 0, b""
        self._at = 0

    def read(self) -> bool:
        """Reads what was appended since the last call; False if nothing was."""
        at = self._at
        with open(self.path, "rb") as stream:
            stream.seek(at)
            while chunk := stream.read(_CHUNK):
                self._at += len(chunk)
                self._take(self.kept + chunk)
        return self._at > at

    def _take(self, data: bytes) -> None:
        cut = max(len(data) - self.limit, 0)
        if cut:  # keep whole lines, unless one line is too long
            cut = data.find(b"\n", cut - 1) + 1 or cut
        self.before += data.count(b"\n", 0, cut)
        self.kept = data[cut:]


#: Where a log is stored: the store and the run's folder; None while the run has no folder.
Place = Callable[[], tuple[Store, str] | None]


class Copy:
    """Copies the end of this process's output to the store, at the lease's polling interval if it
    has grown, and when the body ends. An unreachable store causes a warning only. The thread is
    separate from the lease's, which must not be delayed.

    pod, attempt: of a task of KFP; see StoredLog.
    """

    def __init__(
        self, place: Place, group: str, kind: str, output: Path | None, pod: str = "",
        attempt: int = 1,
    ) -> None:  # fmt: skip
        self.place, self.group, self.kind, self.pod, self.attempt = place, group, kind, pod, attempt
        self.started = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self.name = f"{'step-' if pod else ''}{kind}-{group}".rstrip("-") + f"/{self.started}.json"
        self._tail = None if output is None else Tail(output)
        self._due = False
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._keep_on, name="log", daemon=True)

    def keep(self) -> None:
        """Stores the end of the log if it has grown."""
        if self._tail is None:
            return
        with self._lock:
            try:
                self._due = self._tail.read() or self._due
                if self._due and (place := self.place()) is not None:
                    store, folder = place
                    store.put_json(f"{logs_key(folder)}{self.name}", vars(self._document()))
                    self._due = False
            except (StoreError, OSError) as error:
                what = self.group or self.kind
                log.warning("cannot store the log of %s, retrying: %s", what, error)

    def _document(self) -> StoredLog:
        assert self._tail is not None
        text = masked(self._tail.kept.decode(errors="replace"), os.environ)
        before = self._tail.before
        return StoredLog(self.kind, self.group, self.started, before, text, self.pod, self.attempt)

    def last(self) -> None:
        """Stores the end of the log of an exiting process, within LAST_SECONDS."""
        thread = threading.Thread(target=self.keep, daemon=True)
        thread.start()
        thread.join(LAST_SECONDS)

    def _keep_on(self) -> None:
        while not self._stop.wait(seconds() / 12):
            self.keep()

    def __enter__(self) -> "Copy":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stop.set()
        sys.stdout.flush()
        sys.stderr.flush()
        self.keep()
