"""A cell that fails, through the pipeline: the report names it, everything else is there, the
exit code is 4.
"""

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.runs import SMALL, Finished, command

pytestmark = [pytest.mark.slow, pytest.mark.e2e]


@pytest.fixture(scope="module")
def failed(
    undisturbed: Finished, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, str, Path]:
    """A rate at which the target's loss overflows; retrieval needs no target and is scored.
    Beside what is done.
    """
    plan = tmp_path_factory.mktemp("plan") / "failing.yaml"
    plan.write_text(
        SMALL.read_text().replace("ud_en: {updates: 30}", "ud_en: {updates: 30, lr: 1.0e+30}")
    )
    done = subprocess.run(
        command(undisturbed.home, plan, "failed"), capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr, undisturbed.home / "failed" / "report"


def test_the_exit_code_says_that_cells_failed(failed: tuple[int, str, Path]) -> None:
    assert failed[0] == 4


def test_the_terminal_and_the_report_name_the_cells_and_the_reason(
    failed: tuple[int, str, Path],
) -> None:
    _, said, report = failed
    assert "the loss is" in said
    summary = json.loads((report / "summary.json").read_text())
    named = {entry["what"] for entry in summary["missing"]}
    assert named == {
        f"tiny-llava.{arm}.ud_en{seeds} on udpos"
        for arm, seeds in (
            ("none", ".t0"),
            ("none", ".t1"),
            ("captions-lm", ".i0.t0"),
            ("captions-lm", ".i0.t1"),
        )
    }
    assert all(name in (report / "report.html").read_text() for name in named)


def test_what_did_not_fail_is_scored(failed: tuple[int, str, Path]) -> None:
    summary = json.loads((failed[2] / "summary.json").read_text())
    assert {row["evaluation"] for row in summary["effects"]} == {"tatoeba"}
