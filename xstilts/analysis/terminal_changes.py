"""The table of what changed between two runs, as `xstilts report --against` prints it."""

import sys

import pandas as pd
from rich.console import Console
from rich.table import Table

from xstilts.analysis.result_texts import p_text
from xstilts.analysis.terminal import plain_text
from xstilts.errors import counted


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
    console = console or Console(file=sys.__stdout__)
    table = Table(title=plain_text(title), title_justify="left")
    for column in ("backbone", "arm", "evaluation"):
        table.add_column(column)
    for column in ("score", "other", "change", "interval", "adj. p", "seeds"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    for row in changes.to_dict("records"):
        head = [plain_text(str(row[name])) for name in ("backbone", "arm", "evaluation")]
        if pd.isna(row["change"]):
            table.add_row(*head, *[""] * 6, plain_text(row["reason"]), style="dim")
            continue
        scores = ["" if pd.isna(row[name]) else f"{row[name]:.1f}" for name in ("score", "other")]
        interval = f"{row['ci_low']:+.1f} … {row['ci_high']:+.1f}"
        note = "regression" if row["regression"] else row["reason"]
        table.add_row(
            *head,
            *scores,
            f"{row['change']:+.1f}",
            interval,
            p_text(row["p_adjusted"]),
            str(int(row["n_seeds"])),
            plain_text(note),
            style="bold red" if row["regression"] else None,
        )
    console.print(table)
    if threshold is None:
        console.print("The plan sets no `report: {regression: {points: …}}`, so none is checked.")
    else:
        count = int(changes["regression"].sum())
        losses = f"{counted(count, 'loss', 'losses')} of more than {threshold:g} points"
        console.print(f"{losses} that noise does not explain.", markup=False)
