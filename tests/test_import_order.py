"""Which package may import which. Imports inside functions and under TYPE_CHECKING count like
all others.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: From the ground up: each may import what stands before it in the list, and itself.
#: docs/architecture.md has the figure.
ORDER = (
    "xstilts.errors",
    "xstilts.processes",
    "xstilts.terminal_tables",
    "xstilts.input_files",
    "xstilts.document_shape",
    "xstilts.new_files",
    "xstilts.stored_documents",
    "xstilts.step",
    "xstilts.environment",
    "xstilts.random_streams",
    "xstilts.tasks",
    "xstilts.store",
    "xstilts.sources",
    "xstilts.data",
    "xstilts.models",
    "xstilts.plan",
    "xstilts.mirror",
    "xstilts.scoring",
    "xstilts.training",
    "xstilts.official",
    "xstilts.analysis",
    "xstilts.miniature",
    "xstilts.runs",
    "xstilts.api",
    "components",
    "images",
    "pipelines",
    "xstilts.command_line",
    "xstilts.__main__",
)

#: Packages whose functions compute: they know no store and no run folder.
PURE = ("xstilts.training", "xstilts.scoring", "xstilts.analysis")


def modules() -> dict[str, Path]:
    """Dotted name → file, of everything that ORDER covers."""
    found = {}
    for top in ("xstilts", "components", "images", "pipelines"):
        for path in (ROOT / top).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(name: str) -> Iterator[tuple[str, int]]:
    """The project's modules that a module imports, with their line numbers."""
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            targets = [
                f"{node.module}.{alias.name}"
                if f"{node.module}.{alias.name}" in MODULES
                else node.module
                for alias in node.names
            ]
        else:
            continue
        yield from ((target, node.lineno) for target in dict.fromkeys(targets) if target in MODULES)


def layer(name: str) -> str:
    """The entry of ORDER that a module belongs to; the package `xstilts` itself stands above its
    parts.
    """
    return next((entry for entry in ORDER if name == entry or name.startswith(f"{entry}.")), "")


def test_every_module_has_a_layer() -> None:
    assert [name for name in MODULES if not layer(name) and name != "xstilts"] == []


def test_imports_point_down() -> None:
    upward = [
        f"{name}:{line} imports {target}"
        for name in MODULES
        for target, line in imports(name)
        if layer(name) and layer(target) and ORDER.index(layer(target)) > ORDER.index(layer(name))
    ]
    assert upward == []


def test_no_two_modules_import_each_other_in_a_circle() -> None:
    edges = {name: {target for target, _ in imports(name)} - {name} for name in MODULES}
    while leaves := [name for name, targets in edges.items() if not targets & edges.keys()]:
        for name in leaves:
            del edges[name]
    assert sorted(edges) == []


@pytest.mark.parametrize("package", PURE)
def test_a_pure_package_knows_no_store(package: str) -> None:
    stores = [
        f"{name}:{line} imports {target}"
        for name in MODULES
        if name.startswith(package)
        for target, line in imports(name)
        if layer(target) in ("xstilts.store", "xstilts.runs")
    ]
    assert stores == []


def test_relative_imports_are_not_used() -> None:
    """They would escape the tests above."""
    relative = [
        name
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []
