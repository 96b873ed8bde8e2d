"""`xstilts results`, and which run `xstilts report` compares with."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.cli import main
from xstilts.runs.firing_history import previous_firing


@pytest.fixture
def report(tmp_path: Path) -> Path:
    folder = tmp_path / "demo" / "report"
    folder.mkdir(parents=True)
    rows = [
        {"backbone": "b", "arm": "none", "evaluation": "xnli", "metric": "accuracy", "language": language,
         "checkpoint": "selected", "value": value, "seed_intermediate": None, "seed_target": 0,
         "trained_target": "mnli"}
        for language, value in (("avg", 60.0), ("de", 50.0))
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(folder / "results.parquet")
    return folder


@pytest.mark.parametrize("inside", [True, False], ids=["report folder", "run folder"])
def test_averages_of_a_local_report_are_printed(
    report: Path, inside: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = report if inside else report.parent
    assert main(["results", str(folder), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"backbone": "b", "arm": "none", "evaluation": "xnli", "metric": "accuracy", "score": 60.0,
         "standard_error": None, "cells": 1}
    ]  # fmt: skip


def test_all_rows_are_printed_as_csv(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["results", str(report), "--table", "results", "--format", "csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_folder_without_a_report_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["results", str(tmp_path)]) == 2
    assert (
        "no results.parquet in this folder; give the folder of a report" in capsys.readouterr().err
    )


class Firings:
    """A store with a schedule's firings: number → whether its plan step has run."""

    def __init__(self, planned: dict[int, bool], run: dict[str, Any]) -> None:
        self.planned, self.run = planned, run

    def list(self, prefix: str) -> list[str]:
        assert prefix == "schedules/weekly/firings/"
        return [f"{prefix}{number}.json" for number in self.planned]

    def get_json(self, key: str) -> dict[str, Any] | None:
        if key.startswith("runs/"):
            return self.run
        number = int(Path(key).stem)
        return {"run": f"weekly-{number}", "number": number, "at": 0.0}

    def size(self, key: str) -> int | None:
        return 1 if self.planned[int(key.split("/")[1].removeprefix("weekly-"))] else None


@pytest.mark.parametrize(
    ("planned", "run", "other"),
    [
        ({0: True, 1: True, 2: True, 3: True}, {"schedule": "weekly", "firing": 2}, "weekly-1"),
        ({0: True, 1: False, 2: True}, {"schedule": "weekly", "firing": 2}, "weekly-0"),
        ({0: True}, {"schedule": "weekly", "firing": 0}, None),
        ({0: True}, {"run": "single"}, None),
    ],
    ids=["the one before", "not one that was never planned", "the first", "no schedule"],
)
def test_a_firing_is_compared_with_the_one_before(
    planned: dict[int, bool], run: dict[str, Any], other: str | None
) -> None:
    assert previous_firing(Firings(planned, run), "weekly-2") == other  # type: ignore[arg-type]
