"""Follows the logs of a run: prints what is new in its pods, its Ray jobs and its failures.

Every few seconds it asks again, so a broken connection loses nothing. Whether the run has ended is
read from its folder and from KFP, never from a log.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from components.launch.log import StoredLog, stored_logs
from pipelines.pod_logs import OVER, Pod, configure, log_of, pods_of
from xstilts.errors import InfrastructureError, StoreError
from xstilts.store.store import Store

#: Seconds that are read again at each poll: clocks may differ, and repeated lines are recognized
#: by their time stamps.
OVERLAP_SECONDS = 10
Say = Callable[[str], None]


def title(job: StoredLog) -> str:
    return f"==> {job.kind} of {job.group} on Ray, started {job.started}"


class OnceEach:
    """Prints a source's problem only if it differs from the last one: an outage is one line."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.last: dict[str, str | None] = {}

    def __call__(self, source: str, problem: str | None) -> None:
        if problem and problem != self.last.get(source):
            self.say(problem)
        self.last[source] = problem


@dataclass
class Lines:
    """The position in a Ray job's log, as a number of lines. tail: lines to show at first."""

    tail: int
    shown: int | None = None

    def new(self, job: StoredLog, whole: bool) -> list[str]:
        """The lines that were not shown yet. whole: include a last line that may be incomplete."""
        lines = job.text.split("\n")
        lines = lines[:-1] if not whole or not lines[-1] else lines
        end = job.before + len(lines)
        shown = max(end - self.tail, 0) if self.shown is None else self.shown
        self.shown = max(end, shown)
        skipped = []
        if self.shown > job.before > shown:
            skipped = [f"({job.before - shown} lines were not kept)"]
        return [*skipped, *lines[max(shown - job.before, 0) :]]


@dataclass
class Stamps:
    """The position in a pod's log, as the time stamp that Kubernetes puts before each line."""

    last: tuple[str, str] = ("", "")
    at_last: set[str] = field(default_factory=set)
    #: When the log was last read, on this machine's clock.
    read: float | None = None

    def new(self, text: str) -> list[str]:
        """The lines that were not shown yet, without their time stamps."""
        lines = []
        for line in text.splitlines():
            stamp, _, text_of_line = line.partition(" ")
            when = _moment(stamp)
            if when < self.last or (when == self.last and line in self.at_last):
                continue
            self.at_last = self.at_last | {line} if when == self.last else {line}
            self.last = when
            lines.append(text_of_line)
        return lines


def _moment(stamp: str) -> tuple[str, str]:
    """A time stamp (RFC 3339) as sortable texts: Kubernetes drops trailing zeros of a fraction."""
    second, _, fraction = stamp.rstrip("Z").partition(".")
    return second, fraction.ljust(9, "0")


class LogFollower:
    """Prints what is new in the logs of a run. Failed requests are retried without limit."""

    def __init__(
        self, store: Store, run: str, run_id: str, namespace: str, tail: int, say: Say, warn: Say,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.store, self.folder, self.run_id, self.namespace, self.tail = (
            store,
            f"runs/{run}",
            run_id,
            namespace,
            tail,
        )
        self.say, self.clock = say, clock
        self._warn_once, self._source = OnceEach(warn), ""
        self._configured = False
        self._pods: dict[str, Stamps] = {}
        self._over: set[str] = set()
        self._waiting: dict[str, str] = {}
        self._jobs: dict[str, Lines] = {}
        self._etags: dict[str, str] = {}
        self._failures: set[str] = set()

    def until(
        self,
        end: Callable[[], str | None],
        every: float,
        sleep: Callable[[float], None] = time.sleep,
    ) -> str:
        """Polls until the run has ended; returns how. `end` is asked before the logs are read, so
        that everything up to the end is shown.
        """
        while True:
            try:
                ended = end()
                self.poll(last=ended is not None)
            except StoreError as error:
                self._warn_once("store", f"{error}; retrying")
            else:
                self._warn_once("store", None)
                if ended is not None:
                    return ended
            sleep(every)

    def poll(self, last: bool = False) -> None:
        """Prints what is new since the last poll. last: also an incomplete line."""
        self._poll_pods()
        for key, etag, job in stored_logs(self.store, self.folder, {} if last else self._etags):
            self._etags[key] = etag
            self._show(title(job), self._jobs.setdefault(key, Lines(self.tail)).new(job, last))
        for key in self.store.list(f"{self.folder}/failures/"):
            failure: Mapping[str, Any] | None = (
                self.store.get_json(key) if key not in self._failures else None
            )
            if failure:
                self._failures.add(key)
                self._show(
                    f"==> failed: {failure['what']}: {failure['error']}",
                    failure["log"].rstrip().split("\n"),
                )

    def _poll_pods(self) -> None:
        try:
            if not self._configured:  # may start a program for credentials: not at each poll
                configure()
            pods = pods_of(self.run_id, self.namespace)
        except InfrastructureError as error:
            self._configured = False  # credentials may have expired
            self._warn_once("pods", f"{error}; retrying")
            return
        self._configured = True
        self._warn_once("pods", None)
        for pod in pods:
            heading = f"==> {pod.name} ({pod.phase})"
            if pod.phase == "Pending":
                if self._waiting.get(pod.name) != pod.waiting:
                    self._show(heading, [pod.waiting])
                self._waiting[pod.name] = pod.waiting
            elif pod.name not in self._over:
                self._show(heading, list(self._new_lines(pod)))

    def _new_lines(self, pod: Pod) -> Iterator[str]:
        seen, now = self._pods.setdefault(pod.name, Stamps()), self.clock()
        if seen.read is None:
            since: dict[str, int] = {"tail_lines": self.tail}
        else:
            since = {"since_seconds": int(now - seen.read) + OVERLAP_SECONDS}
        try:
            text = log_of(pod.name, self.namespace, timestamps=True, **since)
        except InfrastructureError as error:  # the pod starts or is gone: follow the others
            self._warn_once(pod.name, f"{error}; retrying")
            return
        self._warn_once(pod.name, None)
        seen.read = now
        if pod.phase in OVER:
            self._over.add(pod.name)
        yield from seen.new(text)

    def _show(self, heading: str, lines: list[str]) -> None:
        if lines:
            self.say("\n".join([*([heading] if heading != self._source else []), *lines]))
            self._source = heading
