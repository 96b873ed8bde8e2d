"""GQA (Hudson and Manning 2019): questions on photographs with scene graphs. Sizes are those of the
balanced splits.
"""

from xstilts.tasks.picture_rows import answered
from xstilts.tasks.sizes import card
from xstilts.tasks.task import RowEstimate, Source, Task

GQA = Task(
    name="gqa",
    title="GQA",
    role="intermediate",
    format="generation",
    modality="image",
    splits={
        "train": Source(
            "lmms-lab/GQA",
            "train_balanced_instructions",
            "train",
            alternatives=(
                Source(
                    "lmms-lab-encoder/GQA",
                    "train_balanced_instructions",
                    "train",
                    pictures=Source("lmms-lab-encoder/GQA", "train_balanced_images", "train"),
                    pictures_key="imageId",
                ),
            ),
            pictures=Source("lmms-lab/GQA", "train_balanced_images", "train"),
            pictures_key="imageId",
        ),
        "select": Source(
            "lmms-lab/GQA",
            "val_balanced_instructions",
            "val",
            alternatives=(
                Source(
                    "lmms-lab-encoder/GQA",
                    "val_balanced_instructions",
                    "val",
                    pictures=Source("lmms-lab-encoder/GQA", "val_balanced_images", "val"),
                    pictures_key="imageId",
                ),
            ),
            pictures=Source("lmms-lab/GQA", "val_balanced_images", "val"),
            pictures_key="imageId",
        ),
    },
    to_example=answered,
    objectives=("lm",),
    metrics=("vqa_accuracy",),
    licence="cc-by-4.0",
    citation="Hudson and Manning 2019",
    sizes={"train": 943_000, "select": 132_062},
    sizes_source=card("Mineru/GQA", "55fbe98"),
    estimate=RowEstimate(
        text=13,
        answer=2.1,
        images=1,
        source="question of 8 words (Hudson and Manning 2019), answer as of easy_vqa",
    ),
    seen_by={"llava-1.5": "data"},
)

TASKS = (GQA,)
