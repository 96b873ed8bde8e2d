"""Progress of a run: on a terminal a bar for each kind of step and the current step below them,
else one line a minute and one at the end of each phase.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

from pipelines.console import Level, level
from xstilts.errors import StoreError
from xstilts.plan.expansion import Expansion
from xstilts.runs.folder import failure_key
from xstilts.step import STEP_KINDS, Step
from xstilts.store.store import Store

#: Step kind → (finished, all) steps, in the order of the phases.
Counts = Mapping[str, tuple[int, int]]
#: Seconds between lines where nothing else happens.
QUIET = 60.0


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment. current: the step that is being computed; where several run side by
    side, the first of them. None after the last.
    """

    counts: Counts
    current: Step | None = None

    @property
    def step(self) -> str:
        """For example `finetune tiny-llava: none → squad, seed 0`, or `report`."""
        if self.current is None:
            return "report"
        kind = self.current.kind
        label = str(self.current.settings["label"])
        return label if label.startswith(f"{kind} ") else f"{kind} {label}"


def work_order(expansion: Expansion) -> dict[str, Step]:
    """Fingerprint → step of a plan, in the order in which tasks compute them: each group trains,
    then scores.
    """
    batches = (*expansion.sources, *expansion.builds, *expansion.encodings)
    staged = chain.from_iterable(batch["steps"] for batch in batches)
    grouped = chain.from_iterable((*g["finetune"], *g["score"]) for g in expansion.groups)
    return {fingerprint: expansion.steps[fingerprint] for fingerprint in (*staged, *grouped)}


def snapshot(store: Store, order: Mapping[str, Step], run: str) -> Snapshot:
    """The finished steps of a run by kind, and its current step. Kinds without steps are left out,
    and steps that have failed are not current.
    """
    by_kind: dict[str, set[str]] = {}
    for fingerprint, step in order.items():
        by_kind.setdefault(step.kind, set()).add(fingerprint)
    kinds = [kind for kind in STEP_KINDS if kind in by_kind]
    finished = {kind: store.finished(kind, by_kind[kind]) for kind in kinds}
    counts = {kind: (len(finished[kind]), len(by_kind[kind])) for kind in kinds}
    folder = f"runs/{run}"
    failed = set(store.list(f"{folder}/failures/"))
    return Snapshot(counts, _current(order, finished, failed, folder))


def _current(
    order: Mapping[str, Step], finished: Mapping[str, Set[str]], failed: Set[str], folder: str
) -> Step | None:
    for fingerprint, step in order.items():
        if fingerprint in finished[step.kind]:
            continue
        if failure_key(folder, step.kind, fingerprint) not in failed:
            return step
    return None


class PhasePace:
    """How fast the kind of the current step goes, from the counts seen so far."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kind, self._started, self._before = "", 0.0, 0

    def note(self, seen: Snapshot) -> str:
        """`12 a minute, 4 min left`; empty before the first step of a kind is finished."""
        if seen.current is None:
            return ""
        kind = seen.current.kind
        done, of = seen.counts[kind]
        if kind != self._kind:
            self._kind, self._started, self._before = kind, self._clock(), done
        seconds, finished = self._clock() - self._started, done - self._before
        if not finished or seconds <= 0:
            return ""
        left = (of - done) * seconds / finished
        return f"{60 * finished / seconds:.3g} a minute, {_duration(left)} left"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Display(Protocol):
    """Shows a snapshot whenever it is updated."""

    def update(self) -> None: ...
    def close(self) -> None: ...


class ProgressPrinter:
    """Prints a line with the elapsed seconds at first, at the end of each phase, and otherwise
    once a minute.
    """

    def __init__(
        self,
        look: Callable[[], Snapshot],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look, self._say, self._clock = look, say, clock
        self._pace, self._started = PhasePace(clock), clock()
        self._printed: float | None = None
        self._finished: set[str] = set()

    def update(self) -> None:
        seen, now = self._look(), self._clock()
        pace = self._pace.note(seen)
        finished = {kind for kind, (done, of) in seen.counts.items() if done >= of}
        due = self._printed is None or now - self._printed >= QUIET
        if due or finished != self._finished:
            line = "  ".join(f"{kind} {done}/{of}" for kind, (done, of) in seen.counts.items())
            note = "; ".join(filter(None, [f"now {seen.step}", pace]))
            self._say(f"  {now - self._started:5.0f} s  {line}  ({note})")
            self._printed, self._finished = now, finished

    def close(self) -> None:
        """Nothing is left to print."""


class ProgressBars:
    """A bar for each kind of step, with rate and time left, and below them the current step."""

    def __init__(self, look: Callable[[], Snapshot], console: Any = None) -> None:
        self._look, self._pace, self._step = look, PhasePace(), ""
        self._bars = _bars(console, lambda: self._step)
        self._tasks: dict[str, Any] = {}

    def update(self) -> None:
        seen = self._look()
        note, self._step = self._pace.note(seen), f"now {seen.step}"
        if not self._tasks:
            self._bars.start()
        current = None if seen.current is None else seen.current.kind
        for kind, (done, of) in seen.counts.items():
            if kind not in self._tasks:
                self._tasks[kind] = self._bars.add_task(kind, total=of, start=False, note="")
            if kind == current or done:
                self._bars.start_task(self._tasks[kind])
            shown = note if kind == current else ""
            self._bars.update(self._tasks[kind], completed=done, note=shown)

    def close(self) -> None:
        self._step = ""
        self._bars.stop()


def _bars(console: Any, step: Callable[[], str]) -> Any:
    """rich's bars with a line below them, cut off where the terminal ends."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.text import Text

    class Bars(Progress):
        def get_renderables(self) -> Any:
            yield from super().get_renderables()
            if text := step():
                yield Text(text, no_wrap=True, overflow="ellipsis")

    return Bars(
        TextColumn("{task.description:9}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), TextColumn("{task.fields[note]}"),
        console=console or Console(file=sys.__stdout__),
    )  # fmt: skip


class ProgressThread(threading.Thread):
    """Updates a display every few seconds, from `start` until `stop`."""

    def __init__(self, display: Display, interval: float = 3.0) -> None:
        super().__init__(name="progress", daemon=True)
        self._display, self._interval = display, interval
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(self._interval):
            with contextlib.suppress(StoreError):  # the run's tasks meet it too, and report it
                self._display.update()

    def stop(self) -> None:
        self._stopped.set()
        self.join()
        self._display.close()


def progress_of(
    store: Store, expansion: Expansion, run: str, say: Callable[[str], None]
) -> ProgressThread:
    """The progress of a run: bars if stdout is a terminal and nothing else is printed, else lines.
    `say` prints none of a quiet command.
    """
    order = work_order(expansion)

    def look() -> Snapshot:
        return snapshot(store, order, run)

    terminal = sys.__stdout__ is not None and sys.__stdout__.isatty()
    bars = terminal and level() is Level.NORMAL
    return ProgressThread(ProgressBars(look) if bars else ProgressPrinter(look, say))
