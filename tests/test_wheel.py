"""The wheel: one top-level package, and a command line that works without the repository."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from xstilts import __version__

pytestmark = pytest.mark.slow
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy, since setuptools leaves its build folder behind."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("xstilts", "components", "images", "pipelines"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", out, source],
        check=True,
    )  # fmt: skip
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def xstilts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs the installed command. The environment has the wheel and the packages it depends on; the
    working folder has packages of another project with the names of our folders.
    """
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "-q", "--python", python, "install", "--no-deps", wheel],
        check=True,
    )
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    (folder / "bin" / "rclone").symlink_to(Path(sysconfig.get_path("scripts")) / "rclone")
    work = tmp_path_factory.mktemp("project")
    for name in ("components", "images", "pipelines"):
        (work / name).mkdir()
        (work / name / "__init__.py").write_text("raise ImportError('another project')")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [folder / "bin" / "xstilts", *arguments],
            capture_output=True, text=True, cwd=work, env=environment, timeout=300, check=False,
        )  # fmt: skip

    return run


def test_the_wheel_has_one_package_at_the_top(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"xstilts"}


def test_it_holds_every_module_and_data_file_of_the_repository(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    kinds = (".py", ".yaml", ".lock", ".j2", ".typed")
    wanted = {
        path.relative_to(ROOT).as_posix()
        for folder in ("xstilts", "components", "images", "pipelines")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in kinds and "__pycache__" not in path.parts
    }
    inside = {name if name.startswith("xstilts/") else f"xstilts/_kfp/{name}" for name in wanted}
    assert inside - names == set()


def test_the_installed_command_is_ours(xstilts: Run) -> None:
    done = xstilts("-V")
    assert (done.returncode, done.stdout.strip()) == (0, __version__), done.stderr


def test_it_has_the_shipped_plans(xstilts: Run) -> None:
    done = xstilts("plans", "--json")
    assert done.returncode == 0, done.stderr
    shipped = {file.stem for file in (ROOT / "pipelines" / "plans").glob("*.yaml")}
    assert {row["name"] for row in json.loads(done.stdout)} == shipped


def test_it_checks_a_shipped_plan(xstilts: Run) -> None:
    done = xstilts("check", "demo")
    assert done.returncode == 0, done.stderr
    assert "demo.yaml: valid; 3 backbones, 5 arms, 3 evaluations, 120 cells" in done.stdout


@pytest.mark.skipif(
    "XSTILTS_INSTALL" not in os.environ, reason="installs 2 GB of packages: make test-wheel"
)
def test_it_works_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """pip takes the packages from its index; torch's CPU build from PIP_FIND_LINKS, if it is set."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path], check=True)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run([tmp_path / "bin" / "pip", "install", "-q", wheel], check=True, env=environment)
    for arguments, printed in {
        ("-V",): __version__,
        ("plans",): "demo ",
        ("check", "demo"): "demo.yaml: valid; ",
        ("doctor",): "ok      torch ",
    }.items():
        done = subprocess.run(
            [tmp_path / "bin" / "xstilts", *arguments],
            capture_output=True, text=True, cwd=tmp_path, env=environment, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert printed in done.stdout


def test_it_compiles_the_package_that_the_repository_compiles(xstilts: Run, tmp_path: Path) -> None:
    done = xstilts("compile", "-o", str(tmp_path / "package.yaml"))
    assert done.returncode == 0, done.stderr
    golden = ROOT / "pipelines" / "compiled" / "intermediate_to_xtreme_r.yaml"
    assert (tmp_path / "package.yaml").read_text() == golden.read_text()


def test_it_plans(xstilts: Run, tmp_path: Path) -> None:
    """Reads the mirror, expands the plan and starts the embedded store."""
    plan = ROOT / "tests" / "e2e" / "small.yaml"
    done = xstilts("plan", str(plan), "--home", str(tmp_path / "home"))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "small: 6 cells" in done.stdout
