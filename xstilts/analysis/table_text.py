"""Tables as text for other programs: CSV, JSON, Markdown and LaTeX."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from xstilts.analysis.latex import tabular


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
    layout = "".join("r" if number else "l" for number in numeric)
    rows = ([_shown(value) for value in row] for row in table.itertuples(index=False))
    return "\n".join(tabular(table.columns, rows, layout)) + "\n"


FORMATS: Mapping[str, Callable[[pd.DataFrame], str]] = {
    "csv": as_csv,
    "json": as_json,
    "md": as_markdown,
    "latex": as_latex,
}


def _shown(value: Any) -> str:
    if pd.isna(value):
        return ""
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _line(cells: Any) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"
