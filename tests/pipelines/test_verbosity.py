"""--quiet and --verbose: what commands print."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import console, local_runner, progress
from pipelines.cli import main
from pipelines.commands import run as run_command
from pipelines.commands.run import RunResult
from pipelines.console import Level
from pipelines.plan_file import open_plan
from pipelines.run_state import RunState
from pipelines.run_status import RunStatus, wait
from tests.pipelines.command_lines import problem
from xstilts.plan.expand import expand_offline


@pytest.fixture(autouse=True)
def normal() -> Iterator[None]:
    yield
    console.set_level(Level.NORMAL)


def fake_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run that prints progress, has an error and no report."""

    def run_plan(*_: Any, say: Any, **__: Any) -> RunResult:
        say("demo: 2 cells")
        return RunResult("demo-1", 4, tmp_path, ["training failed"], 3.0)

    monkeypatch.setattr(run_command, "run_plan", run_plan)


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        ("run demo", "demo: 2 cells\n3 s, exit code 4\n"),
        ("run demo -v", "demo: 2 cells\n3 s, exit code 4\n"),
        ("run demo -q", ""),
        ("run --quiet demo", ""),
        ("-q run demo", ""),
    ],
)
def test_a_quiet_run_prints_no_progress(
    words: str,
    printed: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    fake_run(monkeypatch, tmp_path)
    assert main(words.split()) == 4
    out, err = capfd.readouterr()
    assert out == printed
    assert err == "xstilts: training failed\n"


@pytest.mark.parametrize("words", ["-q -v plans", "plans -q -v", "-v plans --quiet"])
def test_quiet_and_verbose_exclude_each_other(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    assert "exclude each other" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["-q", "--quiet", "-v", "--verbose", "--debug"])
@pytest.mark.parametrize(
    "words",
    ["{} plans", "plans {}", "{} mirror pull d --plan p", "mirror {} pull d --plan p",
     "mirror pull {} d --plan p", "mirror pull d --plan p {}", "tasks {}", "tasks probe {}", "tasks {} probe"],
)  # fmt: skip
def test_the_options_are_valid_anywhere(words: str, option: str) -> None:
    assert problem(words.format(option).split()) is None


def test_one_command_is_quiet_and_not_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fake_run(monkeypatch, tmp_path)
    main(["run", "demo", "-q"])
    main(["run", "demo"])
    assert capfd.readouterr().out == "demo: 2 cells\n3 s, exit code 4\n"


def test_verbose_shows_what_is_read_on_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = Path(__file__).parents[2] / "pipelines" / "plans" / "demo.yaml"
    assert main(["plan", "demo", "--offline", "--json", "-v"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["name"] == "demo"
    assert err.splitlines()[0].endswith(f" plan {plan}")
    assert main(["plan", "demo", "--offline", "--json"]) == 0
    assert capfd.readouterr().err == ""


def test_log_lines_hide_credentials(capfd: pytest.CaptureFixture[str]) -> None:
    console.set_level(Level.VERBOSE)
    logging.getLogger("pipelines.kfp").info("asked https://me:secret@kfp/")
    assert capfd.readouterr().err.endswith(" asked https://***@kfp/\n")


def test_loggers_are_as_before_after_a_verbose_command() -> None:
    logger = logging.getLogger("pipelines")
    before = (logger.level, logger.propagate, [*logger.handlers])
    console.set_level(Level.VERBOSE)
    assert logger.level == logging.INFO
    console.set_level(Level.NORMAL)
    assert (logger.level, logger.propagate, logger.handlers) == before


def test_the_log_of_steps_is_printed_line_by_line() -> None:
    file, lines = io.StringIO(), list[str]()
    log = local_runner.EchoedLog(file, lines.append)
    print("    ", end="", file=log)
    print("epoch 1", file=log)
    print("18:56:05.811 - INFO - Streamed logs:\n\nepo", end="", file=log)
    assert lines == ["    epoch 1"]
    print("ch 2", file=log)
    assert lines == ["    epoch 1", "epoch 2"]
    assert file.getvalue().endswith("Streamed logs:\n\nepoch 2\n")


def test_a_last_line_without_a_line_break_is_printed_at_the_end() -> None:
    file, lines = io.StringIO(), list[str]()
    log = local_runner.EchoedLog(file, lines.append)
    print("epoch 1\nKilled", end="", file=log)
    assert lines == ["epoch 1"]
    log.end()
    log.end()
    assert lines == ["epoch 1", "Killed"]
    assert file.getvalue() == "epoch 1\nKilled"


@pytest.mark.parametrize(
    ("level", "expected"), [(Level.NORMAL, "file\n"), (Level.VERBOSE, "file\nline\n")]
)
def test_verbose_runs_print_the_log_of_their_steps(
    level: Level, expected: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    console.set_level(level)
    with open(tmp_path / "log", "w") as file:
        with local_runner._redirected(file):
            print("line", end="")
        print((tmp_path / "log").name.replace("log", "file"), file=sys.__stderr__, flush=True)
    assert (tmp_path / "log").read_text() == "line"
    assert sorted(capfd.readouterr().err.splitlines()) == expected.split()


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("level", "display"),
    [
        (Level.NORMAL, progress.ProgressBars),
        (Level.QUIET, progress.ProgressPrinter),
        (Level.VERBOSE, progress.ProgressPrinter),
    ],
)
def test_only_a_normal_run_has_bars(
    level: Level, display: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "__stdout__", FakeTerminal())
    console.set_level(level)
    store: Any = None
    expansion = expand_offline(open_plan("demo").plan)
    shown = progress.progress_of(store, expansion, "r", console.note)
    assert isinstance(shown._display, display)


def test_a_quiet_wait_prints_the_outcome_only(monkeypatch: pytest.MonkeyPatch) -> None:
    status = RunStatus(
        "r", RunState("succeeded", "", 0, ended=True), {}, {"score": (1, 1)}, [], [], [], None
    )
    monkeypatch.setattr("pipelines.run_status.status_of", lambda *_: status)
    said, progress_lines = list[str](), list[str]()
    store: Any = None
    code = wait(store, "r", None, 1.0, said.append, said.append, note=progress_lines.append)
    assert code == 0
    assert said == ["r: succeeded, exit code 0"]
    assert len(progress_lines) == 1


def test_a_print_that_kfp_replaced_does_not_indent_lines(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    original = print

    def indented(*words: Any, **options: Any) -> None:
        original("    ", end="")
        original(*words, **options)

    monkeypatch.setattr("builtins.print", indented)
    console.say("report: runs/demo")
    console.warn("a step failed")
    shown = capfd.readouterr()
    assert shown.out == "report: runs/demo\n"
    assert shown.err == "xstilts: a step failed\n"
