"""Tables of the command line. No name is cut: on a narrow terminal long names continue on the next
line.
"""

import os
from collections.abc import Iterable, Sequence
from typing import IO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Columns of a file or a pipe, which have no width of their own, and where COLUMNS is 0. Another
#: COLUMNS in the environment replaces it.
FILE_WIDTH = 120


def console(file: IO[str] | None = None) -> Console:
    """A console that prints to a file, or to sys.stdout."""
    printed = Console(file=file)
    if printed.width < 1 or (not printed.is_terminal and "COLUMNS" not in os.environ):
        printed.width = FILE_WIDTH
    return printed


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Text]] = (),
    title: str | Text = "",
    numbers: Iterable[str] = (),
) -> Table:
    """A table without vertical lines.

    Args:
        columns: names of the columns.
        rows: texts, which are not markup.
        title: above the table.
        numbers: columns that are right-aligned and not wrapped.
    """
    made = Table(
        title=title or None,
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    right = set(numbers)
    for name in columns:
        if name in right:
            made.add_column(name, justify="right", no_wrap=True)
        else:
            made.add_column(name, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made
