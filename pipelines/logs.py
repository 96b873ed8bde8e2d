"""The logs of a run: its pods from the Kubernetes API, its Ray jobs and failures from the store; as
they are, or followed.

Following asks anew every few seconds, so that a connection that breaks costs nothing. Whether the
run goes on is read from its folder and from KFP, never from a log.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from components.launch.log import Said, said
from pipelines import cluster_runs
from pipelines.kfp.api import FINISHED, Kfp
from pipelines.pod_logs import OVER, Pod, configure, log_of, pod_logs, pods_of
from xstilts.errors import InfrastructureError, StoreError
from xstilts.store.store import Store

#: Read again beyond the last look: no clock need agree with another, and what comes twice is seen
#: by its time.
OVERLAP_SECONDS = 10
Say = Callable[[str], None]


def logs(given: argparse.Namespace) -> int:
    """xstilts logs RUN: pods, Ray jobs and failures, or what the store knows of them where no
    cluster is reached.
    """
    store = cluster_runs.open_store(given.store)
    view = cluster_runs.status(store, given.run)
    namespace = given.namespace or "kubeflow"
    if given.follow:
        run_id = cluster_runs.kfp_id(store, given.run)
        follow = Follow(store, given.run, run_id, namespace, given.tail, _say, _warn)
        _say(f"{given.run}: {follow.until(_end(store, given.run, run_id, given), given.every)}")
        return 0
    unreached: InfrastructureError | None = None
    try:
        for pod, phase, text in pod_logs(
            cluster_runs.kfp_id(store, given.run), namespace, given.tail
        ):
            _say(f"==> {pod} ({phase})\n{text.rstrip()}\n")
    except InfrastructureError as error:
        unreached = error
        _warn(str(error))
    jobs = [job for _, _, job in said(store, f"runs/{given.run}")]
    for job in jobs:
        _say("\n".join([_title(job), *Lines(given.tail).new(job, whole=True), ""]))
    for failure in view["failures"]:
        _say(f"==> failed: {failure['what']}: {failure['error']}\n{failure['log'].rstrip()}\n")
    if unreached and not view["failures"] and not jobs:
        raise InfrastructureError(
            f"no logs of {given.run}: no pod was reached, and the store has none and no failure"
        )
    return 0


def _say(text: str) -> None:
    print(text, file=sys.__stdout__, flush=True)


def _warn(text: str) -> None:
    print(f"xstilts: {text}", file=sys.stderr, flush=True)


def _title(job: Said) -> str:
    return f"==> {job.kind} of {job.group} on Ray, started {job.started}"


def _end(
    store: Store, run: str, run_id: str, given: argparse.Namespace
) -> Callable[[], str | None]:
    """The function that tells how a run has ended; None while it goes on. KFP is asked where
    --host, or what `submit` noted, says where it is.
    """
    host = given.host or (store.get_json(f"runs/{run}/kfp.json") or {}).get("host")
    kfp = Kfp(host, given.namespace, given.ca_cert) if host else None
    if kfp is None:
        _warn(
            "without --host the run's folder alone tells the end: a run that fails before its report is followed on"
        )
    told = Troubles(_warn)

    def end() -> str | None:
        ended = store.get_json(f"runs/{run}/status.json")
        if ended is not None:
            return f"finished, exit code {ended['exit_code']}"
        if store.get_json(f"runs/{run}/cancelled.json") is not None:
            return "cancelled"
        if kfp is None:
            return None
        try:
            state = str(kfp.run(run_id).state or "")
        except InfrastructureError as error:
            told("KFP", f"{error}; following on by what the run's folder says")
            return None
        told("KFP", None)
        return f"KFP says {state.lower()}" if state in FINISHED else None

    return end


class Troubles:
    """Says what is wrong with a thing when that is not what was said of it last: an outage is
    one line.
    """

    def __init__(self, say: Say) -> None:
        self.say = say
        self.last: dict[str, str | None] = {}

    def __call__(self, thing: str, problem: str | None) -> None:
        if problem and problem != self.last.get(thing):
            self.say(problem)
        self.last[thing] = problem


@dataclass
class Lines:
    """What has been shown of a Ray job's log, by the number of its lines. tail: how many are
    shown at first.
    """

    tail: int
    shown: int | None = None

    def new(self, job: Said, whole: bool) -> list[str]:
        """The lines that were not shown yet. whole: whether the last one counts though it may
        not be complete.
        """
        lines = job.text.split("\n")
        lines = lines[:-1] if not whole or not lines[-1] else lines
        end = job.before + len(lines)
        shown = max(end - self.tail, 0) if self.shown is None else self.shown
        self.shown = max(end, shown)
        lost = (
            [f"({job.before - shown} lines were not kept)"]
            if self.shown > job.before > shown
            else []
        )
        return [*lost, *lines[max(shown - job.before, 0) :]]


@dataclass
class Stamps:
    """What has been shown of a pod's log, by the time that Kubernetes writes before each line."""

    last: tuple[str, str] = ("", "")
    at_last: set[str] = field(default_factory=set)
    #: When it was read, on this machine's clock; None before.
    read: float | None = None

    def new(self, text: str) -> list[str]:
        """The lines of a log with time stamps that were not shown yet, without them."""
        found = []
        for line in text.splitlines():
            stamp, _, said = line.partition(" ")
            when = _moment(stamp)
            if when < self.last or (when == self.last and line in self.at_last):
                continue
            self.at_last = self.at_last | {line} if when == self.last else {line}
            self.last = when
            found.append(said)
        return found


def _moment(stamp: str) -> tuple[str, str]:
    """A time of RFC 3339 as texts that are in order: Kubernetes leaves out the last zeros of a
    fraction.
    """
    second, _, fraction = stamp.rstrip("Z").partition(".")
    return second, fraction.ljust(9, "0")


class Follow:
    """Shows what is new in the logs of a run. API that fail are asked again, for ever."""

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
        self._trouble, self._source = Troubles(warn), ""
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
        """Looks again and again until the run has ended; returns how. The end is asked for
        first, so that all that was said until then is shown.
        """
        while True:
            try:
                ended = end()
                self.look(last=ended is not None)
            except StoreError as error:
                self._trouble("store", f"{error}; trying again")
            else:
                self._trouble("store", None)
                if ended is not None:
                    return ended
            sleep(every)

    def look(self, last: bool = False) -> None:
        """Shows what has come since the last look. last: also a line that is not complete."""
        self._look_at_pods()
        for key, etag, job in said(self.store, self.folder, {} if last else self._etags):
            self._etags[key] = etag
            self._show(_title(job), self._jobs.setdefault(key, Lines(self.tail)).new(job, last))
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

    def _look_at_pods(self) -> None:
        try:
            if not self._configured:  # a program may be asked for credentials, so not at each look
                configure()
            pods = pods_of(self.run_id, self.namespace)
        except InfrastructureError as error:
            self._configured = False  # credentials may have run out
            self._trouble("pods", f"{error}; trying again")
            return
        self._configured = True
        self._trouble("pods", None)
        for pod in pods:
            title = f"==> {pod.name} ({pod.phase})"
            if pod.phase == "Pending":
                if self._waiting.get(pod.name) != pod.waiting:
                    self._show(title, [pod.waiting])
                self._waiting[pod.name] = pod.waiting
            elif pod.name not in self._over:
                self._show(title, list(self._news(pod)))

    def _news(self, pod: Pod) -> Iterator[str]:
        seen, now = self._pods.setdefault(pod.name, Stamps()), self.clock()
        if seen.read is None:
            since: dict[str, int] = {"tail_lines": self.tail}
        else:
            since = {"since_seconds": int(now - seen.read) + OVERLAP_SECONDS}
        try:
            text = log_of(pod.name, self.namespace, timestamps=True, **since)
        except (
            InfrastructureError
        ) as error:  # it starts, it is gone, or its node is: the others go on
            self._trouble(pod.name, f"{error}; trying again")
            return
        self._trouble(pod.name, None)
        seen.read = now
        if pod.phase in OVER:
            self._over.add(pod.name)
        yield from seen.new(text)

    def _show(self, title: str, lines: list[str]) -> None:
        if lines:
            self.say("\n".join([*([title] if title != self._source else []), *lines]))
            self._source = title
