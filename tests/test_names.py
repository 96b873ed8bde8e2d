"""One meaning per name: modules and classes of the project."""

import ast
from collections import defaultdict
from pathlib import PurePath

from tests.test_import_order import MODULES

#: Names that several modules share because they mean the same thing.
SAME = {
    "component",  # the KFP component in each folder of components/
    "verify",  # of a mirror, and of a store: compare every file with its SHA-256
}
#: pipelines/commands has a module for each command, which is named as what it does.
COMMANDS = "pipelines.commands."
#: One file for each benchmark, named as the benchmark.
BENCHMARKS = "xstilts.tasks.benchmarks."


def shared(names: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: places for name, places in names.items() if len(places) > 1}


def test_no_two_modules_have_one_name() -> None:
    modules = defaultdict(list)
    for module, path in MODULES.items():
        if path.stem not in ("__init__", *SAME) and not module.startswith((COMMANDS, BENCHMARKS)):
            modules[path.stem].append(module)
    assert shared(modules) == {}


def test_no_two_public_classes_have_one_name() -> None:
    classes = defaultdict(list)
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(module)
    assert shared(classes) == {}


def test_no_module_is_a_drawer() -> None:
    drawers = {"utils", "util", "common", "helpers", "misc"}
    assert [module for module in MODULES if drawers & set(PurePath(module).name.split("."))] == []
