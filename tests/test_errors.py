"""Errors as they are printed."""

import pytest

from xstilts.errors import in_a_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("lost", "lost"),
        ("", ""),
        (
            "the job failed:\nTraceback\n  File x\nModuleNotFoundError: ray\n",
            "the job failed: … ModuleNotFoundError: ray",
        ),
    ],
)
def test_the_first_line_and_what_broke(error: str, line: str) -> None:
    assert in_a_line(error) == line
