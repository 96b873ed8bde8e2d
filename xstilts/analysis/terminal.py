"""The summary that `xstilts run` prints at the end: the answer and a small table of effects."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from xstilts.analysis.result_texts import clear, control_text, p_text, signed
from xstilts.document_shape import read_shaped
from xstilts.errors import counted, in_a_line, printable
from xstilts.stored_documents import SUMMARY

#: More effects do not fit on a screen; then only the headline contrast's are printed.
LARGEST_TABLE = 30
#: Missing scores that are printed with their reason.
MISSING_SHOWN = 10


def show(report: Path, console: Console | None = None) -> None:
    """Prints the effects, the answer, the controls and the missing scores of a report's folder."""
    console = console or Console(file=sys.__stdout__)
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
    table = Table(title=plain_text(title), title_justify="left")
    for column in ("contrast", "backbone", "evaluation"):
        table.add_column(column)
    for column in ("effect", f"{100 * level:g} % interval", "adj. p", "MDE", "seeds"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in effects:
        p = row["p_adjusted"]
        cells = (
            plain_text(row["contrast"]),
            plain_text(row["backbone"]),
            plain_text(row["evaluation"]),
            signed(row["effect"]),
            f"{signed(row['ci_low'])} … {signed(row['ci_high'])}",
            p_text(p),
            "" if row["mde"] is None else f"{row['mde']:.1f}",
            row["seeds"],
        )
        table.add_row(*cells, style="bold" if clear(p, 1 - level) else "dim")
    return table


def plain_text(value: str) -> Text:
    """Text from a plan, which is not markup."""
    return Text(printable(value))
