"""Tasks with pictures: COCO captions (Chen et al. 2015) and NLVR (Suhr et al. 2017, drawn scenes, true or false)."""

from typing import Any

from xstilts.tasks.task import Example, Row, Source, Task


def image_bytes(row: Row) -> bytes:
    """The encoded picture of a row's `image` column, not decoded (ValueError where there is none)."""
    image: Any = row["image"]
    data = image.get("bytes") if isinstance(image, dict) else None
    if not data:
        raise ValueError("image holds no bytes")
    return bytes(data)


def caption(row: Row, index: int, language: str) -> Example:
    """image, caption. Captions of one picture are one cluster."""
    identity = str(row.get("cocoid") or row.get("filename") or index)
    return Example(
        id=f"{identity}-{index}", targets=(str(row["caption"]),), images=(image_bytes(row),), cluster=identity
    )


def statement(row: Row, index: int, language: str) -> Example:
    """identifier, image, sentence, label (0 false, 1 true; hub order of class_label)."""
    return Example(
        id=f"{row['identifier']}-{row.get('permutation', 0)}", text=str(row["sentence"]), label=int(row["label"]),
        images=(image_bytes(row),), cluster=str(row["identifier"]),
    )  # fmt: skip


COCO_CAPTIONS = Task(
    name="coco_captions", title="COCO captions", role="intermediate", format="generation", modality="image",
    splits={
        "train": Source("jxie/coco_captions", "default", "train"),
        "select": Source("jxie/coco_captions", "default", "validation"),
    },
    to_example=caption, objectives=("lm",), metrics=(), licence="captions cc-by-4.0; each photograph its own",
    citation="Chen et al. 2015",
)  # fmt: skip
NLVR = Task(
    name="nlvr", title="NLVR", role="intermediate", format="classification", modality="image",
    splits={
        "train": Source("lil-lab/nlvr", "default", "train"),
        "select": Source("lil-lab/nlvr", "default", "validation"),
    },
    to_example=statement, objectives=("head", "lm"), labels=("false", "true"), verbalised=("false", "true"),
    instruction="True or false?", metrics=("accuracy",), licence="cc-by-4.0", citation="Suhr et al. 2017",
)  # fmt: skip

TASKS = (COCO_CAPTIONS, NLVR)
