"""One worker in place of two, interrupted on the way: the same examples in each update, and the
same losses.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.runs import SMALL, Finished, command, histories, steps_done, wait_until_gone

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.ray]


def heed_interrupts() -> None:
    """A shell's background jobs, and all that they start, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def alone(tmp_path: Path, undisturbed: Finished) -> Path:
    """The small plan with one worker, interrupted once as Ctrl-C does."""
    plan = tmp_path / "alone.yaml"
    plan.write_text(SMALL.read_text().replace("workers: 2", "workers: 1"))
    process = subprocess.Popen(
        command(tmp_path, plan),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=heed_interrupts,
    )
    models = steps_done(undisturbed.home) * 2 // 3  # staged, and some of them trained
    while steps_done(tmp_path) < models:
        assert process.poll() is None, "it ended before it could be interrupted"
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    assert wait_until_gone(tmp_path) == []
    subprocess.run(command(tmp_path, plan), check=True)
    return tmp_path


def test_one_worker_and_two_agree(
    alone: Path, undisturbed: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of workers is no part of a fingerprint, so the steps are the same steps."""
    one, two = histories(alone, monkeypatch), histories(undisturbed.home, monkeypatch)
    assert one.keys() == two.keys()
    for fingerprint, history in one.items():
        assert len(history) in (6, 30)
        np.testing.assert_allclose(history["loss"], two[fingerprint]["loss"], rtol=1e-5)
        assert (history["task"] == two[fingerprint]["task"]).all()
