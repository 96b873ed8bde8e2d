"""Writes the tables of docs/reliability.md from docs/reliability/*.json:

python -m tests.reliability.page

faults.json is by `make chaos`, security.json by `python -m tests.reliability.security`, inputs.json
by the table of bad inputs: [{"case": …, "exit": …, "message": …}, …].
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
RESULTS = PAGE.parent / "reliability"
Row = Mapping[str, Any]


def faults(row: Row) -> dict[str, str]:
    again = row["recovery"]
    return {
        "fault": row["fault"],
        "moment": row["moment"],
        "exit code": str(row["exit"]),
        "run ends after": f"{row['seconds']:.0f} s",
        "second run": "not needed" if again is None else f"{again:.0f} s",
        "results equal": "yes" if row["equal"] else "**no**",
        "processes left": str(len(row["orphans"])),
        "message": _code(row["message"]),
    }


def inputs(row: Row) -> dict[str, str]:
    return {
        "input": row["case"],
        "exit code": str(row["exit"]),
        "message": _code(row["message"]),
    }


def security(row: Row) -> dict[str, str]:
    return {"check": row["check"], "tests": str(row["tests"]), "result": row["result"]}


#: Table → a row of its file as the cells of a row by heading.
TABLES: Mapping[str, Callable[[Row], dict[str, str]]] = {
    "faults": faults,
    "inputs": inputs,
    "security": security,
}


def rendered(page: str, folder: Path = RESULTS) -> str:
    """The page with every marked table replaced."""

    def replaced(match: re.Match[str]) -> str:
        table = _table(match[1], folder)
        return f"<!-- table: {match[1]} -->\n\n{table}\n\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", replaced, page, flags=re.S)


def _table(name: str, folder: Path) -> str:
    path = folder / f"{name}.json"
    rows = [TABLES[name](row) for row in json.loads(path.read_text())] if path.is_file() else []
    if not rows:
        return "Not measured yet."
    lines = ["| " + " | ".join(rows[0]) + " |", "| " + " | ".join("---" for _ in rows[0]) + " |"]
    lines += ["| " + " | ".join(map(_cell, row.values())) + " |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _code(text: str) -> str:
    """Text of a message, which may have any characters, as code."""
    quoted = text.replace("`", "'")
    return f"`{quoted}`" if text else ""


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
