"""VQA v2 (Goyal et al. 2017): questions on photographs. Sizes count questions."""

from xstilts.tasks.picture_rows import answered
from xstilts.tasks.sizes import card
from xstilts.tasks.task import RowEstimate, Source, Task

VQA_V2 = Task(
    name="vqa_v2",
    title="VQA v2",
    role="intermediate",
    format="generation",
    modality="image",
    splits={
        "train": Source("HuggingFaceM4/the_cauldron", "vqav2", "train"),
        "select": Source(
            "lmms-lab/VQAv2",
            "default",
            "validation",
            alternatives=(Source("lmms-lab-encoder/VQAv2", "default", "validation"),),
        ),
    },
    to_example=answered,
    objectives=("lm",),
    metrics=("vqa_accuracy",),
    licence="cc-by-4.0; photographs of COCO",
    citation="Goyal et al. 2017",
    sizes={"train": 443_757, "select": 214_354},
    sizes_source=card("HuggingFaceM4/VQAv2", "6d237e7"),
    estimate=RowEstimate(
        text=11,
        answer=2.2,
        images=1,
        source="question of 6 words (Goyal et al. 2017), answer as of easy_vqa",
    ),
    seen_by={"llava-1.5": "data"},
)

TASKS = (VQA_V2,)
