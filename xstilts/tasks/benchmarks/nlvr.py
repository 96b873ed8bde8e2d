"""NLVR (Suhr et al. 2017): is a statement on a drawn scene true?"""

from xstilts.tasks.labels import LabelColumn
from xstilts.tasks.picture_rows import image_bytes
from xstilts.tasks.task import Example, Row, RowEstimate, Source, Task, text_of

TRUTH = LabelColumn("label", ("false", "true"))


def statement(row: Row, index: int, language: str) -> Example:
    """identifier, image, sentence, label (0 false, 1 true, as in the hub's class_label)."""
    return Example(
        id=f"{row['identifier']}-{row.get('permutation', 0)}",
        text=text_of(row, "sentence"),
        label=TRUTH.id_of(row["label"]),
        images=(image_bytes(row),),
        cluster=str(row["identifier"]),
    )


NLVR = Task(
    name="nlvr",
    title="NLVR",
    role="intermediate",
    format="classification",
    modality="image",
    splits={
        "train": Source("lil-lab/nlvr", "default", "train"),
        "select": Source("lil-lab/nlvr", "default", "validation"),
    },
    to_example=statement,
    label_column=TRUTH,
    objectives=("head", "lm"),
    labels=TRUTH.labels,
    verbalised=TRUTH.labels,
    instruction="True or false?",
    metrics=("accuracy",),
    licence="cc-by-4.0",
    citation="Suhr et al. 2017",
    sizes={"train": 74_460, "select": 5_934},
    sizes_source="lil-lab/nlvr 18924841aa96, nlvr/{train,dev}/images (files)",
    estimate=RowEstimate(
        text=12.7,
        lm=17.7,
        answer=2,
        images=1,
        source="measured: 300 rows of validation",
    ),
)

TASKS = (NLVR,)
