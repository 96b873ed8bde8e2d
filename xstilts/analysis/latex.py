"""Text and tables for LaTeX."""

from collections.abc import Iterable
from typing import Any

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "−": "$-$",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "±": r"$\pm$",
    "†": r"\dag{}",
    "“": "``",
    "”": "''",
    "’": "'",
    "\u00a0": "~",
}


def tabular(columns: Iterable[Any], rows: Iterable[Iterable[Any]], layout: str) -> list[str]:
    """The lines of a tabular with booktabs' rules. Any text is escaped. layout: such as `lrr`."""
    return [
        rf"\begin{{tabular}}{{{layout}}}",
        r"\toprule",
        _row(columns),
        r"\midrule",
        *map(_row, rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _row(cells: Iterable[Any]) -> str:
    return " & ".join(map(latex_text, cells)) + r" \\"


def latex_text(value: Any) -> str:
    """A text that pdfLaTeX sets as it is; characters outside Latin-1 become their code point."""
    return "".join(map(_character, " ".join(str(value).split())))


def _character(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    code = ord(character)
    if 32 <= code < 127 or 161 <= code < 256:
        return character
    return f"[U+{code:04X}]"
