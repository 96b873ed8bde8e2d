"""Tables to take away: CSV for a program, LaTeX for a paper."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from xstilts.analysis.estimands import POOLED
from xstilts.analysis.heat_map import heat_map
from xstilts.analysis.inputs import ReportInput
from xstilts.analysis.latex import latex_text, tabular
from xstilts.analysis.page.view import NAMES, contrast_tables, score_tables
from xstilts.analysis.result_texts import p_text, points
from xstilts.analysis.summary import official_rows

#: Columns of steps.csv.
STEP_COLUMNS = (
    "kind",
    "stage",
    "backbone",
    "arm",
    "name",
    "language",
    "split",
    "seed",
    "seconds",
    "gpu_hours",
    "tokens",
    "updates",
    "rows",
    "label",
    "manifest",
)
Rows = Sequence[Sequence[Any]]


def write_tables(
    folder: Path,
    report: ReportInput,
    results: pd.DataFrame,
    effects: pd.DataFrame,
    summary: Mapping[str, Any],
) -> None:
    """Writes contrasts, effects against `none`, and scores as .csv and .tex, and steps.csv.

    Args:
        folder: for the files.
        report: the report's input.
        results: the table of scores.
        effects: the table of effects.
        summary: the report's content as JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    alpha = 1 - summary["confidence"]
    level = f"{100 * summary['confidence']:g}%"
    tables = contrast_tables(summary)
    _write(
        folder / "contrasts",
        (
            "contrast",
            "backbone",
            "evaluation",
            "languages",
            "effect",
            f"{level} interval",
            "adjusted p",
            "MDE",
            "seeds",
        ),
        [
            (
                e["contrast"],
                e["backbone"],
                _over(e["evaluation"]),
                NAMES[e["language"]],
                points(e["effect"]),
                f"[{points(e['ci_low'])}, {points(e['ci_high'])}]",
                p_text(e["p_adjusted"]),
                number(e["mde"]),
                e["seeds"],
            )
            for rows in tables.values()
            for e in rows
        ],
        f"Effects in points with {level} intervals, pooled over evaluations. "
        "p is adjusted for multiple tests. MDE: minimum detectable effect at 80% power.",
        text_columns=4,
    )
    for table in heat_map(report, official_rows(report, effects)):
        _write(
            folder / f"effects-{file_name(table['backbone'])}",
            ("arm", *table["evaluations"]),
            [(line["arm"], *map(_entry, line["entries"])) for line in table["lines"]],
            f"{table['backbone']}: effects against no intermediate task, in points of each "
            f"evaluation's official metric, averaged over languages. *: significant at {alpha:.3g} "
            "after correction. †: trained on the target's own training data.",
            text_columns=1,
        )
    _write(
        folder / "averages",
        ("backbone", "arm", *(table["evaluation"] for table in score_tables(report, results))),
        _scores(score_tables(report, results)),
        "Scores in each evaluation's official metric, averaged over languages and seeds, with "
        "standard errors over seeds.",
        text_columns=2,
    )
    with open(folder / "steps.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(STEP_COLUMNS)
        for record in report.steps.values():
            own = [getattr(record, column) for column in STEP_COLUMNS[:-1]]
            writer.writerow([*own, record.path])


def _write(path: Path, columns: Sequence[str], rows: Rows, caption: str, text_columns: int) -> None:
    with open(path.with_name(f"{path.name}.csv"), "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *(_for_programs(r, text_columns) for r in rows)])
    path.with_name(f"{path.name}.tex").write_text(
        latex(columns, rows, caption, f"tab:{path.name}", text_columns), encoding="utf-8"
    )


def _for_programs(row: Sequence[Any], text_columns: int) -> list[Any]:
    """A row of numbers whose minus sign is that of programs, `-` in place of U+2212."""
    numbers = [str(value).replace("−", "-") for value in row[text_columns:]]
    return [*row[:text_columns], *numbers]


def latex(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    caption: str,
    label: str,
    text_columns: int,
) -> str:
    """A table for a paper, with booktabs. Any text is escaped.

    Args:
        columns: headings.
        rows: the body.
        caption: below the heading.
        label: for \\ref.
        text_columns: the number of first columns that are text; the others are right-aligned.
    """
    layout = "l" * text_columns + "r" * (len(columns) - text_columns)
    *table, end = tabular(columns, rows, layout)
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,graphicx}",
            r"\begin{table}[t]",
            r"\centering\small",
            rf"\caption{{{latex_text(caption)}}}",
            rf"\label{{{label}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            *table,
            f"{end}}}",
            r"\end{table}",
            "",
        ]
    )


def number(value: Any) -> str:
    """A number with one decimal; empty if there is none."""
    return "" if value is None or pd.isna(value) else f"{value:.1f}"


def file_name(name: str) -> str:
    """A name of the plan as part of a file name."""
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name)


def _over(evaluation: str) -> str:
    return "mean over evaluations" if evaluation == POOLED else evaluation


def _entry(entry: Mapping[str, Any]) -> str:
    if "without" in entry:
        return str(entry["without"])
    marks = "*" * entry["clear"] + "†" * entry["same_data"]
    return points(entry["effect"]) + marks


def _scores(tables: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for table in tables:
        for line in table["lines"]:
            value, error = line["values"][0], line["errors"][0]
            text = number(value) + (f" ± {number(error)}" if error is not None else "")
            lines.setdefault((line["backbone"], line["arm"]), {})[table["evaluation"]] = text
    return [
        [*key, *(values.get(table["evaluation"], "") for table in tables)]
        for key, values in lines.items()
    ]
