"""The command line: parsing, help, exit codes and error messages."""

import json
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from pipelines import cli, cli_reference
from pipelines.cli import main
from tests.pipelines.command_lines import problem
from xstilts.errors import StoreError

PLAN = (Path(__file__).parents[1] / "e2e" / "small.yaml").read_text()


def refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, *more: str
) -> tuple[int, str]:
    plan = tmp_path / "plan.yaml"
    plan.write_text(text)
    code = main(["plan", str(plan), "--home", str(tmp_path / "home"), *more])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "right", "message"),
    [
        ("task: coco_captions", "task: coco_caption", "coco_caption"),
        ("evaluations: [udpos, tatoeba]", "evaluations: [udpos, tatoebaa]", "tatoebaa"),
        ("languages: [en, qaa]", "languages: [en, xx]", "xx"),
        ("{arm: captions-lm, reference", "{arm: captions, reference", "captions"),
        ("family: llava", "family: lava", "family"),
    ],
    ids=["task", "evaluation", "language", "arm", "backbone"],
)
def test_an_unknown_name_is_refused_with_its_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str, right: str, message: str
) -> None:
    assert wrong in PLAN
    code, error = refused(tmp_path, capsys, PLAN.replace(wrong, right), "--mirror", str(tmp_path))
    assert code == 2
    assert message in error
    assert "Traceback" not in error


def test_all_mistakes_are_reported_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = PLAN.replace("task: coco_captions", "task: coco_caption").replace(
        "tatoeba]", "tatoebaa]"
    )
    _, error = refused(tmp_path, capsys, text, "--mirror", str(tmp_path))
    assert "coco_caption" in error
    assert "tatoebaa" in error


def test_a_contrast_across_objectives_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = PLAN.replace("reference: none, allow_unmatched: true", "reference: csqa")
    text = text.replace("arms:\n", "arms:\n  csqa: {task: commonsense_qa, objective: head}\n")
    code, error = refused(tmp_path, capsys, text, "--mirror", str(tmp_path))
    assert code == 2
    assert "allow_unmatched" in error


def test_image_arms_on_text_only_backbones_alone_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = refused(
        tmp_path, capsys, PLAN.replace("llava", "xlm_r"), "--mirror", str(tmp_path)
    )
    assert code == 2
    assert "image" in error


def test_a_mirror_without_the_data_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    code, error = refused(tmp_path, capsys, PLAN, "--mirror", str(tmp_path / "empty"))
    assert code == 2
    assert "nothing was staged" in error


def test_a_missing_plan_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(tmp_path / "no.yaml"), "--home", str(tmp_path)]) == 2
    assert "no such plan file" in capsys.readouterr().err


def test_an_unreachable_store_is_an_infrastructure_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, hub: Path
) -> None:
    for key, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }.items():
        monkeypatch.setenv(key, value)
    plan = Path(__file__).parents[2] / "pipelines" / "plans" / "real-slices.yaml"
    code = main(
        [
            "plan",
            str(plan),
            "--mirror",
            str(hub),
            "--home",
            str(tmp_path),
            "--store",
            "s3://bucket/x",
        ]
    )
    assert code == 3
    assert "http://127.0.0.1:9 cannot be reached" in capsys.readouterr().err


def test_the_real_slices_plan_names_what_is_not_applicable(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], hub: Path
) -> None:
    plan = Path(__file__).parents[2] / "pipelines" / "plans" / "real-slices.yaml"
    assert main(["plan", str(plan), "--mirror", str(hub), "--home", str(tmp_path), "--json"]) == 0
    view = json.loads(capfd.readouterr().out)
    assert {row["backbone"] for row in view["not_applicable"]} == {"tiny-xlm-r"}


def test_tasks_are_listed_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--json"]) == 0
    assert "xnli" in {row["name"] for row in json.loads(capfd.readouterr().out)}


# ---- help ----


def commands() -> Iterator[tuple[str, Any]]:
    """(words, command) of every command and subcommand."""
    root: Any = typer.main.get_command(cli.app)
    context = root.make_context("xstilts", ["run"], resilient_parsing=True)
    for name in cli.COMMANDS:
        command = root.get_command(context, name)
        yield name, command
        for word, subcommand in getattr(command, "commands", {}).items():
            yield f"{name} {word}", subcommand


ALL = dict(commands())


@pytest.mark.parametrize("words", ALL)
def test_every_command_has_help_with_examples(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words.split(), "-h"]) == 0
    text = capsys.readouterr().out
    assert f"Usage: xstilts {words}" in text
    if not getattr(ALL[words], "commands", {}) or words == "tasks":
        assert f"    xstilts {words}" in text.replace('eval "$(', "")


@pytest.mark.parametrize("words", ALL)
def test_the_examples_in_the_help_are_valid(words: str) -> None:
    lines = [line.strip() for line in (ALL[words].epilog or "").splitlines()]
    for line in lines:
        if line.startswith("xstilts"):
            assert problem(shlex.split(line)[1:]) is None, line


@pytest.mark.parametrize("words", ALL)
def test_options_with_an_empty_value_are_refused(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as `--out "$UNSET"`, which would be the current folder."""
    if getattr(ALL[words], "commands", {}) and words != "tasks":
        pytest.skip("has options in its subcommands only")
    options = [p for p in ALL[words].params if p.param_type_name == "option" and not p.is_flag]
    for name in (name for option in options for name in option.opts):
        for arguments in ([name, ""], [f"{name}="]):
            assert main([*words.split(), *arguments]) == 2
            assert f"{name}: the value is empty" in capsys.readouterr().err


def test_without_arguments_it_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in cli.COMMANDS)


def test_a_command_without_its_subcommand_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mirror"]) == 0
    assert "Usage: xstilts mirror" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version_is_printed(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([option]) == 0
    assert capsys.readouterr().out.strip() == cli.__version__


@pytest.mark.parametrize(
    "argument", ["--help", "--version", "run --help", "plan --help", "mirror pull --help"]
)
def test_help_imports_no_heavy_library(argument: str) -> None:
    """Start-up takes the time of Python and Typer, which loads pydantic to parse options."""
    program = (
        "import sys; from pipelines.cli import main; main(sys.argv[1:]); "
        "print([m for m in ('torch', 'kfp', 'ray', 'boto3', 'rich', 'yaml', 'numpy', 'httpx')"
        " if m in sys.modules])"
    )
    command = [sys.executable, "-c", program, *argument.split()]
    output = subprocess.check_output(command, text=True, cwd=Path(cli.__file__).parents[1])
    assert output.splitlines()[-1] == "[]"


def test_start_up_takes_less_than_a_quarter_of_a_second() -> None:
    """Seconds of CPU, which other programs on the machine hardly change; the best of five."""

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.check_output(
            [sys.executable, "-m", "pipelines.cli", "-V"], cwd=Path(cli.__file__).parents[1]
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.25


def test_the_reference_in_the_docs_is_generated() -> None:
    """Update it with: python -m pipelines.cli_reference > docs/cli.md"""
    file = Path(__file__).parents[2] / "docs" / "cli.md"
    assert file.read_text(encoding="utf-8") == cli_reference.page()


# ---- parsing ----


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        ("rnu plan.yaml", "no such command 'rnu'. Did you mean 'run'?"),
        ("mirror pul DIR", "no such command 'pul'. Did you mean 'pull'?"),
        ("run plan.yaml --mirorr hub", "no such option: --mirorr. Did you mean '--mirror'?"),
    ],
)
def test_a_typo_is_answered_with_the_nearest_name(
    arguments: str, suggestion: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"xstilts: {suggestion}")
    assert "--help" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run", "missing argument 'PLAN'"),
        ("run a b", "unexpected extra argument"),
        ("run a --runner x", "'x' is not one of 'subprocess', 'docker'"),
        ("submit a --store s3://b/p", "missing option '--host'"),
        ("calibrate --trials 0", "invalid value for '--trials'"),
    ],
)
def test_invalid_usage_exits_with_2(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.split()) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        "run --home h plan.yaml --out o",
        "store --days 3 gc --dry-run",
        "mirror --plan p pull d",
        "tasks probe --lock",
        "tasks probe --lock hub.lock --rows 5",
        "tasks --json",
        "tasks probe --json",
        "status r --store=s3://b/p --namespace=n",
        "schedule list dir --host h --store s --settings f --allow-unlocked",
        "lock base plan-python --resolve",
        "--debug run p",
        "run p --debug",
    ],
)
def test_options_are_valid_in_any_order(arguments: str) -> None:
    assert problem(arguments.split()) is None


# ---- errors ----


def failing(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise error

    monkeypatch.setattr("pipelines.plan_file.read_plan", fail)


def run_plan(*options: str) -> int:
    return main(["calibrate", "--plan", "p", *options])


def test_an_error_is_one_message_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(StoreError("s3://b/p: no such bucket"), monkeypatch)
    assert run_plan() == 3
    assert capsys.readouterr().err == "xstilts: s3://b/p: no such bucket\n"


def test_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(StoreError("s3://b/p: no such bucket"), monkeypatch)
    assert run_plan("--debug") == 3
    assert "Traceback" in capsys.readouterr().err


def test_an_unexpected_error_names_the_file_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(KeyError("x"), monkeypatch)
    assert run_plan() == 1
    error = capsys.readouterr().err
    assert error.startswith("xstilts: unexpected KeyError: 'x' (traceback: ")
    file = Path(error.rpartition("traceback: ")[2].strip().removesuffix(")"))
    assert "Traceback" in file.read_text()
    file.unlink()


def test_an_interrupt_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(KeyboardInterrupt(), monkeypatch)
    assert run_plan() == 130
    assert "run the same command to resume" in capsys.readouterr().err
