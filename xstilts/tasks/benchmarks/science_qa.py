"""ScienceQA (Lu et al. 2022): school questions; those with an image. Sizes count all questions."""

from xstilts.tasks.picture_rows import image_bytes
from xstilts.tasks.sizes import card
from xstilts.tasks.task import Example, Row, RowEstimate, Source, Task, text_of, texts_of


def science(row: Row, index: int, language: str) -> Example | None:
    """image, hint (a context), question, choices, answer. A row without an image is dropped."""
    if not row["image"]:
        return None
    hint, question = str(row.get("hint") or ""), text_of(row, "question")
    return Example(
        id=str(index),
        text=hint or question,
        question=question if hint else None,
        choices=texts_of(row, "choices"),
        label=int(row["answer"]),
        images=(image_bytes(row),),
    )


SCIENCE_QA = Task(
    name="science_qa",
    title="ScienceQA (with pictures)",
    role="intermediate",
    format="multiple_choice",
    modality="image",
    splits={
        "train": Source("derek-thomas/ScienceQA", "default", "train"),
        "select": Source("derek-thomas/ScienceQA", "default", "validation"),
    },
    to_example=science,
    objectives=("head", "lm"),
    instruction="Answer:",
    metrics=("accuracy",),
    licence="cc-by-nc-sa-4.0",
    citation="Lu et al. 2022",
    overlap={"siqa": "same-format", "copa": "same-format"},
    sizes={"train": 12_726, "select": 4_241},
    sizes_source=card("lmms-lab/ScienceQA", "b6a4c32"),
    estimate=RowEstimate(
        text=150,
        segments=2.9,
        lm=75,
        answer=4,
        images=1,
        rows=6_218,
        source="estimated for 2.9 choices; rows: those with an image (Lu et al. 2022)",
    ),
)

TASKS = (SCIENCE_QA,)
