"""The log of a task of KFP is kept in the run's folder, bounded and without secrets."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.launch.log import KEPT, StoredLog, masked, stored_logs
from xstilts.runs.folder import create
from xstilts.store.store import Store

ROOT = Path(__file__).parents[3]
SECRET = "planted-secret-of-a-step"


def task(store: Store, body: str, **environment: str) -> subprocess.Popen[str]:
    """A process that runs `body` like a component in a pod."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    code = f"import os, sys\nfrom components.step_log import kept\nwith kept(sys.argv[1], 'stage', 'sources-00'):\n{lines}\n"
    variables = {
        **os.environ, "PYTHONPATH": str(ROOT), "XSTILTS_POD_NAME": "pod-1", "HF_TOKEN": SECRET,
        "XSTILTS_LEASE_SECONDS": "1.2", **environment,
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-c", code, f"{store.uri}/runs/r"], env=variables, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def logs(store: Store) -> list[StoredLog]:
    return [log for _, _, log in stored_logs(store, "runs/r")]


@pytest.fixture
def run(store: Store) -> Store:
    create(store, "r", "name: r\n", "hub")
    return store


def test_output_of_the_process_and_its_children_is_kept_and_still_printed(run: Store) -> None:
    body = "print('records')\nprint('a warning', file=sys.stderr)\nos.system('echo a child')"
    out, _ = task(run, body, KFP_RETRY_INDEX="1").communicate(timeout=60)
    [log] = logs(run)
    assert (log.kind, log.group, log.pod, log.attempt) == ("stage", "sources-00", "pod-1", 2)
    assert sorted(log.text.splitlines()) == ["a child", "a warning", "records"]
    assert sorted(out.splitlines()) == ["a child", "a warning", "records"]


def test_an_error_is_kept(run: Store) -> None:
    process = task(run, "raise ValueError('row 7')")
    process.communicate(timeout=60)
    assert process.returncode == 1
    [log] = logs(run)
    assert log.text.endswith("ValueError: row 7\n")


def test_a_killed_task_leaves_what_it_had_written(run: Store) -> None:
    process = task(run, "print('before', flush=True)\nimport time; time.sleep(60)")
    until = time.monotonic() + 60
    while not logs(run):
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert [log.text for log in logs(run)] == ["before\n"]


def test_it_is_bounded_and_has_no_secret(run: Store) -> None:
    body = f"for _ in range({KEPT} // 100 + 500): print(os.environ['HF_TOKEN'] + 'x' * 99)"
    task(run, body).communicate(timeout=60)
    [log] = logs(run)
    assert 0 < len(log.text) <= KEPT
    assert log.before > 0
    assert SECRET not in log.text


def test_outside_a_pod_nothing_is_stored(run: Store) -> None:
    out, _ = task(run, "print('local')", XSTILTS_POD_NAME="").communicate(timeout=60)
    assert (out, logs(run)) == ("local\n", [])


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("AWS_SECRET_ACCESS_KEY", "abcdefgh", "key ***"),
        ("AWS_SESSION_TOKEN", "abcdefgh", "key ***"),
        ("XSTILTS_KFP_COOKIE", "abcdefgh", "key ***"),
        ("XSTILTS_S3_SECRET", "abcdefgh", "key abcdefgh"),
        ("RAY_AUTH_TOKEN", "abc", "key abcdefgh"),
    ],
)
def test_values_of_secrets_are_masked(name: str, value: str, shown: str) -> None:
    assert masked("key abcdefgh", {name: value}) == shown
