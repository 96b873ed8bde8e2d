"""`xstilts run` trusts the store, not the runner."""

import contextlib
import json
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
