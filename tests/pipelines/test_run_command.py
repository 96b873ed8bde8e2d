"""`xstilts run` trusts the store, not the runner."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from pipelines import local_runner
from pipelines.cli import main
from tests.e2e.runs import SMALL
from xstilts.store.store import Store


@pytest.mark.slow
def test_reported_successes_without_outputs_end_the_run_with_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def green(run_uri: str, place: Any, *_: Any) -> bool:
        """Reports success for every task; only the report's status exists."""
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
    assert json.loads((tmp_path / "out" / "run.json").read_text())["run"].startswith("small-")
