"""The check of words: what it finds, and that documentation is free of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

CHECK = ROOT / "style" / "check.py"


def check(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHECK), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_documentation_has_no_phrase_of_the_list() -> None:
    done = check()
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize(
    "text",
    [
        "The same command goes on from here.",
        "Spoilt files are fetched again.",
        "The key stands twice.",
        "'x' is no run.",
        "so many tokens",
        "The weights of the best look at English dev",
        "as it must",
        "words of the design",
    ],
)
def test_a_phrase_of_the_list_is_found(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{text}\n")
    done = check(page)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{page}:3: ")


@pytest.mark.parametrize(
    "text",
    [
        "There is no run with this name.",
        "It is no longer used.",
        "`spending: {looks: 11}`",
        "```\nthe key stands twice\n```",
        "[a page](goes-on-from.md)",
        "a pool of strikers",
    ],
)
def test_plain_words_and_code_are_left_alone(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    assert check(page).stdout == ""


def test_python_docstrings_comments_and_messages_are_checked_on_request(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        '"""It goes on from here."""\n'
        "# whoever reads this\n"
        'ERROR = "the key stands twice"\n'
        'PROMPT = "it is told"  # style: data\n'
        'NAME = "spoilt"\n'
    )
    lines = check("--python", module).stdout.splitlines()
    assert [line.split(":")[1] for line in lines] == ["1", "2", "3"]


def test_a_phrase_is_found_across_a_line_break(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("The same command goes\non from here.\n")
    assert check(page).stdout.startswith(f"{page}:1: 'goes on from': ")


def test_hits_are_counted_by_package() -> None:
    done = check("--count", "--python", ROOT / "style" / "phrases.tsv")
    assert done.stdout.split()[1] == "style"
