"""Progress of a run: lines without a terminal, bars on one."""

import io
from typing import Any

import pytest
from rich.console import Console

from pipelines.progress import Counts, PhasePace, ProgressBars, ProgressPrinter, step_counts


class FakeStore:
    def __init__(self, **done: set[str]) -> None:
        self._done = done

    def finished(self, kind: str, fingerprints: set[str]) -> set[str]:
        return self._done.get(kind, set()) & fingerprints


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_only_the_steps_of_the_run_count() -> None:
    store: Any = FakeStore(records={"a", "of-another-run"})
    totals = {"score": {"c"}, "records": {"a", "b"}, "build": set[str]()}
    counts = step_counts(store, totals)
    assert list(counts.items()) == [("records", (1, 2)), ("score", (0, 1))]


def printed(steps: list[tuple[float, Counts]]) -> list[str]:
    """The lines of a printer that sees counts at these times."""
    clock, lines = Clock(), []
    state: list[Counts] = []
    printer = ProgressPrinter(lambda: state[-1], lines.append, clock)
    for now, counts in steps:
        clock.now = now
        state.append(counts)
        printer.update()
    return [line.split("  (")[0].split(" s  ")[1] for line in lines]


def test_a_line_is_printed_once_a_minute() -> None:
    times = range(0, 181, 3)
    lines = printed([(now, {"encode": (now // 3, 100)}) for now in times])
    assert lines == ["encode 0/100", "encode 20/100", "encode 40/100", "encode 60/100"]


def test_a_line_is_printed_at_the_end_of_a_phase() -> None:
    before, after = {"records": (1, 2), "score": (0, 1)}, {"records": (2, 2), "score": (0, 1)}
    assert printed([(0, before), (3, before), (6, after)]) == [
        "records 1/2  score 0/1",
        "records 2/2  score 0/1",
    ]


@pytest.mark.parametrize(
    ("done", "seconds", "expected"),
    [
        (0, 30, "now score"),
        (10, 30, "now score, 20 a minute, 30 s left"),
        (1, 120, "now score, 0.5 a minute, 38 min left"),
        (1, 7200, "now score, 0.00833 a minute, 38.0 h left"),
        (20, 60, "now the report"),
    ],
)
def test_a_pace_has_rate_and_time_left(done: int, seconds: float, expected: str) -> None:
    clock = Clock()
    pace = PhasePace(clock)
    pace.note({"score": (0, 20)})
    clock.now = seconds
    assert pace.note({"score": (done, 20)}) == expected


def test_a_terminal_has_a_bar_for_each_phase() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    bars = ProgressBars(lambda: {"records": (2, 2), "score": (1, 4)}, console)
    bars.update()
    bars.close()
    text = out.getvalue()
    assert "records" in text
    assert "2/2" in text
    assert "1/4" in text
