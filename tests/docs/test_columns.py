"""docs/results.md lists the columns of the tables that a report and a score step write."""

import re
from pathlib import Path

import pandas as pd
import pytest

from tests.docs.pages import ROOT
from xstilts.analysis.effects import COLUMNS
from xstilts.analysis.inputs import Cell, ReportInput, Scored
from xstilts.analysis.report import CELLS, write_report
from xstilts.runs.score_output import SCHEMA

PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
TYPES = {"string": "O", "integer": "iu", "float": "f", "boolean": "b"}


def documented(heading: str) -> dict[str, str]:
    """Column → type, of the table below a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", section, re.M))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two arms with three seeds on a retrieval task, which has every column."""
    folder = tmp_path_factory.mktemp("report")

    def cell(arm: str, seed: int) -> Cell:
        ids = [str(number) for number in range(6)]
        right = [number % (2 + seed + (arm == "none")) == 0 for number in range(6)]
        predictions = [str(number) if hit else "x" for number, hit in zip(ids, right, strict=True)]
        scored = {
            ("tatoeba", code): Scored(
                ids, ids, predictions, ids, "test", language=code, asked=ids, rows=range(6)
            )
            for code in ("de", "fr")
        }
        return Cell("b", arm, seed, None if arm == "none" else seed, seed, "squad", scored)

    cells = [cell(arm, seed) for arm in ("none", "x") for seed in range(3)]
    contrast = {"name": "c", "arm": "x", "reference": "none", "implicit": False, "differences": []}
    empty = ("overlaps", "not_applicable", "skipped_languages", "overrides", "identities")
    expanded = {
        **{key: [] for key in empty},
        "name": "n",
        "plan": {},
        "contrasts": [contrast],
        "headline": "c",
        "controls": {},
        "environment": {},
        "cells": [],
        "order": {"arms": ["none", "x"], "backbones": ["b"], "evaluations": ["tatoeba"]},
    }
    metrics = {"tatoeba": ("retrieval_accuracy",)}
    write_report(folder, ReportInput(expanded, cells, metrics, [], [], [], "", "runs/r"))
    return folder


@pytest.mark.parametrize("table", ["results.parquet", "effects.parquet"])
def test_a_report_s_table_has_the_documented_columns(report: Path, table: str) -> None:
    assert list(documented(table)) == list(pd.read_parquet(report / table).columns)


def test_the_cells_have_the_documented_columns() -> None:
    assert list(documented("cells.parquet")) == CELLS.names


def test_the_predictions_have_the_documented_columns(report: Path) -> None:
    columns = pd.read_parquet(report / "predictions" / "tatoeba.parquet").columns
    assert sorted(documented("predictions/EVALUATION.parquet")) == sorted(columns)


@pytest.mark.parametrize("table", ["results.parquet", "effects.parquet"])
def test_a_column_that_may_be_null_is_documented_as_such(report: Path, table: str) -> None:
    frame = pd.read_parquet(report / table)
    null = {name for name in frame.columns if frame[name].isna().any()}
    assert null <= {name for name, kind in documented(table).items() if "null" in kind}


@pytest.mark.parametrize("table", ["results.parquet", "effects.parquet"])
def test_a_column_has_the_documented_type(report: Path, table: str) -> None:
    frame = pd.read_parquet(report / table).dropna(axis="columns", how="all")
    wrong = [
        f"{name}: {kind}, is {frame[name].dtype}"
        for name, kind in documented(table).items()
        if name in frame.columns and not _is(frame[name], kind.split(",")[0])
    ]
    assert wrong == []


def _is(column: pd.Series, kind: str) -> bool:
    checks = pd.api.types
    return {
        "string": checks.is_string_dtype,
        "integer": checks.is_integer_dtype,
        "float": checks.is_float_dtype,
        "boolean": checks.is_bool_dtype,
    }[kind](column)


def test_effects_columns_are_the_table_s() -> None:
    assert tuple(documented("effects.parquet")) == COLUMNS


def test_a_score_step_s_predictions_have_the_documented_columns() -> None:
    documented_names = list(documented("predictions.parquet of a score step"))
    assert documented_names == SCHEMA.names
