"""The public Python API."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import xstilts
from tests.conftest import ROOT
from xstilts.analysis.table_file import READ
from xstilts.errors import PlanError, RunFailed

pytestmark = pytest.mark.slow

SMALL = ROOT / "tests" / "e2e" / "small.yaml"


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, xstilts; dir(xstilts); print([m for m in ('torch', 'ray', 'kfp', 'pandas', 'pydantic') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_every_public_name_exists() -> None:
    assert [name for name in xstilts.__all__ if not hasattr(xstilts, name)] == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        xstilts.nonsense  # noqa: B018


def test_a_plan_is_loaded_and_expanded(tmp_path: Path) -> None:
    plan = xstilts.load_plan(SMALL)
    expansion = xstilts.expand(plan, home=tmp_path)
    assert {cell["backbone"] for cell in expansion.cells} == set(plan.backbones)
    assert expansion.steps == xstilts.expand(SMALL, home=tmp_path).steps


def test_tables_are_read_from_a_run_or_from_its_report(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    tables = {name: pd.DataFrame([dict.fromkeys(columns, 1)]) for name, columns in READ.items()}
    for name, table in tables.items():
        table.to_parquet(tmp_path / "report" / name)
    results, effects = xstilts.results(tmp_path), xstilts.effects(str(tmp_path / "report"))
    pd.testing.assert_frame_equal(results, tables["results.parquet"])
    pd.testing.assert_frame_equal(effects, tables["effects.parquet"])


def test_a_folder_without_a_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=f"{tmp_path}: no effects.parquet"):
        xstilts.effects(tmp_path)


def test_a_run_of_an_invalid_plan_raises_with_the_exit_code(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("name: wrong\nnonsense: 1\n")
    with pytest.raises(RunFailed) as raised:
        xstilts.run(plan, out=tmp_path / "out", home=tmp_path / "home")
    assert raised.value.exit_code == 2
