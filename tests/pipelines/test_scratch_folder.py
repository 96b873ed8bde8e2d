"""A run's temporary folder: private, inherited, removed with the run, and after a killed one by the
next.
"""

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import scratch_folder as module
from pipelines.scratch_folder import LOCK, scratch_folder


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary folders are made; a short path, as /tmp is."""
    with tempfile.TemporaryDirectory(prefix="x", dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.delenv("RAY_TMPDIR", raising=False)
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


def test_it_is_private_used_by_child_processes_and_removed(parent: Path) -> None:
    with scratch_folder() as folder:
        assert folder.parent == parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        made = subprocess.check_output(["mktemp", "-d"], text=True).strip()
        here = tempfile.mkdtemp()
        assert Path(made).parent == Path(here).parent == folder
        assert os.environ["RAY_TMPDIR"] == str(folder)
    assert list(parent.iterdir()) == []
    assert os.environ["TMPDIR"] == tempfile.gettempdir() == str(parent)
    assert "RAY_TMPDIR" not in os.environ


def test_ray_gets_a_short_folder_where_the_other_is_too_long_for_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("long" * 10)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with scratch_folder() as folder:
        ray = Path(os.environ["RAY_TMPDIR"])
        assert folder.parent == long
        assert ray.parent == Path("/tmp")
        assert stat.S_IMODE(ray.stat().st_mode) == 0o700
    assert not ray.exists()
    assert not folder.exists()


WAITING = """
import time
from pipelines.scratch_folder import scratch_folder
with scratch_folder() as folder:
    print(folder, flush=True)
    time.sleep(600)
"""


def test_the_folder_of_a_killed_run_is_removed_by_the_next_and_that_of_a_live_one_is_not(
    parent: Path,
) -> None:
    root = str(Path(__file__).parents[2])
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True, cwd=root
        )
        for _ in range(2)
    ]
    try:
        killed, live = [Path(run.stdout.readline().strip()) for run in runs if run.stdout]
        runs[0].send_signal(signal.SIGKILL)
        runs[0].wait()
        assert (killed / LOCK).exists()
        with scratch_folder():
            assert not killed.exists()
            assert (live / LOCK).exists()
    finally:
        for run in runs:
            run.kill()
            run.wait()


def test_a_folder_whose_lock_is_not_made_yet_is_left(parent: Path) -> None:
    starting = parent / f"{module.PREFIX}starting"
    starting.mkdir()
    (starting / f"{LOCK}.part").touch()
    with scratch_folder():
        assert starting.exists()


@pytest.mark.parametrize("kind", ["link to a folder", "link as lock", "FIFO as lock"])
def test_what_is_no_folder_of_a_run_is_left(tmp_path: Path, parent: Path, kind: str) -> None:
    """In a folder that all users write to, another one may make it."""
    folder, kept = parent / f"{module.PREFIX}x", tmp_path / "kept"
    kept.mkdir()
    (kept / LOCK).touch()
    if kind == "link to a folder":
        folder.symlink_to(kept)
    else:
        folder.mkdir()
        if kind == "link as lock":
            (folder / LOCK).symlink_to(kept / LOCK)
        else:
            os.mkfifo(folder / LOCK)
    with scratch_folder():
        assert (kept / LOCK).exists()
        assert folder.exists()
