"""What the tests of exposure see of processes that have just been forked."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.exposure import MARKED, Exposure, look

#: Forks; the child reports, waits, and calls exec with an environment of its own if there is an
#: argument.
PARENT = """
import os, sys, time
if os.fork() == 0:
    print("forked", flush=True)
    time.sleep(0.3)
    for program in sys.argv[1:]:
        os.execve(program, [program, "60"], {"XSTILTS": "child"})
    time.sleep(60)
os.wait()
"""


@contextmanager
def parent_of_a_new_fork(*program: str) -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, *program],
        stdout=subprocess.PIPE,
        env={**os.environ, **MARKED},
        start_new_session=True,
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        yield parent.pid
        os.killpg(parent.pid, 9)


def test_a_child_that_has_not_called_exec_yet_inherits_nothing(tmp_path: Path) -> None:
    seen = Exposure(tmp_path)
    with parent_of_a_new_fork("/bin/sleep") as parent:
        look([parent], seen)
    assert (seen.inherited, seen.secrets) == (set(), set())


def test_a_child_that_stays_a_fork_has_the_secrets_of_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.e2e.exposure.FORK_SECONDS", 0.2)
    seen = Exposure(tmp_path)
    with parent_of_a_new_fork() as parent:
        look([parent], seen)
    assert len(seen.inherited) == 5
    assert seen.secrets == {MARKED["AWS_SECRET_ACCESS_KEY"]}
