"""The embedded server ends with the process that started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xstilts.processes import is_running
from xstilts.store.server import serve
from xstilts.store.store import Store

SCRIPT = """
import sys, time
from pathlib import Path

import pytest

from xstilts.store.server import serve
from xstilts.store.store import Store
from xstilts.store.server import serve
with serve(Path(sys.argv[1])) as server:
    print(server.process.pid, flush=True)
    time.sleep(60)
"""


def test_the_server_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_running(pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 60
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


def test_a_server_that_dies_is_started_again_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with serve(tmp_path, say=said.append) as server:
        for name, value in server.env().items():
            monkeypatch.setenv(name, value)
        store = Store.open("s3://xstilts/x", cache=tmp_path / "cache")
        blob = store.put_bytes(b"before")
        first = server.process.pid
        os.kill(first, signal.SIGKILL)
        assert store.read_blob(blob.sha256) == b"before"  # the client repeats its request
        assert server.process.pid != first
        store.put_bytes(b"after")
    assert len(said) == 1
    assert "the embedded S3 server died (SIGKILL) and is started again" in said[0]
    assert not is_running(server.process.pid)


def test_no_key_is_on_a_command_line(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        arguments = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
        assert b"serve" in arguments
        assert server.secret_key.encode() not in arguments
    assert (tmp_path / "server.log").stat().st_mode & 0o077 == 0
