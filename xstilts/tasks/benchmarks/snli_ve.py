"""SNLI-VE (Xie et al. 2019): SNLI with the photograph in place of the premise."""

from xstilts.tasks.nli_rows import INSTRUCTION, LABEL, LABELS
from xstilts.tasks.picture_rows import image_bytes
from xstilts.tasks.task import Example, Row, RowEstimate, Source, Task, text_of


def entailment(row: Row, index: int, language: str) -> Example | None:
    """image, premise (the caption that the image replaces), hypothesis, label; -1 drops the row.
    The image is the premise, so the text is the hypothesis alone. Under the image condition
    `caption` the row is SNLI's.
    """
    label = LABEL.id_of(row["label"])
    if label is None:
        return None
    return Example(
        id=str(row.get("id", index)),
        text=text_of(row, "hypothesis"),
        label=label,
        images=(image_bytes(row),),
        caption=text_of(row, "premise"),
        cluster=str(row.get("id_image") or row.get("filename") or index),
    )


SNLI_VE = Task(
    name="snli_ve",
    title="SNLI-VE",
    role="intermediate",
    format="classification",
    modality="image",
    splits={
        "train": Source("Multimodal-Fatima/SNLI-VE_train", "default", "train"),
        "select": Source("Multimodal-Fatima/SNLI-VE_validation", "default", "validation"),
    },
    to_example=entailment,
    label_column=LABEL,
    objectives=("head", "lm"),
    labels=LABELS,
    verbalised=LABELS,
    instruction=INSTRUCTION,
    metrics=("accuracy",),
    captioned=True,
    licence="cc-by-sa-4.0; photographs: Flickr's terms",
    citation="Xie et al. 2019",
    overlap={"mnli": "same-format"},
    sizes={"train": 529_527, "select": 17_858},
    sizes_source="necla-ml/SNLI-VE 054c2947e0bd, README",
    estimate=RowEstimate(
        text=11,
        lm=20,
        answer=3.2,
        images=1,
        source="as the hypothesis of snli",
    ),
)

TASKS = (SNLI_VE,)
