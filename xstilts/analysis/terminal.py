"""The summary that `xstilts run` prints at the end: the answer and a small table of effects."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from xstilts.analysis.result_texts import clear, control_text, p_text, points
from xstilts.document_shape import read_shaped
from xstilts.errors import counted, in_a_line, printable
from xstilts.stored_documents import SUMMARY
from xstilts.terminal_tables import console as real_console
from xstilts.terminal_tables import table

#: More effects do not fit on a screen; then only the headline contrast's are printed.
LARGEST_TABLE = 30
#: Missing scores that are printed with their reason.
MISSING_SHOWN = 10


def show(report: Path, console: Console | None = None) -> None:
    """Prints the effects, the answer, the controls and the missing scores of a report's folder."""
    console = console or real_console(sys.__stdout__)
    summary = read_shaped(report / "summary.json", SUMMARY, "delete it and run the plan again")
    effects = summary["effects"]
    of_headline = [row for row in effects if row["contrast"] == summary["headline"]]
    rows = of_headline if of_headline and len(effects) > LARGEST_TABLE else effects[:LARGEST_TABLE]
    primary = [
        {**row, "evaluation": f"{row['evaluation']}, non-English"}
        for row in summary["primary"]
        if row["contrast"] == summary["headline"]
    ]
    if rows:
        console.print(_table(summary["title"], [*primary, *rows], summary["confidence"]))
    lines = []
    if len(rows) < len(effects):
        lines.append(f"the report has {counted(len(effects) - len(rows), 'more effect')}")
    lines.append(summary["answer"])
    lines += [control_text(control) for control in summary["controls"]]
    missing = summary["missing"]
    if missing:
        lines.append(f"{len(missing)} missing:")
        lines += [
            f"  {entry['what']}: {in_a_line(entry['reason'])}" for entry in missing[:MISSING_SHOWN]
        ]
        if len(missing) > MISSING_SHOWN:
            lines.append(f"  … and {len(missing) - MISSING_SHOWN} more, see the report")
    for line in lines:
        console.print(printable(line), markup=False)
    console.print(printable(summary["banner"]), style="italic", markup=False)


def _table(title: str, effects: Sequence[Mapping[str, Any]], level: float) -> Table:
    contrasts = {row["contrast"] for row in effects}
    names: tuple[str, ...] = ("contrast", "backbone", "evaluation")
    if len(contrasts) == 1:  # as a title: names are long
        names = names[1:]
        title = f"{title}\n{contrasts.pop()}"
    numbers = ("effect", f"{100 * level:g}% interval", "adj. p", "MDE", "seeds")
    shown = table((*names, *numbers), title=plain_text(title), numbers=numbers)
    for row in effects:
        p = row["p_adjusted"]
        cells = (
            *(plain_text(row[name]) for name in names),
            points(row["effect"]),
            f"{points(row['ci_low'])} … {points(row['ci_high'])}",
            p_text(p),
            "" if row["mde"] is None else f"{row['mde']:.1f}",
            row["seeds"],
        )
        shown.add_row(*cells, style="bold" if clear(p, 1 - level) else "dim")
    return shown


def plain_text(value: str) -> Text:
    """Text from a plan, which is not markup."""
    return Text(printable(value))
