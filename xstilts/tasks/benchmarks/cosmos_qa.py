"""Cosmos QA (Huang et al. 2019): which of four answers follows from a story?"""

from xstilts.tasks.sizes import infos
from xstilts.tasks.task import Example, Row, RowEstimate, Source, Task, text_of


def cosmos(row: Row, index: int, language: str) -> Example | None:
    """id, context, question, answer0-3, label; -1 (the hidden test) drops the row."""
    if int(row["label"]) == -1:
        return None
    return Example(
        id=str(row["id"]),
        text=text_of(row, "context"),
        question=text_of(row, "question"),
        choices=tuple(text_of(row, f"answer{number}") for number in range(4)),
        label=int(row["label"]),
    )


COSMOS_QA = Task(
    name="cosmos_qa",
    title="Cosmos QA",
    role="intermediate",
    format="multiple_choice",
    modality="text",
    splits={
        "train": Source("allenai/cosmos_qa", "default", "train"),
        "select": Source("allenai/cosmos_qa", "default", "validation"),
    },
    to_example=cosmos,
    objectives=("head", "lm"),
    instruction="Answer:",
    metrics=("accuracy",),
    licence="cc-by-4.0",
    citation="Huang et al. 2019",
    overlap={"siqa": "same-format", "copa": "same-format"},
    sizes={"train": 25_262, "select": 2_985},
    sizes_source=infos("cosmos_qa"),
    estimate=RowEstimate(
        text=388.3,
        segments=4,
        lm=150.6,
        answer=11,
        source="measured: 300 rows of validation",
    ),
)

TASKS = (COSMOS_QA,)
