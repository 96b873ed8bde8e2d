"""Writes the tables of docs/benchmarks.md from docs/benchmarks/*.json:

python -m benchmarks.page
"""

import re
from pathlib import Path

from benchmarks import measure

PAGE = measure.RESULTS.parent / "benchmarks.md"
#: Files of records, each with a table of the same name on the page.
TABLES = ("training", "retrieval", "scoring", "startup", "store", "report", "matrix")


def rendered(page: str, folder: Path = measure.RESULTS) -> str:
    """The page with every marked table replaced."""

    def replaced(match: re.Match[str]) -> str:
        return f"<!-- table: {match[1]} -->\n\n{_section(match[1], folder)}\n\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", replaced, page, flags=re.S)


def _section(name: str, folder: Path) -> str:
    records = measure.read(name, folder)
    if not records:
        return "Not measured yet."
    parts = [measure.table(records)]
    machines = dict.fromkeys(_machine(record) for record in records)
    commands = dict.fromkeys(record.command for record in records)
    parts.append("Measured on " + "; ".join(machines) + ". Repeat with:")
    parts.append("```bash\n" + "\n".join(commands) + "\n```")
    return "\n\n".join(parts)


def _machine(record: measure.Record) -> str:
    about = record.machine
    parts = [f"{about['cores']} cores of {about['cpu']}", f"{about['memory_gb']} GB"]
    parts += [about["gpu"]] if about.get("gpu") else []
    parts += [f"{name} {about[name]}" for name in ("torch", "transformers") if name in about]
    return ", ".join(parts)


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
