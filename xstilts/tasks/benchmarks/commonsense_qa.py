"""CommonsenseQA (Talmor et al. 2019): which of five answers fits the question?"""

from xstilts.tasks.sizes import infos
from xstilts.tasks.task import Example, Row, RowEstimate, Source, Task, text_of, texts_of


def commonsense(row: Row, index: int, language: str) -> Example | None:
    """question, choices{label, text}, answerKey; an empty key (the hidden test) drops the row."""
    if not row["answerKey"]:
        return None
    keys = list(row["choices"]["label"])
    if row["answerKey"] not in keys:
        raise ValueError(f"answerKey {row['answerKey']!r} is not one of {keys}")
    return Example(
        id=str(row["id"]), text=text_of(row, "question"), choices=texts_of(row["choices"], "text"),
        label=keys.index(row["answerKey"]),
    )  # fmt: skip


COMMONSENSE_QA = Task(
    name="commonsense_qa",
    title="CommonsenseQA",
    role="intermediate",
    format="multiple_choice",
    modality="text",
    splits={
        "train": Source("tau/commonsense_qa", "default", "train"),
        "select": Source("tau/commonsense_qa", "default", "validation"),
    },
    to_example=commonsense,
    objectives=("head", "lm"),
    instruction="Answer:",
    metrics=("accuracy",),
    licence="mit",
    citation="Talmor et al. 2019",
    overlap={"siqa": "same-format", "copa": "same-format"},
    sizes={"train": 9_741, "select": 1_221},
    sizes_source=infos("commonsense_qa"),
    estimate=RowEstimate(
        text=96.4,
        segments=5,
        lm=42.6,
        answer=3.1,
        source="measured: 300 rows of train",
    ),
)

TASKS = (COMMONSENSE_QA,)
