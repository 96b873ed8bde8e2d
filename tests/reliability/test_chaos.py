"""The short form of `make chaos`: one fault, on the shortest plan."""

import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.runs import command, results
from tests.reliability.chaos import Fault, outcome_of, send, training

SHORT = Path(__file__).with_name("short.yaml")
KILLED = Fault("SIGKILL of the run", "training", training, send(signal.SIGKILL), [-9], 5)


@pytest.mark.slow
@pytest.mark.ray
def test_a_run_that_is_killed_while_it_trains_leaves_nothing_and_ends_with_equal_results(
    tmp_path: Path,
) -> None:
    reference = tmp_path / "reference"
    subprocess.run(command(reference, SHORT), check=True)
    outcome = outcome_of(KILLED, reference, results(reference), tmp_path / "killed", SHORT)
    assert outcome.failed == []
    assert outcome.equal
    assert outcome.recovery is not None
