"""Progress of a run: one line with the finished steps of each kind, printed when it changes."""

import threading
import time
from collections.abc import Callable, Mapping

from xstilts.store.store import Store

#: Step kind → fingerprints of the run's steps of that kind.
Totals = Mapping[str, set[str]]


def progress_line(store: Store, totals: Totals) -> str:
    """For example `records 4/6  encode 0/2`; empty when a run has no steps."""
    return "  ".join(
        f"{kind} {len(store.finished(kind, fingerprints))}/{len(fingerprints)}"
        for kind, fingerprints in totals.items()
        if fingerprints
    )


class ProgressPrinter:
    """Prints a progress line with the elapsed seconds whenever it differs from the last one."""

    def __init__(self, line: Callable[[], str], say: Callable[[str], None]) -> None:
        self._line, self._say = line, say
        self._last, self._started = "", time.monotonic()

    def update(self) -> None:
        line = self._line()
        if line != self._last:
            self._say(f"  {time.monotonic() - self._started:5.0f} s  {line}")
            self._last = line


class ProgressThread(threading.Thread):
    """Updates a printer every few seconds, from `start` until `stop`."""

    def __init__(self, printer: ProgressPrinter, interval: float = 3.0) -> None:
        super().__init__(name="progress", daemon=True)
        self._printer, self._interval = printer, interval
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(self._interval):
            self._printer.update()

    def stop(self) -> None:
        self._stopped.set()
        self.join()
