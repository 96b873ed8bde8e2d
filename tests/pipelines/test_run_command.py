"""`xstilts run` trusts the store, not the runner."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines import local_runner
from pipelines.cli import main
from tests.e2e.runs import SMALL
from xstilts.errors import InfrastructureError
from xstilts.store.store import Store


@pytest.mark.slow
@pytest.mark.parametrize("reported", [True, False])
def test_lost_tasks_are_run_again_and_end_the_run_with_3(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    reported: bool,
) -> None:
    passes = []

    def green(run_uri: str, place: Any, *_: Any) -> bool:
        """Reports success for every task; at most the report's status exists."""
        passes.append(run_uri)
        if not reported:
            return True
        store, name = (
            Store.open(local_runner.BUCKET_URI, cache=tmp_path / "cache"),
            run_uri.rpartition("/")[2],
        )
        store.put_json(f"runs/{name}/status.json", {"exit_code": 0, "missing": []})
        return True

    monkeypatch.setattr(local_runner, "run_pipeline", green)
    monkeypatch.setattr(local_runner, "ray_head", lambda *_: contextlib.nullcontext())
    code = main(
        ["run", str(SMALL), "--home", str(tmp_path / "home"), "--out", str(tmp_path / "out")]
    )
    assert code == 3
    errors = capsys.readouterr().err
    assert "plan: no manifest" in errors
    assert "report: no manifest" in errors
    assert str(tmp_path / "out" / "logs" / "pipeline.log") in errors
    assert len(passes) == 2
    assert json.loads((tmp_path / "out" / "run.json").read_text())["run"].startswith("small-")


@pytest.mark.slow
def test_a_quiet_smoke_run_warns_that_its_scores_are_not_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: Any) -> None:
        raise InfrastructureError("stopped before the first task")

    monkeypatch.setattr(local_runner, "run_pipeline", stopped)
    monkeypatch.setattr(local_runner, "ray_head", lambda *_: contextlib.nullcontext())
    folders = ["--home", str(tmp_path / "home"), "--out", str(tmp_path / "out")]
    assert main(["run", str(SMALL), "--limit", "2", "--quiet", *folders]) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert "smoke run: at most 2 rows" in err
    assert "its scores are not results" in err


def test_an_earlier_report_is_never_shown_as_that_of_a_run_that_failed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    write_mirror: Callable[..., Path],
) -> None:
    out, mirror = tmp_path / "out", write_mirror(tmp_path / "mirror")
    reports = []

    def pipeline(run_uri: str, *_: Any) -> None:
        """Writes a report if `reports` has one for this run, and otherwise fails before it."""
        store, name = Store.open(local_runner.BUCKET_URI), run_uri.rpartition("/")[2]
        stored.append({key.rpartition("/")[2] for key in store.list(f"runs/{name}/report/")})
        if reports:
            store.put_bytes_at(f"runs/{name}/report/report.html", reports.pop())
            store.put_json(f"runs/{name}/status.json", {"exit_code": 0, "missing": []})

    def run(*options: str) -> str:
        folders = ["--home", str(tmp_path / "home"), "--out", str(out), "--mirror", str(mirror)]
        main(["run", str(SMALL), *folders, *options])
        return capfd.readouterr().out

    stored: list[set[str]] = []
    monkeypatch.setattr(local_runner, "run_pipeline", pipeline)
    monkeypatch.setattr(local_runner, "ray_head", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr("pipelines.commands.run._missing_outputs", lambda *_: [])

    reports.append(b"<html>first")
    run()
    assert (out / "report" / "report.html").read_bytes() == b"<html>first"
    run()  # the same plan: its report stays in the store, to be used again
    assert stored[-1] == {"report.html"}
    assert not (out / "report").exists()
    reports.append(b"<html>second")
    run()
    assert "report: " not in run("--set", "seeds=1")  # another plan
    assert stored[-1] == set()
    assert not (out / "report").exists()
    assert (out / "run.json").is_file()


def test_a_folder_of_other_files_is_refused_before_the_run_starts(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    notes = tmp_path / "out" / "report" / "notes.tex"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")
    folders = ["--home", str(tmp_path / "home"), "--out", str(tmp_path / "out")]
    assert main(["run", str(SMALL), *folders]) == 2
    assert "is not the report of a run" in capfd.readouterr().err
    assert notes.read_text() == "mine"
    assert not (tmp_path / "home" / "store").exists()
