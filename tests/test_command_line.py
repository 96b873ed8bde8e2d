"""The output of `python -m xstilts` where a stream is closed, or cannot show every character."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CALL = f"{sys.executable} -m xstilts"


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=os.environ | environment, text=True,
        capture_output=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_matter(closed: str) -> None:
    done = shell(f"{CALL} plans {closed}")
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_has_its_exit_code_without_a_stream() -> None:
    assert shell(f"{CALL} nope >&- 2>&-").returncode == 2


def test_characters_without_an_encoding_are_escapes() -> None:
    done = shell(f"{CALL} plans", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert r"3 backbones \xd7 " in done.stdout


def test_an_argument_that_is_not_utf_8_has_a_message() -> None:
    done = shell(rf"{CALL} runs --store $'s3://bucket/\xff'")
    assert done.returncode == 2
    assert "not UTF-8 text" in done.stderr
