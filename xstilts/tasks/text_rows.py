"""Rows of plain text."""

from xstilts.tasks.task import Example, Row, text_of


def paragraph(row: Row, index: int, language: str) -> Example | None:
    """text; empty lines and headings (`= … =`) are dropped."""
    text = text_of(row, "text").strip()
    if not text or text.startswith("="):
        return None
    return Example(id=str(row.get("id", index)), targets=(text,))
