"""Completion of command lines by shells."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import shellingham
from typer.completion import get_completion_script

from pipelines import cli
from pipelines.cli import main
from pipelines.local_runner import BUCKET_URI
from xstilts.store.server import BUCKET
from xstilts.tasks.registry import TASKS

ROOT = Path(cli.__file__).parents[1]
PLANS = sorted(file.stem for file in (ROOT / "pipelines" / "plans").glob("*.yaml"))


def asked(variables: dict[str, str]) -> list[str]:
    """The lines that a shell gets which asks for completions."""
    output = subprocess.check_output(
        [sys.executable, "-m", "pipelines.cli"],
        text=True, cwd=ROOT, env={**os.environ, **variables},
    )  # fmt: skip
    return output.split("\n")[:-1] if output.strip() else []


def completions(line: str) -> list[str]:
    """The completions of the last word of a line in bash."""
    return asked(
        {
            "_XSTILTS_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        }
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("xstilts ", list(cli.COMMANDS)),
        ("xstilts re", ["report", "results"]),
        ("xstilts mirror ", ["miniature", "pull", "verify"]),
        ("xstilts run ", PLANS),
        ("xstilts -q run de", ["demo"]),
        ("xstilts check my-plan", []),
        ("xstilts run demo --mirror ", ["hub", "miniature"]),
        ("xstilts run demo --runner ", ["subprocess", "docker"]),
        ("xstilts mirror pull DIR --plan de", ["demo"]),
        ("xstilts tasks probe --task xn", [name for name in TASKS if name.startswith("xn")]),
        ("xstilts run demo --sto", ["--store"]),
    ],
)
def test_names_are_completed(line: str, expected: list[str]) -> None:
    assert completions(line) == expected


def test_local_runs_and_their_plans_are_completed(tmp_path: Path) -> None:
    store = BUCKET_URI.removeprefix(f"s3://{BUCKET}/")
    runs = [
        "demo-20261128-183549-5827",
        "demo-20261129-101112-9",
        "modality-geometry-20261129-101500-12",
    ]
    for run in runs:
        folder = tmp_path / "store" / BUCKET / store / "runs" / run
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({}))
    line = f"xstilts status --home {tmp_path} "
    assert completions(line) == ["demo", *runs[:2], "modality-geometry", runs[2]]
    assert completions(f"{line}m") == ["modality-geometry", runs[2]]
    assert completions(f"xstilts status --home {tmp_path} --store s3://bucket/p ") == []
    assert completions(f"xstilts status --home {tmp_path}/absent ") == []


def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    script = get_completion_script(
        prog_name="xstilts", complete_var="_XSTILTS_COMPLETE", shell="bash"
    )
    program = tmp_path / "xstilts"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pipelines.cli "$@"\n')
    program.chmod(0o755)
    ask = f"COMP_WORDS=(xstilts run de); COMP_CWORD=2; _xstilts_completion {program}; echo ${{COMPREPLY[@]}}"
    output = subprocess.check_output(["bash", "-c", f"{script}\n{ask}"], text=True, cwd=ROOT)
    assert output == "demo\n"


def test_zsh_and_fish_are_answered_in_their_form() -> None:
    words = {"_TYPER_COMPLETE_ARGS": "xstilts run de", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert asked({**words, "_XSTILTS_COMPLETE": "complete_fish"}) == ["demo"]
    assert asked({**words, "_XSTILTS_COMPLETE": "complete_zsh"}) == [
        "_arguments '*: :((\"demo\"))'"
    ]


@pytest.mark.parametrize(
    ("shell", "file"),
    [
        ("bash", ".bash_completions/xstilts.sh"),
        ("zsh", ".zfunc/_xstilts"),
        ("fish", ".config/fish/completions/xstilts.fish"),
    ],
)
def test_completion_is_installed_for_the_shell(
    shell: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(shellingham, "detect_shell", lambda: (shell, f"/bin/{shell}"))
    with pytest.raises(SystemExit) as ended:
        main(["--install-completion"])
    assert ended.value.code == 0
    assert "_XSTILTS_COMPLETE" in (tmp_path / file).read_text()


@pytest.mark.parametrize("option", ["--install-completion", "--show-completion"])
def test_an_unknown_shell_is_an_error(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise shellingham.ShellDetectionFailure

    monkeypatch.setattr(shellingham, "detect_shell", fail)
    assert main([option]) == 2
    assert "call this from bash, zsh or fish" in capsys.readouterr().err
