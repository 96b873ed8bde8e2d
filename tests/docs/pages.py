"""The Markdown files of the repository, and what tests read from them."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.M | re.S)
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
#: Languages of code blocks that hold commands only. A block without a language may hold others.
SHELL = {"sh", "bash", "console", "shell"}
OURS = ("xstilts ", "make ", "k8s/")


def pages() -> list[Path]:
    folders = ("docs", "k8s", "components", ".github")
    found = [page for folder in folders for page in (ROOT / folder).rglob("*.md")]
    return sorted([*ROOT.glob("*.md"), *found])


def command_lines(page: Path) -> Iterator[str]:
    """The lines of a page's shell blocks, without comments and prompts; continued lines joined."""
    for language, block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.sub(r"(^|\s+)#.*", "", line).strip().removeprefix("$ ")
            if command and (language in SHELL or (not language and command.startswith(OURS))):
                yield command


def spans(page: Path) -> list[str]:
    """The inline code of a page."""
    return _SPAN.findall(_BLOCK.sub("", page.read_text(encoding="utf-8")))
