"""A run that is killed at any moment and started again ends with the values of a run that never
was.
"""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.e2e.runs import Finished, command, left_behind, results, steps_done, wait_until_gone

pytestmark = [pytest.mark.slow, pytest.mark.e2e]


def test_a_run_leaves_no_process_behind(undisturbed: Finished) -> None:
    assert left_behind(undisturbed.home) == []


def test_three_kills_change_nothing(undisturbed: Finished, tmp_path: Path) -> None:
    moments = random.Random(os.environ.get("XSTILTS_KILL_SEED", "7"))
    steps = steps_done(undisturbed.home)
    for third in range(3):
        process = subprocess.Popen(
            command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wanted = moments.randrange(steps * third // 3, steps * (third + 1) // 3 - 1)
        while steps_done(tmp_path) < wanted:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.05)
        time.sleep(moments.uniform(0.0, 2.0))  # in the middle of what comes next
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert wait_until_gone(tmp_path) == []
    subprocess.run(command(tmp_path), check=True)
    pd.testing.assert_frame_equal(results(tmp_path), undisturbed.results, check_exact=True)
