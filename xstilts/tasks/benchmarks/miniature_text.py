"""The miniature's text: what a tokenizer and a tiny backbone of the miniature are taught with."""

from xstilts.tasks.task import Example, Row, RowEstimate, Source, Task, text_of


def line(row: Row, index: int, language: str) -> Example:
    """id, text: one document, or one word of the word list."""
    return Example(id=str(row.get("id", index)), targets=(text_of(row, "text"),))


MINIATURE_TEXT = Task(
    name="miniature_text",
    title="The miniature's text",
    role="intermediate",
    format="generation",
    modality="text",
    splits={"text": Source("xstilts/miniature-text", "{language}", "train")},
    to_example=line,
    objectives=("lm",),
    licence="generated",
    citation="docs/miniature.md",
    estimate=RowEstimate(
        text=12,
        source="one short line",
    ),
)

TASKS = (MINIATURE_TEXT,)
