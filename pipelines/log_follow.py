"""Follows the logs of a run: prints what is new in its pods, its Ray jobs and its failures.

Every few seconds it asks again, so a broken connection loses nothing. Whether the run has ended is
read from its folder and from KFP, never from a log.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from components.launch.log import StoredLog, logs_key, stored_logs
from components.launch.waiting import recorded as recorded_waits
from pipelines.log_noise import NoiseFilter
from pipelines.log_steps import step_of_log
from pipelines.outages import Outages
from pipelines.pod_logs import OVER, Pod, configure, log_of, pods_of
from xstilts.errors import InfrastructureError, counted
from xstilts.store.store import Store

#: Seconds that are read again at each poll: clocks may differ, and repeated lines are recognized
#: by their time stamps.
OVERLAP_SECONDS = 10
Say = Callable[[str], None]


def title(log: StoredLog) -> str:
    return f"==> {step_of_log(log)}, started {log.started}"


@dataclass(frozen=True)
class Selection:
    """What to show of a run's logs.

    Attributes:
        tail: last lines of each log.
        step: a kind, a batch or group, or both; None for all.
        since: seconds before now; None for all.
        raw: also show lines that are the same in every run.
    """

    tail: int = 200
    step: str | None = None
    since: float | None = None
    raw: bool = False


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
            skipped = [f"({counted(job.before - shown, 'line')} not kept)"]
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
        self, store: Store, run: str, run_id: str, namespace: str, selection: Selection, say: Say,
        warn: Say, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.store, self.folder, self.run_id = store, f"runs/{run}", run_id
        self.namespace, self.selection = namespace, selection
        self._start = time.time() - (selection.since or 0) if selection.since is not None else 0.0
        self.say, self.clock = say, clock
        self._warn_once, self._source = OnceEach(warn), ""
        self._configured = False
        self._pods: dict[str, Stamps] = {}
        self._over: set[str] = set()
        self._waiting: dict[str, str] = {}
        self._jobs: dict[str, Lines] = {}
        self._etags: dict[str, str] = {}
        self._failures: set[str] = set()
        self._waits: dict[str, str] = {}
        self._filters: dict[str, NoiseFilter] = {}

    def until(
        self,
        end: Callable[[], str | None],
        every: float,
        outages: Outages | None = None,
    ) -> str:
        """Polls until the run has ended; returns how. `end` is asked before the logs are read, so
        that everything up to the end is shown. Raises StoreError after a long outage.
        """
        outages = outages or Outages()
        while True:
            ended = outages.outlast(end)
            outages.outlast(lambda last=ended is not None: self.poll(last))  # type: ignore[misc]
            if ended is not None:
                return ended
            outages.sleep(every)

    def poll(self, last: bool = False) -> None:
        """Prints what is new since the last poll. last: also an incomplete line."""
        self._poll_pods()
        self._poll_waits()
        written = self.store.written(logs_key(self.folder)) if self._start else {}
        for key, etag, log in stored_logs(self.store, self.folder, {} if last else self._etags):
            self._etags[key] = etag
            step = step_of_log(log)
            late = not self._start or written.get(key, (0, 0.0))[1] >= self._start
            if log.pod in self._pods or not late or not step.matches(self.selection.step):
                continue
            lines = self._jobs.setdefault(key, Lines(self.selection.tail)).new(log, last)
            self._show(title(log), self._filter(key)(lines))
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

    def _poll_waits(self) -> None:
        """Prints why a group waits whenever the reason changes."""
        waits = {
            f"{wait.kind} {wait.group}": "; ".join(wait.reasons)
            for wait in recorded_waits(self.store, self.folder, time.time())
        }
        for work, reasons in waits.items():
            if self._waits.get(work) != reasons:
                self._show(f"==> {work} (waiting)", [reasons])
        self._waits = waits

    def _filter(self, source: str) -> NoiseFilter:
        return self._filters.setdefault(source, NoiseFilter(self.selection.raw))

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
            if not pod.step.matches(self.selection.step):
                continue
            heading = pod.title
            if pod.phase == "Pending":
                if self._waiting.get(pod.name) != pod.waiting:
                    self._show(heading, [pod.waiting])
                self._waiting[pod.name] = pod.waiting
            elif pod.name not in self._over:
                self._show(heading, self._filter(pod.name)(self._new_lines(pod)))

    def _new_lines(self, pod: Pod) -> Iterator[str]:
        seen, now = self._pods.setdefault(pod.name, Stamps()), self.clock()
        if seen.read is None:
            since = {"tail_lines": self.selection.tail}
            if self.selection.since is not None:
                since["since_seconds"] = max(int(self.selection.since), 1)
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
