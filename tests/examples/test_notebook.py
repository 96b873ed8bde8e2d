"""The notebook of examples/ as it is saved. tests/e2e/test_notebook.py executes it."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="make test installs requirements/docs.txt")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "results.ipynb"


def test_the_notebook_is_saved_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert [cell.id for cell in code if cell.outputs or cell.execution_count] == []
