"""The notebook imports only what a user of the lock files has."""

import ast
import json
import sys
from importlib.metadata import packages_distributions

from requirements.licences import locked
from tests.conftest import ROOT

LOCKED = {
    name
    for lock in ("cpu.txt", "docs.txt")
    for name in locked((ROOT / "requirements" / lock).read_text())
}


def imported(source: str) -> set[str]:
    """Top-level modules that a cell imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
    return {name.partition(".")[0] for name in names}


def test_every_import_of_the_notebook_is_locked() -> None:
    notebook = json.loads((ROOT / "examples" / "results.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names = set().union(*(imported("".join(cell["source"])) for cell in cells))
    owners = packages_distributions()
    assert "xstilts" in names
    for name in names - {"xstilts"} - sys.stdlib_module_names:
        found = {owner.lower().replace("_", "-") for owner in owners.get(name, [])}
        assert found & LOCKED, f"{name} is in no lock file"
