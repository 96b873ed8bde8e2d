"""COCO captions (Chen et al. 2015).

The evaluation copies of lmms-eval have two names: lmms-lab-encoder is the newer one (its commit
4be7ee0e).
"""

from xstilts.tasks.picture_rows import caption
from xstilts.tasks.task import RowEstimate, Source, Task

COCO_CAPTIONS = Task(
    name="coco_captions",
    title="COCO captions",
    role="intermediate",
    format="generation",
    modality="image",
    splits={
        "train": Source("jxie/coco_captions", "default", "train"),
        "select": Source(
            "jxie/coco_captions",
            "default",
            "validation",
            alternatives=(
                Source("lmms-lab/COCO-Caption2017", "default", "val"),
                Source("lmms-lab-encoder/COCO-Caption2017", "default", "val"),
            ),
        ),
    },
    to_example=caption,
    objectives=("lm",),
    metrics=("cider",),
    licence="captions cc-by-4.0; each photograph its own",
    citation="Chen et al. 2015",
    estimate=RowEstimate(
        text=13.4,
        images=1,
        rows=591_753,
        source="measured: 130 rows of train",
    ),
    seen_by={"llava-1.5": "photographs"},
)

TASKS = (COCO_CAPTIONS,)
