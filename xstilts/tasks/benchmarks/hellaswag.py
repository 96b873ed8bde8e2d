"""HellaSwag (Zellers et al. 2019): which of four endings comes next?"""

from xstilts.tasks.sizes import infos
from xstilts.tasks.task import Example, Row, RowEstimate, Source, Task, text_of, texts_of


def ending(row: Row, index: int, language: str) -> Example | None:
    """ctx_a, ctx_b, endings, label as text; an empty label (the hidden test) drops the row. A
    choice is `ctx_b ending`, as in jiant's hellaswag task.
    """
    if row["label"] == "":
        return None
    choices = tuple(
        " ".join(f"{row['ctx_b'] or ''} {end}".split()) for end in texts_of(row, "endings")
    )
    return Example(
        id=str(row.get("ind", index)),
        text=text_of(row, "ctx_a"),
        choices=choices,
        label=int(row["label"]),
        cluster=str(row.get("source_id") or ""),
    )


HELLASWAG = Task(
    name="hellaswag",
    title="HellaSwag",
    role="intermediate",
    format="multiple_choice",
    modality="text",
    splits={
        "train": Source("Rowan/hellaswag", "default", "train"),
        "select": Source("Rowan/hellaswag", "default", "validation"),
    },
    to_example=ending,
    objectives=("head", "lm"),
    instruction="What comes next?",
    metrics=("accuracy",),
    licence="mit",
    citation="Zellers et al. 2019",
    overlap={"siqa": "same-format", "copa": "same-format"},
    sizes={"train": 39_905, "select": 10_042},
    sizes_source=infos("hellaswag"),
    estimate=RowEstimate(
        text=182.2,
        segments=4,
        lm=129.5,
        answer=18.8,
        source="measured: 300 rows of validation",
    ),
)

TASKS = (HELLASWAG,)
