"""What comes from data, a plan or a URL controls no terminal and shows no password."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from pipelines import console
from xstilts.errors import DataError, printable, without_credentials
from xstilts.official.export import cell_name

MARKUP = ["Study of [/INST] markup", "[bold]", "[link=file:///etc/passwd]x[/link]", "\\[red]"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain — ünï, 日本語\n\ttext", "plain — ünï, 日本語\n\ttext"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\rb\x08", r"a\rb\x08"),
        ("\u202eevil", r"\u202eevil"),
        ("\x9b31m", r"\x9b31m"),
    ],
)
def test_control_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://key:secret@host:9000/x is down", "http://***@host:9000/x is down"),
        ('endpoint URL: "https://key:se%2Fcret@host/"', 'endpoint URL: "https://***@host/"'),
        ("s3://bucket/a@b and mail@host", "s3://bucket/a@b and mail@host"),
        ("http://host/path?x=a@b", "http://host/path?x=a@b"),
    ],
)
def test_credentials_in_urls_are_not_shown(text: str, shown: str) -> None:
    assert without_credentials(text) == shown


@pytest.mark.parametrize("value", [*MARKUP, "\x1b[31mred"])
def test_a_table_shows_values_as_they_are(value: str) -> None:
    output = io.StringIO()
    table = Table("name")
    table.add_row(console.cell(value))
    Console(file=output, width=200).print(table)
    assert printable(value) in output.getvalue()


@pytest.mark.parametrize("name", ["../../x", "/etc", "a/b", "a\\b", "a\nb", "xlm\x00r"])
def test_export_writes_into_its_folder_only(name: str) -> None:
    cell: Any = (name, "mnli", 1, 2)
    with pytest.raises(DataError, match="not a valid file name"):
        cell_name(cell)


def test_export_names_a_folder_by_the_cell() -> None:
    assert cell_name(("xlm-r", "mnli", 1, None)) == "xlm-r.mnli.i1"
    assert Path(cell_name(("..", "x", None, None))).name == "...x"
