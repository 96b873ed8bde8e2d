"""Tables of the command line cut no name."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from xstilts.terminal_tables import FILE_WIDTH, console, table

COLUMNS = ("contrast", "backbone", "effect", "interval")
NAMES = ("captions-and-questions minus commonsense", "a-very-long-name-of-a-backbone")


def printed(width: int) -> str:
    row = [Text(cell) for cell in (*NAMES, "+1.5", "-5.2 … +8.2")]
    out = io.StringIO()
    Console(file=out, width=width).print(table(COLUMNS, [row], "a plan", ("effect", "interval")))
    return out.getvalue()


def test_a_wide_table_has_a_line_for_each_row() -> None:
    (row,) = [line for line in printed(120).splitlines() if "+1.5" in line]
    assert [name in row for name in NAMES] == [True, True]


def test_a_narrow_table_continues_names_on_the_next_lines() -> None:
    lines = printed(60).splitlines()
    assert max(map(len, lines)) <= 60
    second, third = (lines[1].index(name) for name in ("backbone", "effect"))
    columns = ((0, second), (second, third))
    shown = ["".join(line[start:end] for line in lines[3:]) for start, end in columns]
    assert ["".join(text.split()) for text in shown] == ["".join(text.split()) for text in NAMES]


def test_a_file_is_wider_than_a_terminal_of_unknown_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console(io.StringIO()).width == FILE_WIDTH
    monkeypatch.setenv("COLUMNS", "70")
    assert console(io.StringIO()).width == 70
    monkeypatch.setenv("COLUMNS", "0")
    assert console(io.StringIO()).width == FILE_WIDTH
