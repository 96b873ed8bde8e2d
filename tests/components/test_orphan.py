"""A step of a killed local run ends soon, even if KFP started it through a shell."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

STEP = "import time; from components.orphan import end_with_parent; end_with_parent(); print('started', flush=True); time.sleep(60)"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc (Linux)")
@pytest.mark.parametrize("waits", [True, False], ids=["reaped", "zombie"])
def test_a_step_behind_a_shell_ends_with_the_run(waits: bool) -> None:
    run = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    environment = {**os.environ, "XSTILTS_LOCAL": str(run.pid), "PYTHONPATH": str(ROOT)}
    command = ["sh", "-ec", '"$0" -c "$1"; echo unreachable', sys.executable, STEP]
    shell = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert shell.stdout is not None
    try:
        assert shell.stdout.readline() == "started\n"
        assert shell.poll() is None
        run.kill()
        if waits:
            run.wait()
        assert shell.wait(timeout=30) == 1
    finally:
        shell.kill()
        run.kill()
        run.wait()
