"""Progress of a run: on a terminal a bar for each kind of step, else one line a minute and one at
the end of each phase.
"""

import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pipelines.console import Level, level
from xstilts.step import STEP_KINDS
from xstilts.store.store import Store

#: Step kind → fingerprints of the run's steps of that kind.
Totals = Mapping[str, set[str]]
#: Step kind → (finished, all) steps, in the order of the phases.
Counts = Mapping[str, tuple[int, int]]
#: Seconds between lines where nothing else happens.
QUIET = 60.0


def step_counts(store: Store, totals: Totals) -> Counts:
    """The finished steps of a run by kind; kinds without steps are left out."""
    kinds = [kind for kind in STEP_KINDS if totals.get(kind)]
    return {kind: (len(store.finished(kind, totals[kind])), len(totals[kind])) for kind in kinds}


class PhasePace:
    """How fast the current phase goes, from the counts seen so far."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kind, self._started, self._before = "", 0.0, 0

    def note(self, counts: Counts) -> str:
        """`now finetune, 12 a minute, 4 min left`; `now the report` after the last step."""
        kind = next((kind for kind, (done, of) in counts.items() if done < of), None)
        if kind is None:
            return "now the report"
        done, of = counts[kind]
        if kind != self._kind:
            self._kind, self._started, self._before = kind, self._clock(), done
        seconds, finished = self._clock() - self._started, done - self._before
        if not finished or seconds <= 0:
            return f"now {kind}"
        left = (of - done) * seconds / finished
        return f"now {kind}, {60 * finished / seconds:.3g} a minute, {_duration(left)} left"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Display(Protocol):
    """Shows counts whenever it is updated."""

    def update(self) -> None: ...
    def close(self) -> None: ...


class ProgressPrinter:
    """Prints a line with the elapsed seconds at first, at the end of each phase, and otherwise
    once a minute.
    """

    def __init__(
        self,
        counts: Callable[[], Counts],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counts, self._say, self._clock = counts, say, clock
        self._pace, self._started = PhasePace(clock), clock()
        self._printed: float | None = None
        self._finished: set[str] = set()

    def update(self) -> None:
        counts, now = self._counts(), self._clock()
        note = self._pace.note(counts)
        finished = {kind for kind, (done, of) in counts.items() if done >= of}
        due = self._printed is None or now - self._printed >= QUIET
        if due or finished != self._finished:
            line = "  ".join(f"{kind} {done}/{of}" for kind, (done, of) in counts.items())
            self._say(f"  {now - self._started:5.0f} s  {line}  ({note})")
            self._printed, self._finished = now, finished

    def close(self) -> None:
        """Nothing is left to print."""


class ProgressBars:
    """A bar for each kind of step, with rate and time left."""

    def __init__(self, counts: Callable[[], Counts], console: Any = None) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        self._counts, self._pace = counts, PhasePace()
        self._bars = Progress(
            TextColumn("{task.description:9}"), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), TextColumn("{task.fields[note]}"),
            console=console or Console(file=sys.__stdout__),
        )  # fmt: skip
        self._tasks: dict[str, Any] = {}

    def update(self) -> None:
        counts = self._counts()
        note = self._pace.note(counts)
        if not self._tasks:
            self._bars.start()
        current = next((kind for kind, (done, of) in counts.items() if done < of), None)
        for kind, (done, of) in counts.items():
            if kind not in self._tasks:
                self._tasks[kind] = self._bars.add_task(kind, total=of, start=False, note="")
            if kind == current or done:
                self._bars.start_task(self._tasks[kind])
            shown = note.partition(", ")[2] if kind == current else ""
            self._bars.update(self._tasks[kind], completed=done, note=shown)

    def close(self) -> None:
        self._bars.stop()


class ProgressThread(threading.Thread):
    """Updates a display every few seconds, from `start` until `stop`."""

    def __init__(self, display: Display, interval: float = 3.0) -> None:
        super().__init__(name="progress", daemon=True)
        self._display, self._interval = display, interval
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(self._interval):
            self._display.update()

    def stop(self) -> None:
        self._stopped.set()
        self.join()
        self._display.close()


def progress_of(store: Store, totals: Totals, say: Callable[[str], None]) -> ProgressThread:
    """The progress of a run: bars if stdout is a terminal and nothing else is printed, else lines.
    `say` prints none of a quiet command.
    """

    def counts() -> Counts:
        return step_counts(store, totals)

    terminal = sys.__stdout__ is not None and sys.__stdout__.isatty()
    bars = terminal and level() is Level.NORMAL
    return ProgressThread(ProgressBars(counts) if bars else ProgressPrinter(counts, say))
