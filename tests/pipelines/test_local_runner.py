"""Local runs: signals, the run's name and the choice of the mirror."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines import local_runner
from pipelines.cli import main
from pipelines.console import warn
from pipelines.local_runner import BUCKET_URI, interruptible, run_name, store_at, watched
from pipelines.marked_processes import marked
from pipelines.run_list import is_run_of
from xstilts.errors import InfrastructureError, PlanError
from xstilts.miniature.edition import EDITION
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
    other = run_name("demo-2", tmp_path / "out")
    assert is_run_of(other, "demo-2")
    assert run_name("demo-2", tmp_path / "out") == other
    assert (tmp_path / "out" / "run.json").is_file()


def test_the_option_replaces_the_plans_mirror(tmp_path: Path) -> None:
    assert mirror_for("hub", "s3://b/m", tmp_path) == "hub"
    assert mirror_for(None, "s3://b/m", tmp_path) == "s3://b/m"
    assert mirror_for(str(tmp_path), None, tmp_path) == str(tmp_path.resolve())


def test_an_interrupted_miniature_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        raise KeyboardInterrupt

    monkeypatch.setattr("xstilts.miniature.write.write_miniature", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mirror_for("miniature", None, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_of_two_runs_that_generate_the_miniature_both_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(folder: Path) -> None:
        for each in (folder, tmp_path / f"miniature-{EDITION}"):
            each.mkdir(exist_ok=True)
            (each / "rows").touch()

    monkeypatch.setattr("xstilts.miniature.write.write_miniature", overtaken)
    folder = mirror_for("miniature", None, tmp_path)
    assert [str(path) for path in tmp_path.iterdir()] == [folder]


@pytest.mark.parametrize("command", ["run demo --home", "rates demo --grid 1e-3 --home"])
def test_sigterm_while_the_miniature_is_generated_is_130(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    def terminated(folder: Path) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    monkeypatch.setattr("xstilts.miniature.write.write_miniature", terminated)
    monkeypatch.chdir(tmp_path)
    assert main([*command.split(), "home"]) == 130
    assert "interrupted; run the same command" in capsys.readouterr().err


def test_a_run_without_a_mirror_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="set --mirror"):
        mirror_for(None, None, tmp_path)


# ---- processes that a run needs ----


def interrupted_by(act: Callable[[], None], process: subprocess.Popen[bytes]) -> None:
    with watched(process, lambda: "it ended"):
        act()
        time.sleep(30)


def test_a_run_ends_when_a_process_that_it_needs_ends() -> None:
    started = time.monotonic()
    with (
        subprocess.Popen(["sleep", "60"]) as process,
        pytest.raises(InfrastructureError, match="it ended"),
    ):
        interrupted_by(process.kill, process)
    assert time.monotonic() - started < 20


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Ctrl-C interrupts, also where the tests run in a process that ignores it."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, old)


def test_ctrl_c_is_not_taken_for_the_end_of_a_process(interrupts: None) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        with pytest.raises(KeyboardInterrupt):
            interrupted_by(lambda: os.kill(os.getpid(), signal.SIGINT), process)
        process.kill()


def test_a_process_that_ends_after_the_body_disturbs_nothing() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        with watched(process, lambda: "it ended"):
            pass
        process.kill()
    time.sleep(1)


MARK = "XSTILTS_TEST_MARK=a"
STARTS_ANOTHER = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(subprocess.Popen(["sleep", "60"], start_new_session=True).pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def parent_and_child(monkeypatch: pytest.MonkeyPatch) -> tuple[subprocess.Popen[bytes], int]:
    """A marked process that ignores SIGTERM, and the id of one that it has started."""
    monkeypatch.setattr(local_runner, "END_SECONDS", 0.5)
    name, _, value = MARK.partition("=")
    process = subprocess.Popen(
        [sys.executable, "-c", STARTS_ANOTHER],
        stdout=subprocess.PIPE,
        env={**os.environ, name: value},
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_a_process_that_ignores_sigterm_ends_with_those_that_it_started(
    parent_and_child: tuple[subprocess.Popen[bytes], int],
) -> None:
    process, child = parent_and_child
    assert {process.pid, child} <= set(marked(MARK))
    local_runner._end(process, MARK)
    assert process.poll() == -signal.SIGKILL
    assert marked(MARK) == []


def test_marked_processes_end_also_when_the_one_that_started_them_was_killed(
    parent_and_child: tuple[subprocess.Popen[bytes], int],
) -> None:
    process, child = parent_and_child
    with subprocess.Popen(["sleep", "60"], env={**os.environ, "XSTILTS_TEST_MARK": "b"}) as other:
        process.kill()
        process.wait()
        assert marked(MARK) == [child]
        local_runner._end(process, MARK)
        assert marked(MARK) == []
        assert other.poll() is None
        other.kill()


def test_a_run_ends_its_own_ray_only_also_with_the_folder_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    monkeypatch.setattr(local_runner, "kill_marked", lambda mark, _: ended.append(mark))
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text("#!/bin/sh\nexec sleep 60\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    for _ in range(2):
        with local_runner.ray_head(1, tmp_path / "logs"):
            pass
    first, second = ended
    assert first.startswith(f"{local_runner.HEAD}=")
    assert first != second


def test_a_warning_during_the_pipeline_reaches_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as that of the thread which starts the S3 server again."""
    with open(tmp_path / "pipeline.log", "w") as file, local_runner._redirected(file):
        thread = threading.Thread(target=warn, args=("the server is started again",))
        thread.start()
        thread.join()
        print("output of a task")
    assert capsys.readouterr() == ("", "xstilts: the server is started again\n")
    assert (tmp_path / "pipeline.log").read_text() == "output of a task\n"
