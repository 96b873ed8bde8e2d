"""easy-VQA (Zhou 2019): questions on drawn shapes."""

from xstilts.tasks.picture_rows import answered
from xstilts.tasks.task import RowEstimate, Source, Task

EASY_VQA = Task(
    name="easy_vqa",
    title="easy-VQA",
    role="intermediate",
    format="generation",
    modality="image",
    splits={
        "train": Source("vzhou842/easy-VQA", "default", "train"),
        "select": Source("vzhou842/easy-VQA", "default", "test"),
    },
    to_example=answered,
    objectives=("lm",),
    metrics=("vqa_accuracy",),
    licence="mit",
    citation="Zhou 2019",
    sizes={"train": 38_575, "select": 9_673},
    sizes_source="README of the Python package easy-vqa",
    estimate=RowEstimate(
        text=9.3,
        answer=2,
        images=1,
        source="measured: 300 rows of train",
    ),
)

TASKS = (EASY_VQA,)
