"""Tasks with pictures: captions, questions on pictures, visual entailment, drawn scenes, grounding,
instructions.

Each can be trained on its pictures as they are, blanked, shuffled, removed, or replaced by their
captions where the source has captions (the arm's `images`). Grounding writes boxes as LLaVA-1.5
does: `[left, top, right, bottom]` as shares of the picture's width and height with two decimals.
"""

from dataclasses import replace
from itertools import pairwise
from typing import Any

from xstilts.tasks.labels import LabelColumn
from xstilts.tasks.nli import INSTRUCTION, LABEL, LABELS
from xstilts.tasks.sizes import card
from xstilts.tasks.task import Example, Row, Source, Task, each, text_of, texts_of

TRUTH = LabelColumn("label", ("false", "true"))


def image_bytes(row: Row, column: str = "image") -> bytes:
    """The encoded picture in a row's column, not decoded (ValueError where there is none)."""
    image: Any = row[column]
    data = image.get("bytes") if isinstance(image, dict) else None
    if not data:
        raise ValueError(f"{column} holds no bytes")
    return bytes(data)


def images_of(row: Row) -> tuple[bytes, ...]:
    """The pictures of a row's `images` list."""
    return tuple(image_bytes({"image": one}) for one in row["images"])


def caption(row: Row, index: int, language: str) -> Example:
    """image, caption (one, or a list whose first is trained on; `answer` in lmms-lab's copies).
    Captions of one picture are one cluster.
    """
    own = row.get("cocoid")
    identity = str(own if own is not None else row.get("filename") or row.get("file_name") or index)
    given = row["answer" if "caption" not in row and "answer" in row else "caption"]
    texts = (given,) if isinstance(given, str) else texts_of({"caption": given}, "caption")
    return Example(
        id=f"{identity}-{index}", targets=texts, images=(image_bytes(row),), cluster=identity
    )


def statement(row: Row, index: int, language: str) -> Example:
    """identifier, image, sentence, label (0 false, 1 true; hub order of class_label)."""
    return Example(
        id=f"{row['identifier']}-{row.get('permutation', 0)}",
        text=text_of(row, "sentence"),
        label=TRUTH.id_of(row["label"]),
        images=(image_bytes(row),),
        cluster=str(row["identifier"]),
    )


def entailment(row: Row, index: int, language: str) -> Example | None:
    """image, premise (the caption that the picture replaces), hypothesis, label; -1 drops the
    row. The picture is the premise, so the text is the hypothesis alone; replaced by its
    caption, the row is SNLI's.
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


def answered(row: Row, index: int, language: str) -> list[Example]:
    """A question on a picture, in either of two layouts: question, image, multiple_choice_answer
    | answer, answers (VQAv2, GQA, easy-VQA); or images, texts[{user, assistant}] with several
    questions on one picture (the Cauldron).
    """
    if "texts" in row:
        pictures = images_of(row)

        def question(number: int, turn: Row) -> Example:
            return Example(
                id=f"{index}-{number}",
                text=text_of(turn, "user"),
                targets=(text_of(turn, "assistant"),),
                images=pictures,
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


def chosen(row: Row, index: int, language: str) -> Example | None:
    """A-OKVQA: image, question, choices, correct_choice_idx (-1 or none in the hidden test:
    dropped).
    """
    right = row["correct_choice_idx"]
    if right is None or int(right) < 0:
        return None
    return Example(
        id=str(row["question_id"]), text=text_of(row, "question"), choices=texts_of(row, "choices"),
        label=int(right), images=(image_bytes(row),),
    )  # fmt: skip


def science(row: Row, index: int, language: str) -> Example | None:
    """ScienceQA: image (none: the row is dropped), hint (a context), question, choices, answer."""
    if not row["image"]:
        return None
    hint, question = str(row.get("hint") or ""), text_of(row, "question")
    return Example(
        id=str(index),
        text=hint or question,
        question=question if hint else None,
        choices=texts_of(row, "choices"),
        label=int(row["answer"]),
        images=(image_bytes(row),),
    )


def two_pictures(row: Row, index: int, language: str) -> list[Example]:
    """NLVR2 in the Cauldron: images (two), texts[{user, assistant: Yes. | No.}]."""
    pictures = images_of(row)

    def statement_of(number: int, turn: Row) -> Example:
        answer = str(turn["assistant"]).strip().lower().rstrip(".")
        if answer not in ("yes", "no", "true", "false"):
            raise ValueError(f"assistant: {turn['assistant']!r} is neither yes nor no")
        return Example(
            id=f"{index}-{number}",
            text=text_of(turn, "user"),
            label=int(answer in ("yes", "true")),
            images=pictures,
            cluster=str(index),
        )

    return each(row["texts"], statement_of)


def grounded(row: Row, index: int, language: str) -> Example:
    """image, answer (expressions, the first is used), bbox [x, y, width, height] in pixels of
    the upright picture.
    """
    from xstilts.tasks.pictures import check_picture, size_of

    data = image_bytes(row)
    check_picture(data)
    width, height = size_of(data)
    x, y, w, h = (float(number) for number in row["bbox"])
    corners = (x / width, y / height, (x + w) / width, (y + h) / height)
    if not all(-0.01 <= corner <= 1.01 for corner in corners):
        raise ValueError(f"bbox {row['bbox']} is not inside a picture of {width}×{height}")
    box = ", ".join(f"{min(1.0, max(0.0, corner)):.2f}" for corner in corners)
    expression = row["answer"] if isinstance(row["answer"], str) else row["answer"][0]
    return Example(
        id=str(row["question_id"]),
        text=str(expression),
        targets=(f"[{box}]",),
        images=(data,),
        cluster=str(index),
    )


def instructed(row: Row, index: int, language: str) -> list[Example]:
    """images, messages[{role, content[{type, text}]}]: each question with its answer; the
    picture before each.
    """
    pictures = images_of(row)
    texts = [
        (
            str(turn["role"]),
            " ".join(str(part.get("text") or "") for part in turn["content"]).strip(),
        )
        for turn in row["messages"]
    ]
    pairs = [
        (asked, said)
        for (role, asked), (other, said) in pairwise(texts)
        if role == "user" and other == "assistant"
    ]
    return [
        Example(
            id=f"{index}-{number}", text=asked, targets=(said,), images=pictures, cluster=str(index)
        )
        for number, (asked, said) in enumerate(pairs)
    ]


def _splits(
    path: str, config: str, select: str = "validation", train: str = "train"
) -> dict[str, Source]:
    return {"train": Source(path, config, train), "select": Source(path, config, select)}


def _generation(name: str, title: str, make: Any, splits: dict[str, Source], **more: Any) -> Task:
    return Task(
        name=name,
        title=title,
        role="intermediate",
        format="generation",
        modality="image",
        splits=splits,
        to_example=make,
        objectives=("lm",),
        **more,
    )


_CAPTIONS = ("cider",)
#: The evaluation copies of lmms-eval lie under either name: the second is the newer one (its commit
#: 4be7ee0e).
_LMMS = ("lmms-lab", "lmms-lab-encoder")
COCO_CAPTIONS = _generation(
    "coco_captions",
    "COCO captions",
    caption,
    {
        "train": Source("jxie/coco_captions", "default", "train"),
        "select": Source(
            "jxie/coco_captions",
            "default",
            "validation",
            alternatives=tuple(
                Source(f"{org}/COCO-Caption2017", "default", "val") for org in _LMMS
            ),
        ),
    },
    metrics=_CAPTIONS,
    licence="captions cc-by-4.0; each photograph its own",
    citation="Chen et al. 2015",
)
FLICKR30K = _generation(
    "flickr30k",
    "Flickr30k captions",
    caption,
    _splits("umaru97/flickr30k_train_val_test", "default", "val"),
    metrics=_CAPTIONS,
    licence="research, non-commercial",
    citation="Young et al. 2014",
    sizes={"train": 29_000, "select": 1_014},
    sizes_source=card("umaru97/flickr30k_train_val_test", "d775c63"),
)
VQA_V2 = _generation(
    "vqa_v2",
    "VQA v2",
    answered,
    {
        "train": Source("HuggingFaceM4/the_cauldron", "vqav2", "train"),
        "select": Source(
            "lmms-lab/VQAv2",
            "default",
            "validation",
            alternatives=(Source("lmms-lab-encoder/VQAv2", "default", "validation"),),
        ),
    },
    metrics=("vqa_accuracy",),
    licence="cc-by-4.0; photographs of COCO",
    citation="Goyal et al. 2017",
    sizes={"train": 443_757, "select": 214_354},
    sizes_source=card("HuggingFaceM4/VQAv2", "6d237e7"),  # questions
)


def _gqa(split: str) -> Source:
    first, second = (
        Source(
            f"{org}/GQA", f"{split}_balanced_instructions", split, pictures_key="imageId",
            pictures=Source(f"{org}/GQA", f"{split}_balanced_images", split),
        )
        for org in _LMMS
    )  # fmt: skip
    return replace(first, alternatives=(second,))


GQA = _generation(
    "gqa",
    "GQA",
    answered,
    {"train": _gqa("train"), "select": _gqa("val")},
    metrics=("vqa_accuracy",),
    licence="cc-by-4.0",
    citation="Hudson and Manning 2019",
    sizes={"train": 943_000, "select": 132_062},
    sizes_source=card("Mineru/GQA", "55fbe98"),  # of the balanced splits
)
EASY_VQA = _generation(
    "easy_vqa",
    "easy-VQA",
    answered,
    _splits("vzhou842/easy-VQA", "default", "test"),
    metrics=("vqa_accuracy",),
    licence="mit",
    citation="Zhou 2019",
    sizes={"train": 38_575, "select": 9_673},
    sizes_source="README of the Python package easy-vqa",
)
#: The hub's copies have no training split: its val rows train and its testA rows are the dev set,
#: so scores on RefCOCO itself are no published ones.
REFCOCO = _generation(
    "refcoco",
    "RefCOCO grounding (trained on val, dev testA)",
    grounded,
    {
        role: Source(
            "lmms-lab/RefCOCO",
            "default",
            split,
            alternatives=(Source("lmms-lab-encoder/RefCOCO", "default", split),),
        )
        for role, split in (("train", "val"), ("select", "testA"))
    },
    metrics=("box_iou50",),
    licence="photographs of COCO",
    citation="Kazemzadeh et al. 2014",
    instruction="Where is it?",
    # `val` holds the validation objects of both partitions: 3,811 of unc and 5,000 of google
    sizes={"train": 3_811 + 5_000, "select": 1_975},
    sizes_source="tensorflow/datasets 08fa2d739a17, docs/catalog/ref_coco.md",
)
LLAVA_INSTRUCT = _generation(
    "llava_instruct",
    "LLaVA-Instruct",
    instructed,
    _splits("HuggingFaceH4/llava-instruct-mix-vsft", "default", "test"),
    metrics=(),
    licence="cc-by-4.0 and OpenAI's terms",
    citation="Liu et al. 2023",
    sizes={"train": 259_155, "select": 13_640},
    sizes_source=card("HuggingFaceH4/llava-instruct-mix-vsft", "4c04c83"),
)

A_OKVQA = Task(
    name="a_okvqa",
    title="A-OKVQA (multiple choice)",
    role="intermediate",
    format="multiple_choice",
    modality="image",
    splits=_splits("HuggingFaceM4/A-OKVQA", "default"),
    to_example=chosen,
    objectives=("head", "lm"),
    instruction="Answer:",
    metrics=("accuracy",),
    licence="apache-2.0",
    citation="Schwenk et al. 2022",
    sizes={"select": 1_145},
    sizes_source="evalscope 1.6.0, benchmarks/a_okvqa",
    overlap={"siqa": "same-format", "copa": "same-format"},
)
SCIENCE_QA = Task(
    name="science_qa",
    title="ScienceQA (with pictures)",
    role="intermediate",
    format="multiple_choice",
    modality="image",
    splits=_splits("derek-thomas/ScienceQA", "default"),
    to_example=science,
    objectives=("head", "lm"),
    instruction="Answer:",
    metrics=("accuracy",),
    licence="cc-by-nc-sa-4.0",
    citation="Lu et al. 2022",
    overlap={"siqa": "same-format", "copa": "same-format"},
    sizes={"train": 12_726, "select": 4_241},
    sizes_source=card("lmms-lab/ScienceQA", "b6a4c32"),  # with and without pictures
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
    objectives=("head", "lm"),
    labels=LABELS,
    label_column=LABEL,
    verbalised=LABELS,
    instruction=INSTRUCTION,
    metrics=("accuracy",),
    licence="cc-by-sa-4.0; photographs: Flickr's terms",
    citation="Xie et al. 2019",
    sizes={"train": 529_527, "select": 17_858},
    sizes_source="necla-ml/SNLI-VE 054c2947e0bd, README",
    overlap={"mnli": "same-format"},
    captioned=True,
)


def _true_false(name: str, title: str, make: Any, splits: dict[str, Source], **more: Any) -> Task:
    return Task(
        name=name,
        title=title,
        role="intermediate",
        format="classification",
        modality="image",
        splits=splits,
        to_example=make,
        objectives=("head", "lm"),
        labels=("false", "true"),
        verbalised=("false", "true"),
        instruction="True or false?",
        metrics=("accuracy",),
        **more,
    )


NLVR = _true_false(
    "nlvr",
    "NLVR",
    statement,
    _splits("lil-lab/nlvr", "default"),
    licence="cc-by-4.0",
    citation="Suhr et al. 2017",
    label_column=TRUTH,
    sizes={"train": 74_460, "select": 5_934},
    sizes_source="lil-lab/nlvr 18924841aa96, nlvr/{train,dev}/images (files)",
)
NLVR2 = _true_false(
    "nlvr2",
    "NLVR2",
    two_pictures,
    {"train": Source("HuggingFaceM4/the_cauldron", "nlvr2", "train")},
    overlap={"paws_en": "same-format"},  # as QQP's: a decision between two on a pair
    licence="text cc-by-4.0; photographs from the web",
    citation="Suhr et al. 2019",
    sizes={"train": 86_373},
    sizes_source=card("TIGER-Lab/Mantis-Instruct", "11d879c"),  # statements
)

TASKS = (
    COCO_CAPTIONS,
    FLICKR30K,
    VQA_V2,
    GQA,
    EASY_VQA,
    A_OKVQA,
    SCIENCE_QA,
    SNLI_VE,
    NLVR,
    NLVR2,
    REFCOCO,
    LLAVA_INSTRUCT,
)
