"""Quora Question Pairs: do two questions ask the same?"""

from xstilts.tasks.labels import LabelColumn
from xstilts.tasks.sizes import infos
from xstilts.tasks.task import Example, Row, RowEstimate, Source, Task, text_of

QQP_LABEL = LabelColumn("label", ("different", "duplicate"), {"not_duplicate": "different"})


def questions(row: Row, index: int, language: str) -> Example | None:
    """question1, question2, label (1: duplicates); -1 (the hidden test) drops the row."""
    label = QQP_LABEL.id_of(row["label"])
    if label is None:
        return None
    return Example(
        id=str(row.get("idx", index)),
        text=text_of(row, "question1"),
        text_pair=text_of(row, "question2"),
        label=label,
    )


QQP = Task(
    name="qqp",
    title="Quora Question Pairs",
    role="intermediate",
    format="classification",
    modality="text",
    splits={
        "train": Source("nyu-mll/glue", "qqp", "train"),
        "select": Source("nyu-mll/glue", "qqp", "validation"),
    },
    to_example=questions,
    label_column=QQP_LABEL,
    objectives=("head", "lm"),
    labels=QQP_LABEL.labels,
    verbalised=("no", "yes"),
    instruction="Do these ask the same?",
    metrics=("accuracy", "binary_f1"),
    licence="Quora's terms",
    citation="Iyer et al. 2017",
    overlap={"paws_en": "same-format"},
    sizes={"train": 363_846, "select": 40_430},
    sizes_source=infos("glue"),
    estimate=RowEstimate(
        text=32.9,
        lm=38.9,
        answer=2,
        source="measured: 9 rows of train",
    ),
)

TASKS = (QQP,)
