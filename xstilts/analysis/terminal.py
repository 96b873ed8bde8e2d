"""The end of `xstilts run`: a small table of effects."""

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table


def show(report: Path, console: Console | None = None) -> None:
    """Prints the answer, the effects of a report's folder, its controls and what is missing."""
    console = console or Console(file=sys.__stdout__)
    summary = json.loads((report / "summary.json").read_text())
    table = Table(title=summary["title"], title_justify="left")
    for column in ("contrast", "backbone", "evaluation"):
        table.add_column(column)
    for column in ("effect", "95 % interval", "seeds"):
        table.add_column(column, justify="right")
    for row in summary["effects"]:
        clear = row["ci_low"] > 0 or row["ci_high"] < 0
        span = f"{row['ci_low']:+.1f} … {row['ci_high']:+.1f}"
        style = "bold" if clear else "dim"
        table.add_row(
            row["contrast"],
            row["backbone"],
            row["evaluation"],
            f"{row['effect']:+.1f}",
            span,
            str(row["n_seeds"]),
            style=style,
        )
    console.print(table)
    console.print(summary["answer"])
    for control in summary["controls"]:
        verdict = "as it must" if control["as_expected"] else "NOT AS IT MUST"
        span = f"{control['ci_low']:+.1f} … {control['ci_high']:+.1f}"
        console.print(
            f"{control['kind']} control, {control['backbone']}: {control['arm']} on {control['evaluation']} {span}, {verdict}"
        )
    if summary["missing"]:
        console.print(f"{len(summary['missing'])} missing:")
        for entry in summary["missing"][:10]:
            console.print(f"  {entry['what']}: {entry['reason'].splitlines()[0]}")
    console.print(summary["banner"], style="italic")
