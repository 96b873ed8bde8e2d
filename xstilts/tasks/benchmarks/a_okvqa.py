"""A-OKVQA (Schwenk et al. 2022): multiple-choice questions on photographs."""

from xstilts.tasks.picture_rows import image_bytes
from xstilts.tasks.task import Example, Row, RowEstimate, Source, Task, text_of, texts_of


def chosen(row: Row, index: int, language: str) -> Example | None:
    """image, question, choices, correct_choice_idx; -1 or null (the hidden test) drops the row."""
    right = row["correct_choice_idx"]
    if right is None or int(right) < 0:
        return None
    return Example(
        id=str(row["question_id"]), text=text_of(row, "question"), choices=texts_of(row, "choices"),
        label=int(right), images=(image_bytes(row),),
    )  # fmt: skip


A_OKVQA = Task(
    name="a_okvqa",
    title="A-OKVQA (multiple choice)",
    role="intermediate",
    format="multiple_choice",
    modality="image",
    splits={
        "train": Source("HuggingFaceM4/A-OKVQA", "default", "train"),
        "select": Source("HuggingFaceM4/A-OKVQA", "default", "validation"),
    },
    to_example=chosen,
    objectives=("head", "lm"),
    instruction="Answer:",
    metrics=("accuracy",),
    licence="apache-2.0",
    citation="Schwenk et al. 2022",
    overlap={"siqa": "same-format", "copa": "same-format"},
    sizes={"select": 1_145},
    sizes_source="evalscope 1.6.0, benchmarks/a_okvqa",
    estimate=RowEstimate(
        text=52.7,
        segments=4,
        lm=30.9,
        answer=2.7,
        images=1,
        rows=17_056,
        source="measured: 27 rows of validation",
    ),
    seen_by={"llava-1.5": "data"},
)

TASKS = (A_OKVQA,)
