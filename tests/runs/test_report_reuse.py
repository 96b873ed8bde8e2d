"""A report is made once for equal inputs, and again if anything that it is made from has changed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xstilts.runs import actions, report_reuse
from xstilts.runs.finished import lacking
from xstilts.runs.stored_report import has_report
from xstilts.store.store import Store

FOLDER = "runs/r"
SCORE, OTHER = "a" * 64, "b" * 64
EXPANDED = {"steps": {SCORE: {"kind": "score"}}, "cells": []}
FAILURE = {"what": "a", "error": "x", "log": "", "exit_code": 1}
MANIFEST = f"steps/score/{SCORE}/manifest.json"


@pytest.fixture
def store(store: Store) -> Store:
    """With a run that has one score step."""
    store.put_json(f"{FOLDER}/expanded.json", EXPANDED)
    store.put_json(f"{FOLDER}/run.json", {"run": "r", "mirror": "miniature", "created": 1.0})
    store.put_json(MANIFEST, {"files": {"predictions.parquet": {"sha256": "0", "size": 1}}})
    return store


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by an entry with each report that is computed."""
    reports: list[int] = []

    def write_report(out: Path, _: Any) -> dict[str, Any]:
        reports.append(len(reports))
        out.mkdir(parents=True, exist_ok=True)
        (out / "summary.json").write_text('{"missing": []}')
        (out / "report.html").write_text(f"<html>{len(reports)}")
        return {"missing": []}

    monkeypatch.setattr("xstilts.analysis.report.write_report", write_report)
    monkeypatch.setattr("xstilts.runs.collect.report_input", lambda *_: None)
    return reports


@pytest.fixture
def report(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Runs the report action, as a new attempt of the run, into a folder of this name."""
    monkeypatch.setattr(actions, "open_run", lambda _: (store, FOLDER))

    def run(name: str) -> Path:
        store.delete(f"{FOLDER}/status.json")
        store.delete(f"{FOLDER}/tasks/")
        assert actions.report("s3://xstilts/runs/r", tmp_path / name) == {"missing": []}
        return tmp_path / name

    return run


def test_an_equal_report_is_used_again(
    store: Store, report: Callable[[str], Path], written: list[int]
) -> None:
    first, second = report("first"), report("second")
    assert written == [0]
    assert (second / "report.html").read_bytes() == (first / "report.html").read_bytes()
    assert store.get_json(f"{FOLDER}/status.json") == {"exit_code": 0, "missing": []}
    assert lacking(store, FOLDER, "report") == []


def test_steps_of_other_runs_and_the_time_of_the_run_change_nothing(
    store: Store, report: Callable[[str], Path], written: list[int]
) -> None:
    report("first")
    store.put_json(f"steps/score/{OTHER}/manifest.json", {"files": {}})
    store.put_json(f"{FOLDER}/run.json", {"run": "r", "mirror": "miniature", "created": 2.0})
    report("second")
    assert written == [0]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda s: s.put_json(MANIFEST, {"files": {}}), id="a step's outputs"),
        pytest.param(lambda s: s.delete(MANIFEST), id="a step that is not done"),
        pytest.param(
            lambda s: s.put_json(f"{FOLDER}/failures/score-a.json", FAILURE), id="a failure"
        ),
        pytest.param(
            lambda s: s.put_json(f"{FOLDER}/expanded.json", {**EXPANDED, "headline": "a"}),
            id="the plan",
        ),
        pytest.param(
            lambda s: s.put_json(
                f"{FOLDER}/run.json", {"run": "r", "mirror": "hub", "created": 1.0}
            ),
            id="the mirror",
        ),
        pytest.param(
            lambda s: s.put_json(f"{FOLDER}/cancelled.json", {"reason": "x"}), id="a cancellation"
        ),
        pytest.param(
            lambda s: s.put_bytes_at(f"{FOLDER}/report/report.html", b"<html>half"),
            id="a file of the report",
        ),
        pytest.param(
            lambda s: s.delete(f"{FOLDER}/report/report.html"), id="a missing file of the report"
        ),
        pytest.param(
            lambda s: s.delete(f"{FOLDER}/report_inputs.json"), id="a report that was not finished"
        ),
    ],
)
def test_a_change_makes_a_new_report(
    store: Store,
    report: Callable[[str], Path],
    written: list[int],
    change: Callable[[Store], None],
) -> None:
    report("first")
    change(store)
    assert (report("second") / "report.html").read_text() == "<html>2"
    assert store.get_bytes_at(f"{FOLDER}/report/report.html") == b"<html>2"


def writes(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """From now on a report has these files besides summary.json."""

    def write_report(out: Path, _: Any) -> None:
        for name in ("summary.json", *names):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text('{"missing": []}')

    monkeypatch.setattr("xstilts.analysis.report.write_report", write_report)


def change(store: Store) -> None:
    """Changes what the run's report is made from."""
    store.put_json(MANIFEST, {"files": {}})


def test_a_new_report_has_no_file_of_the_one_before(
    store: Store,
    report: Callable[[str], Path],
    written: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writes(monkeypatch, "predictions/udpos.parquet", "predictions/xquad.parquet")
    report("first")
    change(store)
    writes(monkeypatch, "predictions/udpos.parquet")
    report("second")
    assert store.list(f"{FOLDER}/report/") == [
        f"{FOLDER}/report/predictions/udpos.parquet",
        f"{FOLDER}/report/summary.json",
    ]


def test_a_report_that_fails_leaves_nothing_of_the_one_before(
    store: Store,
    report: Callable[[str], Path],
    written: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(*_: Any) -> None:
        raise MemoryError

    report("first")
    change(store)
    monkeypatch.setattr("xstilts.analysis.report.write_report", failing)
    with pytest.raises(MemoryError):
        report("second")
    assert store.list(f"{FOLDER}/report/") == []
    assert not has_report(store, "r")


def test_a_report_is_there_only_once_all_its_files_are(
    store: Store,
    report: Callable[[str], Path],
    written: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    for name in ("put_file", "delete"):
        method = getattr(Store, name)

        def watched(self: Store, key: str, *rest: Any, method: Any = method) -> None:
            if key.startswith(f"{FOLDER}/report/"):
                seen.append(has_report(self, "r"))
            method(self, key, *rest)

        monkeypatch.setattr(Store, name, watched)
    report("first")
    change(store)
    report("second")
    assert seen == [False] * 6  # two files are uploaded, deleted, and uploaded
    assert has_report(store, "r")


def test_other_code_makes_a_new_report(
    report: Callable[[str], Path], written: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    report("first")
    monkeypatch.setattr(report_reuse, "_code", lambda: {"xstilts": "another"})
    report("second")
    assert written == [0, 1]


def test_a_report_that_is_not_used_leaves_no_file(
    store: Store, report: Callable[[str], Path], written: list[int], tmp_path: Path
) -> None:
    report("first")
    inputs = report_reuse.inputs(store, FOLDER)
    assert inputs is not None
    store.put_bytes_at(f"{FOLDER}/report/report.html", b"<html>half")
    assert report_reuse.fetch(store, FOLDER, inputs, tmp_path / "out") is None
    assert not (tmp_path / "out").exists()


def test_the_libraries_of_a_report_are_in_its_image() -> None:
    lines = (
        (Path(__file__).resolve().parents[2] / "images/packages/report.txt")
        .read_text()
        .splitlines()
    )
    assert set(report_reuse.LIBRARIES) <= set(lines)
