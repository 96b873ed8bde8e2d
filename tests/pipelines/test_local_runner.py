"""Local runs: signals, the run's name and the choice of the mirror."""

import signal
import threading
from pathlib import Path

import pytest

from pipelines.local_runner import interruptible, run_name
from xstilts.errors import PlanError
from xstilts.runs.mirror_choice import mirror_for


def test_sigterm_interrupts_like_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_changes_no_signal_handler() -> None:
    handlers = []

    def run() -> None:
        with interruptible():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]


def test_the_same_output_folder_is_the_same_run(tmp_path: Path) -> None:
    name = run_name("demo", tmp_path / "out")
    assert name.startswith("demo-")
    assert run_name("demo", tmp_path / "out") == name
    assert (tmp_path / "out" / "run.json").is_file()


def test_the_option_replaces_the_plans_mirror(tmp_path: Path) -> None:
    assert mirror_for("hub", "s3://b/m", tmp_path) == "hub"
    assert mirror_for(None, "s3://b/m", tmp_path) == "s3://b/m"
    assert mirror_for(str(tmp_path), None, tmp_path) == str(tmp_path.resolve())


def test_a_run_without_a_mirror_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="set --mirror"):
        mirror_for(None, None, tmp_path)
