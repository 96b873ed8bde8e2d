"""A run that is killed at any moment and started again ends with the values of a run that never was."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

PLAN = Path(__file__).parent / "small.yaml"
pytestmark = [pytest.mark.slow, pytest.mark.e2e]


def command(home: Path) -> list[str]:
    return [sys.executable, "-m", "pipelines.cli", "run", str(PLAN), "--out", str(home / "out"), "--home", str(home)]


def results(home: Path) -> pd.DataFrame:
    frame = pd.read_parquet(home / "out" / "report" / "results.parquet")
    keys = ["backbone", "arm", "seed", "evaluation", "language", "metric"]
    return frame.sort_values(keys).reset_index(drop=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, float]:
    home = tmp_path_factory.mktemp("undisturbed")
    started = time.monotonic()
    subprocess.run(command(home), check=True)
    return results(home), time.monotonic() - started


def test_three_kills_change_nothing(undisturbed: tuple[pd.DataFrame, float], tmp_path: Path) -> None:
    expected, seconds = undisturbed
    moments = random.Random(os.environ.get("XSTILTS_KILL_SEED", "7"))
    for share in (0.25, 0.5, 0.75):
        process = subprocess.Popen(command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds * moments.uniform(share - 0.2, share))
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command(tmp_path), check=True)
    pd.testing.assert_frame_equal(results(tmp_path), expected, check_exact=True)
