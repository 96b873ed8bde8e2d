"""Messages agree with their counts: `1 cell`, `2 cells`."""

import re

import pytest

from tests.conftest import ROOT
from xstilts.errors import counted

#: An f-string that puts a length before a fixed plural.
FIXED_PLURAL = re.compile(r"\{len\([^{}]*\)(?::,)?\} [a-z]+s\b")
#: What commands print.
FILES = sorted((ROOT / "pipelines").rglob("*.py")) + sorted((ROOT / "components").glob("*/*.py"))


@pytest.mark.parametrize(
    ("count", "noun", "plural", "text"),
    [
        (0, "cell", None, "0 cells"), (1, "cell", None, "1 cell"), (2, "cell", None, "2 cells"),
        (1200, "entry", "entries", "1,200 entries"), (1, "entry", "entries", "1 entry"),
    ],
)  # fmt: skip
def test_a_count_agrees_with_its_noun(count: int, noun: str, plural: str | None, text: str) -> None:
    assert counted(count, noun, plural) == text


def test_no_message_has_a_fixed_plural() -> None:
    messages = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in FILES
        for match in FIXED_PLURAL.finditer(path.read_text())
    ]
    assert messages == ["components/launch/rules.py: {len(name)} characters"]  # more than 47
