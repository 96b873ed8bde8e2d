"""Stores the end of a group's log in the run's folder:
`runs/<run>/logs/<kind>-<group>/<started>.json`.

Ray writes the output of the driver and of its workers to a file on the head, which is deleted with
the cluster. The driver copies the last part of that file to the store while it runs and when it
ends. Readers need only the store; Ray's dashboard would need rights to services/proxy, the
cluster's token and an opening in the network policies, and has no log of a deleted job.
"""

import logging
import os
import stat
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from components.launch.lease import seconds
from xstilts.errors import StoreError
from xstilts.store.store import Store

#: Bytes that are kept of a log.
KEPT = 200_000
#: How long an exiting driver waits for its log to be stored.
LAST_SECONDS = 5.0
_CHUNK = 1 << 20
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredLog:
    """The end of a job's log. started: in UTC. before: the number of lines before `text`, which
    are not kept.
    """

    kind: str
    group: str
    started: str
    before: int
    text: str


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
            yield key, etag, StoredLog(**document)


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


class Copy:
    """Copies the end of this process's output to the store, at the lease's polling interval if it
    has grown, and when the body ends. An unreachable store causes a warning only. The thread is
    separate from the lease's, which must not be delayed.
    """

    def __init__(
        self, store: Store, folder: str, group: str, kind: str, output: Path | None
    ) -> None:
        self.store, self.group, self.kind = store, group, kind
        self.started = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self.key = f"{logs_key(folder)}{kind}-{group}/{self.started}.json"
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
                if self._due:
                    text = self._tail.kept.decode(errors="replace")
                    before = self._tail.before
                    document = StoredLog(self.kind, self.group, self.started, before, text)
                    self.store.put_json(self.key, vars(document))
                    self._due = False
            except (StoreError, OSError) as error:
                log.warning("cannot store the log of %s, retrying: %s", self.group, error)

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
