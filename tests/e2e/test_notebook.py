"""The notebook of examples/ runs from its first to its last cell, on a finished run of a small plan."""

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.e2e.runs import SMALL, Finished

nbformat = pytest.importorskip("nbformat", reason="make test installs requirements/docs.txt")
nbclient = pytest.importorskip("nbclient", reason="make test installs requirements/docs.txt")

NOTEBOOK = ROOT / "examples" / "results.ipynb"

pytestmark = [pytest.mark.slow, pytest.mark.e2e]


def test_the_notebook_runs(undisturbed: Finished, tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = [
        cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())
    ]
    places = {"PLAN": SMALL, "HOME": undisturbed.home, "OUT": tmp_path / "out"}
    parameters.source = "\n".join(f"{name} = {str(place)!r}" for name, place in places.items())
    client = nbclient.NotebookClient(
        notebook, timeout=900, resources={"metadata": {"path": str(ROOT)}}
    )
    client.execute()
    (headline,) = [cell for cell in notebook.cells if cell.source.startswith("effects =")]
    assert "tiny-llava" in headline.outputs[0]["data"]["text/plain"]
