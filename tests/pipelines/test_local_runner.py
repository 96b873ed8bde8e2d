"""Local runs: signals, the run's name and the choice of the mirror."""

import os
import signal
import threading
from pathlib import Path

import pytest

from pipelines.local_runner import BUCKET_URI, interruptible, run_name, store_at
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


def test_steps_do_not_inherit_secrets_that_they_do_not_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = {
        "HF_TOKEN": "hub", "XSTILTS_KFP_TOKEN": "kfp", "XSTILTS_KFP_COOKIE": "cookie",
        "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_SESSION_TOKEN": "session",
    }  # fmt: skip
    for name, value in users.items():
        monkeypatch.setenv(name, value)
    with store_at(None, tmp_path) as uri:
        assert uri == BUCKET_URI
        assert {name: os.environ.get(name) for name in users} == {
            **dict.fromkeys(users), "HF_TOKEN": "hub", "AWS_ACCESS_KEY_ID": "xstilts",
            "AWS_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
        }  # fmt: skip
        assert os.environ["AWS_SECRET_ACCESS_KEY"] != "key"
    assert {name: os.environ[name] for name in users} == users


def test_a_store_of_the_user_gets_the_users_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    with store_at("s3://bucket/store", tmp_path):
        assert os.environ["AWS_SESSION_TOKEN"] == "session"


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
