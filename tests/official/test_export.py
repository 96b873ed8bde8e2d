"""Predictions → submission → grade gives our own scores, for every task that a report can hold."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.cli import main
from xstilts.errors import DataError
from xstilts.official.export import export
from xstilts.official.grade import grade
from xstilts.official.validate import validate
from xstilts.scoring.metrics import METRICS, task_metrics
from xstilts.tasks.registry import TASKS

#: evaluation → (official name, language, predictions, gold answers).
CASES: dict[str, tuple[str, str, list[Any], list[Any]]] = {
    "xnli": ("xnli", "sw", [0, 1, 2, 2], [0, 2, 2, 1]),
    "xcopa": ("xcopa", "qu", [0, 1, 1], [0, 0, 1]),
    "udpos": ("udpos", "wo", [["NOUN", "VERB"], ["DET"]], [["NOUN", "NOUN"], ["DET"]]),
    "wikiann": ("panx", "yo", [["B-PER", "I-PER", "O"]], [["B-PER", "I-PER", "B-LOC"]]),
    "xquad": ("xquad", "zh", ["the red cat", "x"], [["red cat"], ["y", "x z"]]),
    "mlqa": ("mlqa", "de", ["die Stadt", "北"], [["Stadt"], ["a"]]),
    "tydiqa": ("tydiqa", "te", ["a b", ""], [["b c"], ["d"]]),
    "tatoeba": ("tatoeba", "ka", [0, 2, 1], [0, 1, 2]),
    "lareqa": ("lareqa", "el", [["a", "x", "b"], ["x"]], [["a", "b"], ["y"]]),
    "mewslix": ("mewslix", "ta", [["Q2", "Q1"]], [["Q1"]]),
}


def report(folder: Path, evaluation: str) -> Path:
    _, language, predictions, golds = CASES[evaluation]
    rows = {
        "id": [f"q{i}" for i in range(len(golds))], "cluster": [""] * len(golds),
        "prediction": [json.dumps(p) for p in predictions], "gold": [json.dumps(g) for g in golds],
        "backbone": "b", "arm": "none", "seed_intermediate": pd.array([None] * len(golds), "Int64"), "seed_target": 1,
        "language": language,
    }  # fmt: skip
    (folder / "predictions").mkdir(parents=True)
    pd.DataFrame(rows).to_parquet(folder / "predictions" / f"{evaluation}.parquet")
    return folder


@pytest.mark.parametrize("evaluation", CASES)
def test_the_round_trip_gives_our_score(tmp_path: Path, evaluation: str) -> None:
    name, language, predictions, golds = CASES[evaluation]
    (cell,) = export(report(tmp_path / "report", evaluation), tmp_path / "out")
    assert cell.name == "b.none.t1"
    found = grade(cell / "predictions", cell / "labels")["tasks"][name]["score"]
    metric = METRICS[task_metrics(TASKS[evaluation].metrics)[0]]
    assert found == pytest.approx(metric.value(metric.counts(predictions, golds, language).sum(0)))


def test_every_problem_of_a_submission_is_named(tmp_path: Path) -> None:
    (cell,) = export(report(tmp_path / "report", "xnli"), tmp_path / "out")
    problems = validate(cell / "predictions", labels=cell / "labels")
    assert "xcopa: no folder" in problems
    assert any("xnli/test-ar.tsv: is missing" in line for line in problems)
    assert not any("test-sw" in line for line in problems)


def test_a_report_without_predictions_of_the_benchmark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no prediction of xtreme-r"):
        export(tmp_path, tmp_path / "out")


def test_the_command_line_grades_and_says_what_is_missing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (cell,) = export(report(tmp_path / "report", "xnli"), tmp_path / "out")
    assert main(["grade", str(cell / "predictions"), str(cell / "labels"), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["overall"] == 50.0
    assert found["over"] == ["xnli"]
    assert main(["validate", str(cell / "predictions")]) == 2
    assert "xcopa: no folder" in capfd.readouterr().err
