"""Progress lines: counts by kind, printed when they change."""

from typing import Any

from pipelines.progress import ProgressPrinter, progress_line


class FakeStore:
    def __init__(self, **done: set[str]) -> None:
        self._done = done

    def finished(self, kind: str, fingerprints: set[str]) -> set[str]:
        return self._done.get(kind, set()) & fingerprints


def test_a_line_counts_the_finished_steps_of_the_run() -> None:
    store: Any = FakeStore(records={"a", "of-another-run"})
    totals = {"records": {"a", "b"}, "build": set[str](), "score": {"c"}}
    assert progress_line(store, totals) == "records 1/2  score 0/1"


def test_a_line_is_printed_only_when_it_changes() -> None:
    lines = iter(["0/2", "0/2", "1/2"])
    printed: list[str] = []
    printer = ProgressPrinter(lambda: next(lines), printed.append)
    for _ in range(3):
        printer.update()
    assert [line.split()[-1] for line in printed] == ["0/2", "1/2"]
