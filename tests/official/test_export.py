"""Predictions → submission → grade gives our own scores, for every task that a report can hold."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipelines.cli import main
from xstilts.errors import DataError
from xstilts.official import export as export_module
from xstilts.official.export import distinct, export, left_out
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
    "tatoeba_squad": ("tatoeba", "ka", [0, 2, 1], [0, 1, 2]),
    "lareqa": ("lareqa", "el", [["a", "x", "b"], ["x"]], [["a", "b"], ["y"]]),
    "tatoeba": ("tatoeba", "ka", [2, 2, 2], [0, 1, 2]),
    "mewslix": ("mewslix", "ta", [["Q2", "Q1"]], [["Q1"]]),
    "pawsx": ("pawsx", "ja", [0, 1, 1], [0, 0, 1]),
    "bucc_mining": (
        "bucc2018",
        "zh",
        ["test/en-1", "", "test/en-3"],
        [["test/en-1", "test/en-2"], ["test/en-4"], []],
    ),
}
#: Of XTREME alone.
EARLIER = ("tatoeba", "pawsx", "bucc_mining")


def report(folder: Path, evaluation: str, target: int | None = 1) -> Path:
    _, language, predictions, golds = CASES[evaluation]
    rows = {
        "id": [f"{'test/' if evaluation == 'bucc_mining' else ''}q{i}" for i in range(len(golds))], "cluster": [""] * len(golds),
        "prediction": [json.dumps(p) for p in predictions], "gold": [json.dumps(g) for g in golds],
        "backbone": "b", "arm": "none", "seed_intermediate": pd.array([None] * len(golds), "Int64"),
        "seed_target": pd.array([target] * len(golds), "Int64"), "language": language,
        **({"asked": ["Where?", "A cat.", " Come in"]} if TASKS[evaluation].format == "retrieval" else {}),
    }  # fmt: skip
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_parquet(folder / "predictions" / f"{evaluation}.parquet")
    return folder


@pytest.mark.parametrize("evaluation", CASES)
def test_the_round_trip_gives_our_score(tmp_path: Path, evaluation: str) -> None:
    name, language, predictions, golds = CASES[evaluation]
    benchmark = "xtreme" if evaluation in EARLIER else "xtreme-r"
    (cell,) = export(
        report(tmp_path / "report", evaluation), tmp_path / "out", benchmark, unofficial=True
    )
    assert cell.name == "b.none.t1"
    found = grade(cell / "predictions", cell / "labels", benchmark)["tasks"][name]["score"]
    metric = METRICS[task_metrics(TASKS[evaluation].metrics)[0]]
    assert found == pytest.approx(metric.value(metric.counts(predictions, golds, language).sum(0)))


def test_tatoeba_stands_in_the_alphabetical_order_of_its_english_sentences(tmp_path: Path) -> None:
    """As the official English file does: A cat (row 1), Come in (row 2), Where? (row 0)."""
    (cell,) = export(report(tmp_path / "report", "tatoeba_squad"), tmp_path / "out")
    found = {
        side: (cell / side / "tatoeba" / "test-ka.tsv").read_text().split()
        for side in ("predictions", "labels")
    }
    assert found == {"predictions": ["2", "1", "0"], "labels": ["1", "2", "0"]}


def test_mined_pairs_stand_by_the_ids_of_the_shared_task(tmp_path: Path) -> None:
    (cell,) = export(report(tmp_path / "report", "bucc_mining"), tmp_path / "out", "xtreme")
    found = {
        side: (cell / side / "bucc2018" / "test-zh.tsv").read_text()
        for side in ("predictions", "labels")
    }
    assert found == {
        "predictions": "q0\ten-1\nq2\ten-3\n",
        "labels": "q0\ten-1\nq0\ten-2\nq1\ten-4\n",
    }


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_an_export_replaces_the_one_before_and_keeps_other_files(tmp_path: Path) -> None:
    (cell,) = export(report(tmp_path / "first", "xquad"), tmp_path / "out")
    (cell / "notes.md").touch()
    (tmp_path / "out" / "other").mkdir()
    assert export(report(tmp_path / "second", "xnli"), tmp_path / "out") == [cell]
    assert files(tmp_path / "out") == {
        "b.none.t1/notes.md",
        "b.none.t1/predictions/xnli/test-sw.tsv",
        "b.none.t1/labels/xnli/test-sw.tsv",
    }
    assert (tmp_path / "out" / "other").is_dir()


def test_an_interrupted_export_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> str:
        raise KeyboardInterrupt

    export(report(tmp_path / "first", "xquad"), tmp_path / "out")
    before = files(tmp_path / "out")
    monkeypatch.setitem(export_module._WRITERS, "answers", interrupted)
    folder = report(report(tmp_path / "second", "xnli"), "xquad")
    with pytest.raises(KeyboardInterrupt):
        export(folder, tmp_path / "out")
    assert files(tmp_path / "out") == before


def test_a_report_without_tatoebas_sentences_is_refused(tmp_path: Path) -> None:
    path = report(tmp_path / "report", "tatoeba_squad") / "predictions" / "tatoeba_squad.parquet"
    pd.read_parquet(path).drop(columns="asked").to_parquet(path)
    with pytest.raises(DataError, match="no column asked"):
        export(tmp_path / "report", tmp_path / "out")


@pytest.mark.parametrize("evaluation", ["xquad", "mewslix", "lareqa"])
def test_an_example_whose_id_is_data_is_graded_like_others(tmp_path: Path, evaluation: str) -> None:
    """Of a file with the key `data` the official script reads the value alone: such files are
    wrapped.
    """
    path = report(tmp_path / "report", evaluation) / "predictions" / f"{evaluation}.parquet"
    rows = pd.read_parquet(path)
    rows.loc[0, "id"] = "data"
    plain, wrapped = [], []
    for frame, scores, out in ((pd.read_parquet(path), plain, "plain"), (rows, wrapped, "wrapped")):
        frame.to_parquet(path)
        (cell,) = export(tmp_path / "report", tmp_path / out)
        scores.append(grade(cell / "predictions", cell / "labels")["tasks"])
    assert plain == wrapped


def test_xtreme_r_takes_tatoeba_after_squad_and_xtreme_the_raw_one_which_is_part_of_every_cell(
    tmp_path: Path,
) -> None:
    folder = report(tmp_path / "report", "xnli")
    report(report(folder, "tatoeba_squad"), "tatoeba", target=None)
    names = [
        export(folder, tmp_path / benchmark, benchmark) for benchmark in ("xtreme", "xtreme-r")
    ]
    assert [[cell.name for cell in cells] for cells in names] == [["b.none.t1"]] * 2
    raw, tuned = (
        grade(c / "predictions", c / "labels", c.parent.name)["tasks"]["tatoeba"]["score"]
        for (c,) in names
    )
    assert raw == tuned == pytest.approx(100 / 3)
    found = [(c / "predictions/tatoeba/test-ka.tsv").read_text().split() for (c,) in names]
    assert found == [["2", "2", "2"], ["2", "1", "0"]]


def test_every_problem_of_a_submission_is_named(tmp_path: Path) -> None:
    (cell,) = export(report(tmp_path / "report", "xnli"), tmp_path / "out")
    problems = validate(cell / "predictions", labels=cell / "labels")
    assert "xcopa: no folder" in problems
    assert any("xnli/test-ar.tsv: is missing" in line for line in problems)
    assert [line for line in problems if "test-sw" in line] == [
        f"{cell / 'predictions/xnli/test-sw.tsv'}: 4 lines, and the test set has 5,010"
    ]


def test_a_file_is_opened_once_for_its_cells_and_once_for_their_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = report(tmp_path / "report", "xnli")
    file = folder / "predictions" / "xnli.parquet"
    one = pd.read_parquet(file)
    pd.concat([one.assign(arm=f"arm{k}") for k in range(5)]).to_parquet(file)
    opened: list[Any] = []

    def counted(source: Any) -> pq.ParquetFile:
        opened.append(source)
        return pq.ParquetFile(source)

    monkeypatch.setattr("xstilts.official.predictions.pq", SimpleNamespace(ParquetFile=counted))
    assert len(export(folder, tmp_path / "out")) == 5
    assert len(opened) == 2


def test_a_report_without_predictions_of_the_benchmark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no predictions of xtreme-r"):
        export(tmp_path, tmp_path / "out")


def test_the_command_line_grades_and_says_what_is_missing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (cell,) = export(report(tmp_path / "report", "xnli"), tmp_path / "out")
    assert main(["grade", str(cell / "predictions"), str(cell / "labels"), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["mean_of_present_tasks"] == 50.0
    assert found["present_tasks"] == ["xnli"]
    assert main(["validate", str(cell / "predictions")]) == 2
    assert "xcopa: no folder" in capfd.readouterr().err


def with_one_id(folder: Path, evaluation: str) -> Path:
    path = report(folder, evaluation) / "predictions" / f"{evaluation}.parquet"
    pd.read_parquet(path).assign(id="q").to_parquet(path)
    return folder


def test_rows_with_one_id_get_ids_of_their_own_in_predictions_and_labels(tmp_path: Path) -> None:
    """A file by id holds one entry for each; the official script counts every question of the
    labels.
    """
    (cell,) = export(with_one_id(tmp_path / "report", "xquad"), tmp_path / "out")
    predictions, labels = (
        json.loads((cell / side / "xquad/test-zh.json").read_text())
        for side in ("predictions", "labels")
    )
    assert list(predictions) == ["q", "q#2"]
    assert predictions["q"] == "the red cat"
    questions = labels["data"][0]["paragraphs"][0]["qas"]
    assert [
        (question["id"], [answer["text"] for answer in question["answers"]])
        for question in questions
    ] == [
        ("q", ["red cat"]),
        ("q#2", ["y", "x z"]),
    ]


def test_queries_with_one_id_get_ids_of_their_own(tmp_path: Path) -> None:
    (cell,) = export(with_one_id(tmp_path / "report", "lareqa"), tmp_path / "out")
    files = [
        json.loads((cell / side / "lareqa/test-el.json").read_text())
        for side in ("predictions", "labels")
    ]
    assert [list(entries) for entries in files] == [["q", "q#2"]] * 2
    assert [entries["q"] for entries in files] == [["a", "x", "b"], ["a", "b"]]


def test_a_new_id_is_never_one_that_another_row_has() -> None:
    assert distinct(["q", "q", "q#2", "q", "r"]) == ["q", "q#3", "q#2", "q#4", "r"]


def test_rows_with_one_id_keep_their_own_line(tmp_path: Path) -> None:
    (cell,) = export(with_one_id(tmp_path / "report", "xnli"), tmp_path / "out")
    labels = TASKS["xnli"].labels
    assert (cell / "predictions/xnli/test-sw.tsv").read_text().split() == [
        labels[n] for n in CASES["xnli"][2]
    ]


def with_forms(folder: Path, form: str) -> Path:
    forms = [{"evaluation": "udpos", "language": "wo", "form": form}]
    (folder / "summary.json").write_text(json.dumps({"forms": forms}))
    return folder


def test_words_that_are_not_the_official_ones_are_left_out_with_the_reason(tmp_path: Path) -> None:
    folder = with_forms(report(report(tmp_path / "report", "xnli"), "udpos"), "hub")
    (cell,) = export(folder, tmp_path / "out")
    assert sorted(path.name for path in (cell / "predictions").iterdir()) == ["xnli"]
    (reason,) = left_out(folder)
    assert reason.startswith("udpos (wo) has the words of the hub's copy")
    (cell,) = export(folder, tmp_path / "all", unofficial=True)
    assert sorted(path.name for path in (cell / "predictions").iterdir()) == ["udpos", "xnli"]


def test_words_of_the_treebanks_are_exported(tmp_path: Path) -> None:
    folder = with_forms(report(tmp_path / "report", "udpos"), "official")
    (cell,) = export(folder, tmp_path / "out")
    assert (cell / "predictions/udpos/test-wo.tsv").read_text() == "NOUN\nVERB\n\nDET\n\n"
    assert left_out(folder) == []


def test_a_report_that_does_not_state_the_form_has_the_hubs(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"no predictions of xtreme-r.*udpos \(wo\) has the words of the hub",
    ):
        export(report(tmp_path / "report", "udpos"), tmp_path / "out")


def test_the_command_line_says_what_it_left_out(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = with_forms(report(report(tmp_path / "report", "xnli"), "udpos"), "hub")
    assert main(["export", str(folder), str(tmp_path / "out")]) == 0
    assert "left out: udpos (wo)" in capfd.readouterr().err
    assert main(["export", str(folder), str(tmp_path / "all"), "--unofficial"]) == 0
    assert "left out" not in capfd.readouterr().err
