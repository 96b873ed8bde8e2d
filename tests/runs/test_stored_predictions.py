"""Submissions of reports that do not contain their predictions: they are read from the store."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.cli import main
from xstilts.analysis.report import CELLS
from xstilts.errors import DataError, StoreError
from xstilts.official.export import export
from xstilts.runs.score_output import SCHEMA
from xstilts.runs.stored_predictions import StoredPredictions
from xstilts.step import Step
from xstilts.store.server import serve
from xstilts.store.store import Store

LANGUAGES = ("de", "sw")
#: Foreign sentence k is asked with QUESTIONS[k]; predictions are positions of English sentences.
QUESTIONS = ("b", "c", "a")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    before = dict(os.environ)
    with serve(tmp_path / "s3") as server:
        os.environ.update(server.env() | {"XSTILTS_CACHE": str(tmp_path / "cache")})
        yield Store.open("s3://xstilts/store", cache=tmp_path / "cache")
    os.environ.clear()
    os.environ.update(before)


def score(store: Store, folder: Path, evaluation: str, predicted: int, **spec: Any) -> str:
    """A finished score step in which every language has three rows; `last` differs."""
    rows = [
        {"checkpoint": checkpoint, "language": language, "row": k, "id": f"{language}{k}", "cluster": "", "parallel": "",
         "prediction": json.dumps(predicted if checkpoint == "selected" else 0), "gold": json.dumps(k)}
        for language in LANGUAGES
        for checkpoint in ("selected", "last")
        for k in range(3)
    ]  # fmt: skip
    path = folder / "predictions.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    parents = {}
    if spec["format"] == "retrieval":
        records = folder / "records.parquet"
        pq.write_table(pa.table({"text_pair": list(QUESTIONS)}), records)
        step = Step("records", {"task": evaluation})
        store.commit(step, {"records.parquet": records}, {})
        parents = {f"gold:{language}": step.fingerprint for language in LANGUAGES}
    step = Step(
        "score",
        {"evaluation": evaluation, "languages": list(LANGUAGES), "predicted": predicted, **spec},
        parents,
    )
    store.commit(step, {"predictions.parquet": path}, {})
    return step.fingerprint


@pytest.fixture
def report(store: Store, tmp_path: Path) -> Path:
    """A report without predictions: XNLI of two seeds, and raw Tatoeba."""
    folder = tmp_path / "report"
    folder.mkdir()
    rows = [
        {"backbone": "b", "arm": "x", "seed_intermediate": 0, "seed_target": seed, "evaluation": "xnli",
         "step": score(store, tmp_path, "xnli", seed + 1, format="classification"), "rows": 6}
        for seed in (0, 1)
    ]  # fmt: skip
    step = score(store, tmp_path, "tatoeba", 2, format="retrieval")
    rows.append({**rows[0], "seed_target": None, "evaluation": "tatoeba", "step": step})
    pq.write_table(pa.Table.from_pylist(rows, schema=CELLS), folder / "cells.parquet")
    return folder


def texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.tsv")}


def test_the_command_line_reads_predictions_from_the_store(
    store: Store, report: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ["--store", store.uri, "--benchmark", "xtreme"]
    assert main(["export", str(report), str(out), *arguments]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["b.x.i0.t0", "b.x.i0.t1"]
    written = texts(out)
    for seed, name in ((0, "neutral"), (1, "contradiction")):
        assert written[f"b.x.i0.t{seed}/predictions/xnli/test-de.tsv"] == f"{name}\n" * 3
        # Raw retrieval is part of every cell, in the order of the English sentences.
        assert written[f"b.x.i0.t{seed}/predictions/tatoeba/test-sw.tsv"] == "2\n2\n2\n"
        assert written[f"b.x.i0.t{seed}/labels/tatoeba/test-sw.tsv"] == "2\n0\n1\n"


def test_one_cell_and_language_is_read_at_a_time(store: Store, report: Path) -> None:
    parts = StoredPredictions(store, report).parts("xnli", lambda language: language == "de")
    cell, language, part = next(parts)
    assert (cell, language) == (("b", "x", 0, 0), "de")
    assert (part.ids, part.predictions) == (["de0", "de1", "de2"], ["1", "1", "1"])
    assert [cell for cell, _, _ in parts] == [("b", "x", 0, 1)]


def test_a_store_without_the_steps_of_the_report_is_named(
    store: Store, report: Path, tmp_path: Path
) -> None:
    store.delete("steps/score/")
    with pytest.raises(StoreError, match="give the store of its run with --store"):
        StoredPredictions(store, report)


def test_another_table_is_no_list_of_cells(store: Store, tmp_path: Path) -> None:
    pq.write_table(pa.table({"step": ["x"]}), tmp_path / "cells.parquet")
    with pytest.raises(DataError, match="no column arm, backbone, evaluation"):
        StoredPredictions(store, tmp_path)


def test_a_report_of_one_file_per_evaluation_is_read_by_row_group(tmp_path: Path) -> None:
    """Rows of one cell and language may be in several row groups, and a group may have several."""
    names = (
        "backbone",
        "arm",
        "seed_intermediate",
        "seed_target",
        "language",
        "id",
        "prediction",
        "gold",
    )
    rows = [
        ("b", arm, None, 0, language, f"{arm}{language}{k}", json.dumps(k), "0")
        for k in range(3)
        for arm in ("none", "x")
        for language in LANGUAGES
    ]
    (tmp_path / "predictions").mkdir()
    table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])
    pq.write_table(table, tmp_path / "predictions" / "xnli.parquet", row_group_size=5)
    cells = export(tmp_path, tmp_path / "out")
    assert [cell.name for cell in cells] == ["b.none.t0", "b.x.t0"]
    for text in texts(tmp_path / "out").items():
        side = text[0].split("/")[1]
        expected = (
            "entailment\nneutral\ncontradiction\n" if side == "predictions" else "entailment\n" * 3
        )
        assert text[1] == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seed_target": "zero"}, "'zero' is not a seed"),
        ({"prediction": None}, "prediction is not text in every row"),
        ({"gold": 0}, "gold is not text in every row"),
    ],
)
def test_values_of_other_types_are_an_error(
    given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    row = {
        "backbone": "b", "arm": "x", "seed_intermediate": None, "seed_target": 0,
        "language": "de", "id": "1", "prediction": "0", "gold": "0",
    }  # fmt: skip
    (tmp_path / "predictions").mkdir()
    table = pa.Table.from_pylist([row | given])
    pq.write_table(table, tmp_path / "predictions" / "xnli.parquet")
    with pytest.raises(DataError, match=message):
        export(tmp_path, tmp_path / "out")
