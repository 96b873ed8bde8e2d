"""Every command in the documentation is one that exists, with options that exist. Nothing is run:
xstilts commands are parsed, make targets dry-run, scripts and modules looked up.
"""

import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT, command_lines, pages, spans

#: What the documentation writes for values of the reader.
PLACEHOLDERS = {
    "PLAN": "pipelines/plans/demo.yaml", "FILE": "pipelines/plans/schedules", "DIR": "docs", "OTHER": "docs",
    "REPORT": "docs", "PREDICTIONS": "docs", "LABELS": "docs", "RUN": "demo-20270101-000000", "NAME": "demo",
    "URL": "http://localhost:8888", "S3": "s3://bucket/prefix", "$REPOSITORY": ".", "COMMAND": "run",
}  # fmt: skip
#: The parts of a usage line that are not typed.
SYNOPSIS = re.compile(r"\[[A-Z]+\]|\bSUBCOMMAND\b")
#: Commands of the reader's own system.
SYSTEM = {"eval", "cp", "cd", "git", "source", "export", "ls", "open", "pip", "kubectl"}
COMMANDS = sorted({(page, line) for page in pages() for line in command_lines(page)})
SPANS = sorted(
    {
        (page, span)
        for page in pages()
        for span in spans(page)
        if span.split()[0] in ("xstilts", "make") and " " in span and "…" not in span
    }
)


def names(value: tuple[Path, str]) -> str:
    return f"{value[0].relative_to(ROOT)}: {value[1]}"


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) > 40


@pytest.mark.parametrize("place", COMMANDS, ids=names)
def test_a_command_of_a_code_block_exists(place: tuple[Path, str]) -> None:
    assert _refusal(place[1]) == ""


@pytest.mark.parametrize("place", SPANS, ids=names)
def test_a_command_in_a_sentence_exists(place: tuple[Path, str]) -> None:
    assert _refusal(place[1], whole=False) == ""


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("xstilts rnu PLAN", "rnu"),
        ("xstilts run PLAN --runer docker", "runer"),
        ("make dmeo", "dmeo"),
        ("k8s/guide/absent.sh", "no such script"),
        ("python -m xstilts.absent", "no such module"),
        ("frobnicate", "unknown"),
    ],
)
def test_a_wrong_command_is_found(command: str, reason: str) -> None:
    assert reason in _refusal(command)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_variables_are_defined_before_they_are_used(page: Path) -> None:
    known = {"USERS", "OPTIONS"}  # docs/cluster.md: empty, unless the reader sets them
    for command in command_lines(page):
        if "k8s/guide/variables.sh" in command:
            known |= printed_variables()
        used = {*re.findall(r"\$\{?([A-Za-z_]\w*)", command)}
        assert used <= known, command
        known |= {*re.findall(r"(?:^|\s)([A-Z_]+)=", command)}


def printed_variables() -> set[str]:
    """The names that k8s/guide/variables.sh prints."""
    script = (ROOT / "k8s" / "guide" / "variables.sh").read_text(encoding="utf-8")
    (names,) = re.findall(r"^for name in ([A-Z0-9_ ]+); do$", script, re.M)
    return set(names.split())


def _refusal(command: str, whole: bool = True) -> str:
    """Why a command cannot be right; empty if it can. whole: with all of its arguments."""
    whole = whole and not SYNOPSIS.search(command)
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(SYNOPSIS.sub("", command))]
    words = [word for word in words if not re.fullmatch(r"\$\{\w+\[@\]\}", word)]  # may be empty
    while words and "=" in words[0] and not words[0].startswith("-"):  # VARIABLE=value command
        words = words[1:]
    program = Path(words[0]).name if words[0].startswith(".venv/bin/") else words[0]
    if program in ("xstilts", "$XSTILTS"):
        return _xstilts(words[1:], whole)
    if program == "make":
        return _make(words[1:])
    if program.startswith(("k8s/", ".ci/")):
        script = ROOT / program
        return "" if script.is_file() and script.stat().st_mode & 0o111 else "no such script"
    if program in ("python", "python3"):
        return _python(words[1:])
    return "" if program in SYSTEM else f"unknown: {program}"


def _make(words: list[str]) -> str:
    arguments = ["make", "--dry-run", "--no-print-directory", "-C", str(ROOT), *words]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def _python(words: list[str]) -> str:
    if words[0] != "-m":
        return "" if (ROOT / words[0]).is_file() else f"no such script: {words[0]}"
    if "." in words[1] and find_spec(words[1].rpartition(".")[0]) is None:
        return f"no such module: {words[1]}"
    return "" if find_spec(words[1]) else f"no such module: {words[1]}"


def _xstilts(words: list[str], whole: bool) -> str:
    words = [word for word in words if word != "--debug"]
    try:
        if whole:
            _parse(words)
        else:  # a sentence may leave arguments out: command and options must exist
            known = _options(words)
            unknown = {word.partition("=")[0] for word in words if word.startswith("-")} - known
            return " ".join(sorted(unknown))
    except SystemExit as end:
        return f"{' '.join(words)}: refused with {end.code}" if end.code else ""
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return str(error.format_message())
    return ""


def _parse(words: list[str]) -> None:
    """Parses a command line; an exception or SystemExit if it is wrong."""
    from pipelines import cli

    if hasattr(cli, "parser"):
        cli.parser().parse_args(words)
        return
    command, context = _root()
    while hasattr(command, "resolve_command"):
        if not words:
            if not command.invoke_without_command:
                sys.exit(f"{context.command_path}: no subcommand")
            return
        command, context = _child(command, context, words)
        words = context.args


def _options(words: list[str]) -> set[str]:
    """The options of the command, and of the subcommand, that a line begins with."""
    from pipelines import cli

    if hasattr(cli, "parser"):
        (commands,) = (
            action.choices for action in cli.parser()._actions if isinstance(action.choices, dict)
        )
        if words[0] not in commands:
            sys.exit(f"no such command: {words[0]}")
        return set(commands[words[0]]._option_string_actions)
    command, context = _root()
    known = {"--help", *_names(command)}
    for word in words:
        if not hasattr(command, "get_command") or word.startswith("-"):
            break
        command = command.get_command(context, word)
        if command is None:
            sys.exit(f"no such command: {word}")
        known |= _names(command)
    return known


def _names(command: Any) -> set[str]:
    return {option for one in command.params for option in (*one.opts, *one.secondary_opts)}


def _root() -> tuple[Any, Any]:
    import typer

    from pipelines import cli

    command: Any = typer.main.get_command(cli.app)
    return command, command.make_context("xstilts", [], resilient_parsing=True)


def _child(command: Any, context: Any, words: list[str]) -> tuple[Any, Any]:
    name, child, rest = command.resolve_command(context, words)
    if child is None:
        sys.exit(f"no such command: {words[0]}")
    below = child.make_context(name, rest, parent=context)
    below.args = [*getattr(below, "_protected_args", ()), *below.args]
    return child, below
