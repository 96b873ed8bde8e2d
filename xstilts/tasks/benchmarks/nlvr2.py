"""NLVR2 (Suhr et al. 2019): is a statement on two photographs true?"""

from xstilts.tasks.picture_rows import images_of
from xstilts.tasks.sizes import card
from xstilts.tasks.task import Example, Row, RowEstimate, Source, Task, each, text_of


def two_images(row: Row, index: int, language: str) -> list[Example]:
    """NLVR2 in the Cauldron: images (two), texts[{user, assistant: Yes. | No.}]."""
    images = images_of(row)

    def statement_of(number: int, turn: Row) -> Example:
        answer = str(turn["assistant"]).strip().lower().rstrip(".")
        if answer not in ("yes", "no", "true", "false"):
            raise ValueError(f"assistant: {turn['assistant']!r} is neither yes nor no")
        return Example(
            id=f"{index}-{number}",
            text=text_of(turn, "user"),
            label=int(answer in ("yes", "true")),
            images=images,
            cluster=str(index),
        )

    return each(row["texts"], statement_of)


NLVR2 = Task(
    name="nlvr2",
    title="NLVR2",
    role="intermediate",
    format="classification",
    modality="image",
    splits={"train": Source("HuggingFaceM4/the_cauldron", "nlvr2", "train")},
    to_example=two_images,
    objectives=("head", "lm"),
    labels=("false", "true"),
    verbalised=("false", "true"),
    instruction="True or false?",
    metrics=("accuracy",),
    licence="text cc-by-4.0; photographs from the web",
    citation="Suhr et al. 2019",
    overlap={"paws_en": "same-format"},
    sizes={"train": 86_373},
    sizes_source=card("TIGER-Lab/Mantis-Instruct", "11d879c"),
    estimate=RowEstimate(
        text=19,
        lm=24,
        answer=2,
        images=2,
        source="sentence of 15 words (Suhr et al. 2019), instruction as of nlvr",
    ),
    seen_by={"llava-interleave": "data"},
)

TASKS = (NLVR2,)
