"""Tables as text for other programs: CSV, JSON, Markdown and LaTeX."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def as_csv(table: pd.DataFrame) -> str:
    """All digits, empty cells for missing values."""
    return str(table.to_csv(index=False))


def as_json(table: pd.DataFrame) -> str:
    """A list of objects."""
    rows = json.loads(table.to_json(orient="records", double_precision=15))
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def as_markdown(table: pd.DataFrame) -> str:
    """A table of GitHub's Markdown, numbers with one digit."""
    lines = [_line(table.columns), "|" + "---|" * len(table.columns)]
    lines += [
        _line(_shown(value).replace("|", r"\|") for value in row)
        for row in table.itertuples(index=False)
    ]
    return "\n".join(lines) + "\n"


def as_latex(table: pd.DataFrame) -> str:
    """A tabular with booktabs' rules, numbers with one digit. Needs `\\usepackage{booktabs}`."""
    numeric = [pd.api.types.is_numeric_dtype(table[name]) for name in table.columns]
    lines = [
        rf"\begin{{tabular}}{{{''.join('r' if number else 'l' for number in numeric)}}}",
        r"\toprule",
        _row(table.columns),
        r"\midrule",
        *(_row(_shown(value) for value in row) for row in table.itertuples(index=False)),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


FORMATS: Mapping[str, Callable[[pd.DataFrame], str]] = {
    "csv": as_csv,
    "json": as_json,
    "md": as_markdown,
    "latex": as_latex,
}


def escaped(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return "".join(_LATEX.get(character, character) for character in text)


def _shown(value: Any) -> str:
    if pd.isna(value):
        return ""
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _line(cells: Any) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _row(cells: Any) -> str:
    return " & ".join(escaped(str(cell)) for cell in cells) + r" \\"
