"""Progress of a run: lines without a terminal, bars on one."""

import io
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from rich.console import Console

from pipelines.plan_file import open_plan
from pipelines.progress import (
    Counts,
    PhasePace,
    ProgressBars,
    ProgressPrinter,
    ProgressThread,
    Snapshot,
    snapshot,
    work_order,
)
from xstilts.errors import StoreError
from xstilts.plan.expand import expand_offline
from xstilts.runs.folder import failure_key
from xstilts.step import STEP_KINDS, Step


class FakeStore:
    def __init__(self, *failures: str, **done: set[str]) -> None:
        self._failures, self._done = failures, done

    def finished(self, kind: str, fingerprints: set[str]) -> set[str]:
        return self._done.get(kind, set()) & fingerprints

    def list(self, prefix: str) -> list[str]:
        return [key for key in self._failures if key.startswith(prefix)]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def named(kind: str, label: str) -> Step:
    return Step(kind, {"label": label}, {}, {"label": label})


TRAINING, SCORING = named("finetune", "tiny-llava: none → squad, seed 0"), named("score", "xquad")
ORDER = {"t": TRAINING, "s": SCORING, "t2": named("finetune", "tiny-qwen-vl: none"), "b": named("build", "build m")}  # fmt: skip


def seen(counts: Counts) -> Snapshot:
    """A snapshot whose current step is of the first kind that is not finished."""
    current = next((kind for kind, (done, of) in counts.items() if done < of), None)
    return Snapshot(counts, None if current is None else named(current, "tiny"))


@pytest.mark.parametrize(
    ("failures", "done", "step"),
    [
        ([], {}, "finetune tiny-llava: none → squad, seed 0"),
        ([], {"finetune": {"t"}}, "score xquad"),
        ([], {"finetune": {"t"}, "score": {"s"}}, "finetune tiny-qwen-vl: none"),
        ([("finetune", "t")], {}, "score xquad"),
        ([], {"finetune": {"t", "t2"}, "score": {"s"}}, "build m"),
        ([], {"finetune": {"t", "t2"}, "score": {"s"}, "build": {"b"}}, "report"),
    ],
)
def test_the_current_step_is_the_first_that_is_neither_finished_nor_failed(
    failures: list[tuple[str, str]], done: Mapping[str, set[str]], step: str
) -> None:
    keys = [failure_key("runs/r", kind, fingerprint) for kind, fingerprint in failures]
    store: Any = FakeStore(*keys, failure_key("runs/other", "finetune", "t"), **done)
    assert snapshot(store, ORDER, "r").step == step


def test_only_the_steps_of_the_run_count() -> None:
    store: Any = FakeStore(finetune={"t", "of-another-run"})
    counts = snapshot(store, ORDER, "r").counts
    assert list(counts.items()) == [("build", (0, 1)), ("finetune", (1, 2)), ("score", (0, 1))]


def test_each_group_trains_and_then_scores() -> None:
    expansion = expand_offline(open_plan("demo").plan)
    order = work_order(expansion)
    assert order.keys() == expansion.steps.keys()
    kinds = [step.kind for step in order.values()]
    staged = kinds[: kinds.index("finetune")]
    assert list(dict.fromkeys(staged)) == [kind for kind in STEP_KINDS if kind in staged]
    trained_and_scored = list(
        dict.fromkeys(
            zip(
                kinds,
                [step.settings["label"].split(":")[0] for step in order.values()],
                strict=True,
            )
        )
    )
    assert trained_and_scored[-6:] == [
        (kind, backbone)
        for backbone in ("tiny-xlm-r", "tiny-llava", "tiny-qwen-vl")
        for kind in ("finetune", "score")
    ]


def printed(steps: list[tuple[float, Counts]]) -> list[str]:
    """The lines of a printer that sees counts at these times, without note and time."""
    return [line.split("  (")[0].split(" s  ")[1] for line in lines_of(steps)]


def lines_of(steps: list[tuple[float, Counts]]) -> list[str]:
    clock, lines = Clock(), []
    state: list[Snapshot] = []
    printer = ProgressPrinter(lambda: state[-1], lines.append, clock)
    for now, counts in steps:
        clock.now = now
        state.append(seen(counts))
        printer.update()
    return lines


def test_a_line_names_the_current_step_with_rate_and_time_left() -> None:
    lines = lines_of(
        [(0, {"score": (0, 20)}), (60, {"score": (10, 20)}), (90, {"score": (20, 20)})]
    )
    assert lines == [
        "      0 s  score 0/20  (now score tiny)",
        "     60 s  score 10/20  (now score tiny; 10 a minute, 60 s left)",
        "     90 s  score 20/20  (now report)",
    ]


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
        (0, 30, ""),
        (10, 30, "20 a minute, 30 s left"),
        (1, 120, "0.5 a minute, 38 min left"),
        (1, 7200, "0.00833 a minute, 38.0 h left"),
        (20, 60, ""),
    ],
)
def test_a_pace_has_rate_and_time_left(done: int, seconds: float, expected: str) -> None:
    clock = Clock()
    pace = PhasePace(clock)
    pace.note(seen({"score": (0, 20)}))
    clock.now = seconds
    assert pace.note(seen({"score": (done, 20)})) == expected


def shown(snapshots: list[Snapshot], width: int = 100) -> str:
    """What bars print on a terminal that sees these snapshots."""
    out = io.StringIO()
    bars = ProgressBars(
        lambda: snapshots.pop(0), Console(file=out, force_terminal=True, width=width)
    )
    while snapshots:
        bars.update()
    bars._bars.refresh()
    bars.close()
    return out.getvalue()


def test_a_terminal_has_a_bar_for_each_phase() -> None:
    text = shown([seen({"records": (2, 2), "score": (1, 4)})])
    assert "records" in text
    assert "2/2" in text
    assert "1/4" in text


def test_the_current_step_is_below_the_bars_in_one_line() -> None:
    text = shown([Snapshot({"finetune": (0, 1)}, TRAINING)], width=40)
    assert "now finetune tiny-llava: none → squad, …" in text


def test_the_line_of_the_current_step_is_gone_in_the_end() -> None:
    text = shown([Snapshot({"finetune": (1, 1)}, None)])
    last = text[text.rindex("finetune") :]
    assert "now" not in last


def test_a_store_that_does_not_answer_once_ends_no_progress() -> None:
    updates, enough = [], threading.Event()

    class Display:
        def update(self) -> None:
            updates.append(1)
            if len(updates) == 1:
                raise StoreError("no answer")
            enough.set()

        def close(self) -> None: ...

    thread = ProgressThread(Display(), interval=0.01)
    thread.start()
    assert enough.wait(10)
    thread.stop()
