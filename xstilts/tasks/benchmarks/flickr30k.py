"""Flickr30k captions (Young et al. 2014)."""

from xstilts.tasks.picture_rows import caption
from xstilts.tasks.sizes import card
from xstilts.tasks.task import RowEstimate, Source, Task

FLICKR30K = Task(
    name="flickr30k",
    title="Flickr30k captions",
    role="intermediate",
    format="generation",
    modality="image",
    splits={
        "train": Source("umaru97/flickr30k_train_val_test", "default", "train"),
        "select": Source("umaru97/flickr30k_train_val_test", "default", "val"),
    },
    to_example=caption,
    objectives=("lm",),
    metrics=("cider",),
    licence="research, non-commercial",
    citation="Young et al. 2014",
    sizes={"train": 29_000, "select": 1_014},
    sizes_source=card("umaru97/flickr30k_train_val_test", "d775c63"),
    estimate=RowEstimate(
        text=14,
        images=1,
        source="as coco_captions: 12 words a caption (Young et al. 2014)",
    ),
)

TASKS = (FLICKR30K,)
