"""Rows with images: captions of an image, and questions on an image."""

from typing import Any

from xstilts.tasks.task import Example, Row, each, text_of, texts_of


def image_bytes(row: Row, column: str = "image") -> bytes:
    """The encoded image in a row's column. ValueError when it is missing."""
    image: Any = row[column]
    data = image.get("bytes") if isinstance(image, dict) else None
    if not data:
        raise ValueError(f"{column} has no bytes")
    return bytes(data)


def images_of(row: Row) -> tuple[bytes, ...]:
    """The images of a row's `images` list."""
    return tuple(image_bytes({"image": image}) for image in row["images"])


def caption(row: Row, index: int, language: str) -> Example:
    """image, caption (text, or a list whose first is trained on; `answer` in lmms-lab's copies).
    The captions of an image are one cluster.
    """
    coco_id = row.get("cocoid")
    file_name = row.get("filename") or row.get("file_name")
    identity = str(coco_id if coco_id is not None else file_name or index)
    value = row["answer" if "caption" not in row and "answer" in row else "caption"]
    texts = (value,) if isinstance(value, str) else texts_of({"caption": value}, "caption")
    return Example(
        id=f"{identity}-{index}", targets=texts, images=(image_bytes(row),), cluster=identity
    )


def answered(row: Row, index: int, language: str) -> list[Example]:
    """Questions on an image, in one of two layouts.

    - question, image, multiple_choice_answer | answer, answers (VQAv2, GQA, easy-VQA);
    - images, texts[{user, assistant}]: several questions on one image (the Cauldron).
    """
    if "texts" in row:
        images = images_of(row)

        def question(number: int, turn: Row) -> Example:
            return Example(
                id=f"{index}-{number}",
                text=text_of(turn, "user"),
                targets=(text_of(turn, "assistant"),),
                images=images,
                cluster=str(index),
            )

        return each(row["texts"], question)
    best = str(row.get("multiple_choice_answer") or row.get("answer") or "")
    others = [str(a["answer"] if isinstance(a, dict) else a) for a in row.get("answers") or ()]
    identity = str(row.get("question_id") or row.get("id") or index)
    cluster = str(row.get("image_id") or row.get("imageId") or index)
    return [
        Example(
            id=identity,
            text=text_of(row, "question"),
            targets=(best, *others),
            images=(image_bytes(row),),
            cluster=cluster,
        )
    ]
