"""What `make setup` checks before it installs anything."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from requirements import prerequisites
from requirements.prerequisites import MODULES, PYTHONS, missing, untested
from tests.conftest import ROOT

GOOD = ((3, 12, 1), "Linux", "x86_64", "2.36")


def test_a_tested_machine_is_accepted() -> None:
    assert list(untested(*GOOD)) == []
    assert list(missing({*MODULES}, 4.0, "cpu", ".")) == []


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (((3, 10, 12), *GOOD[1:]), "Python 3.10.12 ({python}): xstilts needs Python 3.11, 3.12 or 3.13"),
        (((3, 14, 0), *GOOD[1:]), "Python 3.14.0 ({python}): xstilts needs Python 3.11, 3.12 or 3.13"),
        ((GOOD[0], "Linux", "aarch64", "2.36"), "Linux on aarch64: the locked packages are for Linux on x86_64"),
        ((GOOD[0], "Darwin", "arm64", ""), "Darwin on arm64: the locked packages are for Linux on x86_64"),
        ((*GOOD[:3], "2.17"), "glibc 2.17: the wheels need glibc 2.28 or newer"),
        ((*GOOD[:3], ""), "no glibc: the wheels need glibc 2.28 or newer"),
    ],
)  # fmt: skip
def test_another_machine_is_named_with_what_to_do(
    facts: tuple[tuple[int, ...], str, str, str], message: str
) -> None:
    (text,) = untested(*facts)
    assert text.startswith(message.format(python=sys.executable))
    assert re.search("; (use|install) ", text)


def test_a_python_without_venv_and_a_full_disk_are_named() -> None:
    assert list(missing({"venv"}, 1.25, "cpu", "/work")) == [
        "Python has no module venv with pip; install it (Debian, Ubuntu: apt install python3-venv)",
        "/work: 1.2 GiB free, and the environment needs 4 GiB; free some, or put the checkout on another disk",
    ]
    assert list(missing({*MODULES}, 4.0, "cuda", "/work")) == [
        "/work: 4.0 GiB free, and the environment needs 10 GiB; free some, or put the checkout on another disk"
    ]


@pytest.mark.parametrize(("variables", "code"), [({}, 1), ({"UNTESTED": "1"}, 0)])
def test_untested_machines_can_be_tried(
    variables: dict[str, str],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("UNTESTED", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(prerequisites.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(prerequisites, "FREE_GIB", {"cpu": 0, "cuda": 0})
    assert prerequisites.main("cpu", str(tmp_path)) == code
    error = capsys.readouterr().err
    assert error.startswith("make: Linux on aarch64: ")
    assert ("UNTESTED=1 make setup tries it anyway" in error) is (code == 1)


def test_old_versions_of_python_can_read_the_check() -> None:
    """A Python that is too old must say so, and not fail on the check itself."""
    import ast

    text = (ROOT / "requirements" / "prerequisites.py").read_text()
    tree = ast.parse(text, feature_version=(3, 6))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert modules == {"collections.abc"}
    assert not [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for part in [node.returns, *(argument.annotation for argument in node.args.args)]
        if isinstance(part, ast.Subscript)
    ], "a subscript such as tuple[int] in an annotation must be in quotes"


def test_the_versions_of_python_agree_everywhere() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    (requires,) = re.findall(r'^requires-python = "(.*)"$', pyproject, re.M)
    allowed = {(3, minor) for minor in range(8, 20) if f"3.{minor}.1" in SpecifierSet(requires)}
    assert allowed == {*PYTHONS}
    words = f"Python {prerequisites.versions()}"
    for file in ("README.md", "docs/getting-started.md", "docs/cluster.md", "Makefile"):
        assert words in (ROOT / file).read_text(), file
    for file in ("README.md", "docs/getting-started.md"):
        text = (ROOT / file).read_text()
        assert f"{prerequisites.FREE_GIB['cpu']} GiB of disk" in text, file
        assert "glibc {}.{} or newer".format(*prerequisites.GLIBC) in text, file
        assert re.search("aarch64.{,3}macOS|aarch64, on\\smacOS", text), file
    doctor = (ROOT / "pipelines" / "commands" / "doctor.py").read_text()
    assert f"({prerequisites.versions()})" in doctor
    (low, high) = re.findall(r"\((3, \d+)\) <= sys.version_info < \((3, \d+)\)", doctor)[0]
    assert (low, high) == (f"3, {PYTHONS[0][1]}", f"3, {PYTHONS[-1][1] + 1}")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout without an environment, as far as `make setup` reads it before it installs."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def made(checkout: Path, *arguments: str) -> tuple[int, str]:
    variables = {k: v for k, v in os.environ.items() if k not in ("UNTESTED", "MAKEFLAGS")}
    done = subprocess.run(
        ["make", "setup", *arguments],
        cwd=checkout, env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


def test_make_names_a_python_that_is_absent(checkout: Path) -> None:
    code, error = made(checkout, "PYTHON=python3.99")
    assert code == 2
    assert error.startswith("make: no program python3.99; install Python 3.11, 3.12 or 3.13")


def test_make_installs_nothing_with_a_python_that_is_too_old(checkout: Path) -> None:
    old = checkout / "python3.9"
    script = "import sys, runpy; sys.version_info = (3, 9, 2); sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    old.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{script}" "$@"\n')
    old.chmod(0o755)
    code, error = made(checkout, f"PYTHON={old}")
    assert code == 2
    assert error.startswith("make: Python 3.9.2 (")
    assert not (checkout / ".venv").exists()
