"""The table of what changed between two runs, as `xstilts report --against` prints it."""

import sys
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from rich.console import Console

from xstilts.analysis.result_texts import p_text
from xstilts.analysis.terminal import plain_text
from xstilts.errors import counted
from xstilts.terminal_tables import console as real_console
from xstilts.terminal_tables import table


def show_changes(
    changes: pd.DataFrame, title: str, threshold: float | None, console: Console | None = None
) -> None:
    """Prints what changed between two runs, and which changes are regressions.

    Args:
        changes: the table of `xstilts.analysis.changes`.
        title: names of both runs.
        threshold: the plan's, in points; None if it has none.
        console: where to print.
    """
    console = console or real_console(sys.__stdout__)
    rows = [_cells(row) for row in changes.to_dict("records")]
    numbers = ("score", "change", "interval", "adj. p", "seeds")
    columns: tuple[str, ...] = ("backbone", "arm", "evaluation", *numbers, "note")
    if not any(cells[-1] for cells, _ in rows):
        columns = columns[:-1]
    shown = table(columns, title=plain_text(title), numbers=numbers)
    for cells, style in rows:
        shown.add_row(*map(plain_text, cells[: len(columns)]), style=style)
    console.print(shown)
    if threshold is None:
        console.print(
            "The plan sets no `report: {regression: {points: …}}`, so losses are not checked.",
            markup=False,
        )
    else:
        count = int(changes["regression"].sum())
        losses = f"{counted(count, 'loss', 'losses')} of more than {threshold:g} points"
        console.print(f"{losses} that noise does not explain.", markup=False)


def _cells(row: Mapping[Hashable, Any]) -> tuple[list[str], str | None]:
    """The cells of a row of changes, and its style. changes.csv has the other score too."""
    head = [str(row[name]) for name in ("backbone", "arm", "evaluation")]
    if pd.isna(row["change"]):
        return [*head, *[""] * 5, str(row["reason"])], "dim"
    return [
        *head,
        "" if pd.isna(row["score"]) else f"{row['score']:.1f}",
        f"{row['change']:+.1f}",
        f"{row['ci_low']:+.1f} … {row['ci_high']:+.1f}",
        p_text(row["p_adjusted"]),
        str(int(row["n_seeds"])),
        "regression" if row["regression"] else str(row["reason"]),
    ], "bold red" if row["regression"] else None
