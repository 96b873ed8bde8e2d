"""The packages that the build stage installs from the lock."""

from pathlib import Path

import pytest

from images.install import trim
from requirements.from_lock import select, versions
from tests.conftest import ROOT

LOCK = """# a comment
torch==2.13.0+cpu ; sys_platform == 'linux' \\
    --hash=sha256:aa
torch==2.13.0 ; sys_platform != 'linux' \\
    --hash=sha256:bb \\
    --hash=sha256:cc
tqdm==4.70.1 \\
    --hash=sha256:dd
"""
CUDA = "nvidia-cublas==13.1.1.3 \\\n    --hash=sha256:ee\n" + LOCK.replace(
    "+cpu ; sys_platform == 'linux'", ""
)


def test_a_pin_keeps_its_markers_and_its_hashes() -> None:
    assert select(LOCK, {"tqdm"}) == "tqdm==4.70.1 \\\n    --hash=sha256:dd\n"
    assert select(LOCK, {"torch"}).count("torch==") == 2
    assert "sha256:cc" in select(LOCK, {"torch"})


def test_torch_takes_its_cuda_packages_with_it_where_the_lock_has_them() -> None:
    assert "nvidia-cublas" in select(CUDA, {"torch"})
    assert "nvidia-cublas" not in select(CUDA, {"tqdm"})


def test_a_package_missing_in_the_lock_is_named() -> None:
    with pytest.raises(KeyError, match="left-pad"):
        select(LOCK, {"tqdm", "left-pad"})


@pytest.mark.parametrize("build", ["cpu", "cuda"])
def test_both_locks_have_the_same_numeric_libraries(build: str) -> None:
    from xstilts.environment import LIBRARIES, numeric_environment

    found = versions((ROOT / "requirements" / f"{build}.txt").read_text())
    assert set(found) == set(LIBRARIES)
    assert found.items() <= numeric_environment().items()


def test_tests_and_headers_are_taken_out(tmp_path: Path) -> None:
    packages = tmp_path / "site-packages"
    for kept in ("a/core.py", "a/testing.py"):
        (packages / kept).parent.mkdir(parents=True, exist_ok=True)
        (packages / kept).touch()
    for lost in ("a/tests/inner/tests/test_core.py", "a/include/a.h"):
        (packages / lost).parent.mkdir(parents=True, exist_ok=True)
        (packages / lost).touch()
    trim(packages)
    assert sorted(path.name for path in packages.rglob("*") if path.is_file()) == [
        "core.py",
        "testing.py",
    ]
