"""The artifacts of the report, and the verdict."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.report import artifacts
from xstilts.errors import DataError

SUMMARY = {
    "headline_effects": [
        {"backbone": "llava", "evaluation": "xquad", "effect": 1.5},
        {"backbone": "llava", "evaluation": "udpos", "effect": None},
    ],
    "missing": [{"what": "llava on tatoeba"}],
}


class Metrics(dict[str, float]):
    def log_metric(self, name: str, value: float) -> None:
        self[name] = value


class Folder:
    """A store with one status.json, or none."""

    def __init__(self, status: Mapping[str, Any] | None) -> None:
        self.status = status

    def get_json(self, key: str) -> Mapping[str, Any] | None:
        assert key == "runs/one/status.json"
        return self.status


def reported(run: str, out: Path) -> dict[str, Any]:
    (out / "report.html").write_text("<html>")
    (out / "report.md").write_text("# report")
    return SUMMARY


def test_a_report_with_missing_cells_succeeds_with_all_its_artifacts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "report", reported)
    html, markdown = (SimpleNamespace(path=str(tmp_path / name)) for name in ("html", "markdown"))
    metrics = Metrics()
    assert artifacts.write("s3://b/runs/one", html, markdown, metrics) == "s3://b/runs/one"
    assert (tmp_path / "html").read_text() == "<html>"
    assert (tmp_path / "markdown").read_text() == "# report"
    assert metrics == {"llava xquad": 1.5, "missing cells": 1}


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (None, "no report; the report step did not finish"),
        ({"missing": SUMMARY["missing"]}, "llava on tatoeba"),
    ],
)
def test_the_verdict_fails_if_cells_or_the_report_are_missing(
    monkeypatch: pytest.MonkeyPatch, status: Mapping[str, Any] | None, message: str
) -> None:
    monkeypatch.setattr(artifacts, "open_run", lambda run: (Folder(status), "runs/one"))
    with pytest.raises(DataError, match=message):
        artifacts.verdict("s3://b/runs/one")


def test_the_verdict_on_a_whole_report_is_green(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "open_run", lambda run: (Folder({"missing": []}), "runs/one"))
    assert artifacts.verdict("s3://b/runs/one") == "s3://b/runs/one"
