"""Social IQa (Sap et al. 2019): which of three answers fits a social situation? XTREME-R trains it
before COPA.
"""

from xstilts.tasks.sizes import infos
from xstilts.tasks.task import Example, Row, RowEstimate, Source, Task, text_of


def social(row: Row, index: int, language: str) -> Example:
    """context, question, answerA-C, label "1"-"3"."""
    choices = tuple(text_of(row, f"answer{letter}") for letter in "ABC")
    return Example(
        id=str(index),
        text=text_of(row, "context"),
        question=text_of(row, "question"),
        choices=choices,
        label=int(row["label"]) - 1,
    )


SIQA = Task(
    name="siqa",
    title="Social IQa",
    role="target",
    format="multiple_choice",
    modality="text",
    splits={
        "train": Source(
            "allenai/social_i_qa",
            "default",
            "train",
            alternatives=(Source("lighteval/siqa", "default", "train"),),
        ),
        "select": Source(
            "allenai/social_i_qa",
            "default",
            "validation",
            alternatives=(Source("lighteval/siqa", "default", "validation"),),
        ),
    },
    to_example=social,
    objectives=("head", "lm"),
    instruction="Answer:",
    metrics=("accuracy",),
    licence="cc-by-4.0",
    citation="Sap et al. 2019",
    overlap={"siqa": "same-data", "copa": "same-format"},
    sizes={"train": 33_410, "select": 1_954},
    sizes_source=infos("social_i_qa"),
    estimate=RowEstimate(
        text=91.5,
        segments=3,
        lm=51.3,
        answer=5.3,
        source="measured: 300 rows of validation",
    ),
)

TASKS = (SIQA,)
