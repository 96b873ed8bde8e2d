"""The end of `xstilts run`: a small table of effects."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from xstilts.analysis.answer import clear, p_text

#: More effects than this are a page of the report and not a screen: then the headline's alone are
#: printed.
MOST_ROWS = 30


def show(report: Path, console: Console | None = None) -> None:
    """Prints the answer, the effects of a report's folder (of many, the headline's), its
    controls and what is missing.
    """
    console = console or Console(file=sys.__stdout__)
    summary = json.loads((report / "summary.json").read_text())
    effects = summary["effects"]
    chosen = [row for row in effects if row["contrast"] == summary["headline"]]
    shown = chosen if chosen and len(effects) > MOST_ROWS else effects[:MOST_ROWS]
    headline = [
        {**row, "evaluation": f"{row['evaluation']}, non-English"}
        for row in summary["primary"]
        if row["contrast"] == summary["headline"]
    ]
    if shown:
        console.print(_table(summary["title"], [*headline, *shown], summary["confidence"]))
    if len(shown) < len(effects):
        console.print(f"{len(effects) - len(shown)} further effects are in the report")
    console.print(summary["answer"])
    for control in summary["controls"]:
        verdict = control["verdict"] if control["as_expected"] else control["verdict"].upper()
        span = f"{control['ci_low']:+.1f} … {control['ci_high']:+.1f}"
        console.print(
            f"{control['kind']} control, {control['backbone']}: {control['arm']} on {control['evaluation']} {span}, {verdict}"
        )
    if summary["missing"]:
        console.print(f"{len(summary['missing'])} missing:")
        for entry in summary["missing"][:10]:
            console.print(f"  {entry['what']}: {entry['reason'].splitlines()[0]}")
    console.print(summary["banner"], style="italic")


def _table(title: str, effects: Sequence[Mapping[str, Any]], level: float) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("contrast", "backbone", "evaluation"):
        table.add_column(column)
    for column in ("effect", f"{100 * level:g} % interval", "adj. p", "MDE", "seeds"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in effects:
        p = row["p_adjusted"]
        span = f"{row['ci_low']:+.1f} … {row['ci_high']:+.1f}"
        cells = (
            row["contrast"], row["backbone"], row["evaluation"], f"{row['effect']:+.1f}", span,
            p_text(p), "" if row["mde"] is None else f"{row['mde']:.1f}", row["seeds"],
        )  # fmt: skip
        table.add_row(*cells, style="bold" if clear(p, 1 - level) else "dim")
    return table
