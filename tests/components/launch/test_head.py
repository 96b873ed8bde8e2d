"""The Ray of a run ends with the run, even while it starts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.launch import private_ray
from tests.e2e.runs import wait_until_gone

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
