"""The Ray of a run ends with the run, even while it starts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.launch import private_ray
from pipelines.local_runner import ray_head
from tests.e2e.runs import left_behind, wait_until_gone
from xstilts.errors import InfrastructureError

pytestmark = [pytest.mark.slow, pytest.mark.ray]

PARENT = """
import os, subprocess, sys, time
os.environ["XSTILTS_LOCAL"] = str(os.getpid())
subprocess.Popen([sys.executable, "-m", "components.launch.head", "2", sys.argv[1]])
time.sleep(600)
"""


@pytest.mark.parametrize("seconds", [1.5, 3.0, 4.5, 6.0])
def test_a_run_killed_while_ray_starts_leaves_no_process(seconds: float, tmp_path: Path) -> None:
    environment = {
        **os.environ, "XSTILTS_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
        **private_ray.settings(),
    }  # fmt: skip
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "address")],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(seconds)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert wait_until_gone(tmp_path, 30) == []


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("/raylet/raylet ", "raylet"),
        ("/gcs/gcs_server ", "gcs_server"),
        ("components.launch.ray_node ", "driver"),
        ("components.launch.head ", "head process"),
    ],
)
def test_a_run_ends_with_a_message_when_its_ray_dies(
    program: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XSTILTS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XSTILTS_LOCAL", str(os.getpid()))
    killed: list[float] = []

    def run() -> None:
        with ray_head(2, tmp_path / "logs") as address:
            while not address.is_file():
                time.sleep(0.1)
            [pid] = [int(line.split()[0]) for line in started(tmp_path) if program in line]
            os.kill(pid, signal.SIGKILL)
            killed.append(time.monotonic())
            time.sleep(60)

    with pytest.raises(InfrastructureError, match=rf"lost: its {name}.*\(SIGKILL\).*ray\.log"):
        run()
    assert time.monotonic() - killed[0] < 60
    assert wait_until_gone(tmp_path, 30) == []


def started(home: Path) -> list[str]:
    """Processes of the run below this one, which has the same environment."""
    return [line for line in left_behind(home) if not line.startswith(f"{os.getpid()} ")]


#: A raylet that ends at once when it is first started.
FIRST_RAYLET_ENDS = """#!/bin/sh
mkdir "$0.started" 2>/dev/null && exit 1
exec {raylet} "$@"
"""
#: Ray's head with another raylet.
HEAD = "import sys; from pathlib import Path; from components.launch import head; " \
    "head.main(2, Path(sys.argv[1]), 'tests.components.launch.other_raylet')"  # fmt: skip


def test_ray_is_started_again_if_its_raylet_ends_while_it_starts(tmp_path: Path) -> None:
    from ray._private import services

    raylet, address = tmp_path / "raylet", tmp_path / "address"
    raylet.write_text(FIRST_RAYLET_ENDS.format(raylet=services.RAYLET_EXECUTABLE))
    raylet.chmod(0o700)
    environment = {
        **os.environ, **private_ray.settings(), "XSTILTS_CACHE": str(tmp_path / "cache"), "XSTILTS_LOCAL": str(os.getpid()),
        "PYTHONPATH": str(Path(__file__).resolve().parents[3]), "OTHER_RAYLET": str(raylet),
    }  # fmt: skip
    command = [sys.executable, "-c", HEAD, str(address)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while not address.is_file():
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
    finally:
        process.terminate()
        process.wait(30)
    log_text = (tmp_path / "log").read_text()
    assert "Ray's raylet ended while Ray started" in log_text
    assert "attempt 1 of 3 to start Ray failed" in log_text
    assert wait_until_gone(tmp_path, 30) == []
