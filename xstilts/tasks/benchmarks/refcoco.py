"""RefCOCO (Kazemzadeh et al. 2014): where in the photograph is what an expression names?

Boxes are written as in LLaVA-1.5: `[left, top, right, bottom]` as shares of the image's width and
height with two decimals. The hub's copies have no training split: their val rows are used for
training and their testA rows as the dev set, so the scores are not comparable with published ones.
"""

from xstilts.tasks.picture_rows import image_bytes
from xstilts.tasks.task import Example, Row, RowEstimate, Source, Task


def grounded(row: Row, index: int, language: str) -> Example:
    """image, answer (expressions; the first is used), bbox [x, y, width, height] in pixels of the
    upright image.
    """
    from xstilts.tasks.pictures import check_picture, size_of

    data = image_bytes(row)
    check_picture(data)
    width, height = size_of(data)
    x, y, w, h = (float(number) for number in row["bbox"])
    corners = (x / width, y / height, (x + w) / width, (y + h) / height)
    if not all(-0.01 <= corner <= 1.01 for corner in corners):
        raise ValueError(f"bbox {row['bbox']} is outside the image of {width} × {height} pixels")
    box = ", ".join(f"{min(1.0, max(0.0, corner)):.2f}" for corner in corners)
    expression = row["answer"] if isinstance(row["answer"], str) else row["answer"][0]
    return Example(
        id=str(row["question_id"]),
        text=str(expression),
        targets=(f"[{box}]",),
        images=(data,),
        cluster=str(index),
    )


REFCOCO = Task(
    name="refcoco",
    title="RefCOCO grounding (trained on val, dev testA)",
    role="intermediate",
    format="generation",
    modality="image",
    splits={
        "train": Source(
            "lmms-lab/RefCOCO",
            "default",
            "val",
            alternatives=(Source("lmms-lab-encoder/RefCOCO", "default", "val"),),
        ),
        "select": Source(
            "lmms-lab/RefCOCO",
            "default",
            "testA",
            alternatives=(Source("lmms-lab-encoder/RefCOCO", "default", "testA"),),
        ),
    },
    to_example=grounded,
    objectives=("lm",),
    instruction="Where is it?",
    metrics=("box_iou50",),
    licence="photographs of COCO",
    citation="Kazemzadeh et al. 2014",
    sizes={"train": 3_811 + 5_000, "select": 1_975},
    sizes_source="tensorflow/datasets 08fa2d739a17, docs/catalog/ref_coco.md",
    estimate=RowEstimate(
        text=30,
        answer=18,
        images=1,
        source="expression of 4 words (Kazemzadeh et al. 2014), and four numbers as the answer",
    ),
    seen_by={"llava-1.5": "data"},
)

TASKS = (REFCOCO,)
