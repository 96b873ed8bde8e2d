"""The end of what a group's job says, kept in the run's folder:
`runs/<run>/logs/<kind>-<group>/<started>.json`.

Ray writes the driver's output, and with it what the workers print, to a file on its head, which
goes with the cluster. So the driver itself copies the last part of that file to the store while it
works and at its end. Whoever reads it needs the store and no more. Ray's dashboard behind the API
server's proxy would ask for more of a person: the right to services/proxy, to read the Secret with
the cluster's token, and an opening in the network policies for the API server; and a job that is
gone would have no log at all.
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

#: Bytes of a log that are kept.
KEPT = 200_000
#: How long a driver that must end waits for its last words to be stored: its GPUs are wanted.
LAST_SECONDS = 5.0
_CHUNK = 1 << 20
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Said:
    """The end of one job's log. started: when, in UTC. before: how many lines came before the
    text and are not kept.
    """

    kind: str
    group: str
    started: str
    before: int
    text: str


def logs_key(folder: str) -> str:
    """folder: `runs/<run>`."""
    return f"{folder}/logs/"


def said(
    store: Store, folder: str, known: Mapping[str, str] | None = None
) -> Iterator[tuple[str, str, Said]]:
    """(key, ETag, log) of every job of a run, in the order in which each group's were started.
    known: key → ETag of what need not be read again.
    """
    for key, (_, etag) in sorted(store.listing(logs_key(folder)).items()):
        if (known or {}).get(key) != etag and (found := store.get_json(key)) is not None:
            yield key, etag, Said(**found)


def own_output() -> Path | None:
    """The file that this process writes its output to; None where that is no file but a terminal
    or a pipe.
    """
    return Path("/proc/self/fd/1") if stat.S_ISREG(os.fstat(1).st_mode) else None


class End:
    """The last lines of a file that grows, at most `most` bytes, and how many lines came before
    them.
    """

    def __init__(self, path: Path, most: int = KEPT) -> None:
        self.path, self.most = path, most
        self.before, self.kept = 0, b""
        self._at = 0

    def read(self) -> bool:
        """Takes in what has come since the last time; False when nothing has."""
        at = self._at
        with open(self.path, "rb") as stream:
            stream.seek(at)
            while chunk := stream.read(_CHUNK):
                self._at += len(chunk)
                self._take(self.kept + chunk)
        return self._at > at

    def _take(self, data: bytes) -> None:
        cut = max(len(data) - self.most, 0)
        if cut:  # to the start of a line, unless that line alone is too long
            cut = data.find(b"\n", cut - 1) + 1 or cut
        self.before += data.count(b"\n", 0, cut)
        self.kept = data[cut:]


class Copy:
    """Copies the end of this process's output to the store for as long as the body runs, as
    often as a driver looks at its lease and only when there is more of it, and once at the end.
    A store that is away costs a warning: no log is worth a job. In a thread of its own, since
    nothing may hold up the lease's.
    """

    def __init__(
        self, store: Store, folder: str, group: str, kind: str, output: Path | None
    ) -> None:
        self.store, self.group, self.kind = store, group, kind
        self.started = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self.key = f"{logs_key(folder)}{kind}-{group}/{self.started}.json"
        self._end = None if output is None else End(output)
        self._due = False
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._keep_on, name="log", daemon=True)

    def keep(self) -> None:
        """Stores the end of the log, if there is more of it than the last time."""
        if self._end is None:
            return
        with self._lock:
            try:
                self._due = self._end.read() or self._due
                if self._due:
                    text = self._end.kept.decode(errors="replace")
                    document = Said(self.kind, self.group, self.started, self._end.before, text)
                    self.store.put_json(self.key, vars(document))
                    self._due = False
            except (StoreError, OSError) as error:
                log.warning(
                    "the log of %s could not be stored, trying again: %s", self.group, error
                )

    def last(self) -> None:
        """The last words of a process that must end now, whether the store answers or not."""
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
