"""The notebook of examples/ runs from its first to its last cell, on a plan of seconds."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="make test installs requirements/docs.txt")
nbclient = pytest.importorskip("nbclient", reason="make test installs requirements/docs.txt")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "results.ipynb"
PLAN = ROOT / "tests" / "e2e" / "small.yaml"


def test_the_notebook_is_saved_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert [cell.id for cell in code if cell.outputs or cell.execution_count] == []


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.e2e
def test_the_notebook_runs_on_a_small_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = [
        cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())
    ]
    places = {"PLAN": PLAN, "HOME": tmp_path / "home", "OUT": tmp_path / "out"}
    parameters.source = "\n".join(f"{name} = {str(place)!r}" for name, place in places.items())
    client = nbclient.NotebookClient(
        notebook, timeout=900, resources={"metadata": {"path": str(ROOT)}}
    )
    client.execute()
    (headline,) = [cell for cell in notebook.cells if cell.source.startswith("effects =")]
    assert "tiny-llava" in headline.outputs[0]["data"]["text/plain"]
