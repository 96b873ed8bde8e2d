"""LLaVA-Instruct (Liu et al. 2023): conversations on an image."""

from itertools import pairwise

from xstilts.tasks.picture_rows import images_of
from xstilts.tasks.sizes import card
from xstilts.tasks.task import Example, RecipeRow, Row, RowEstimate, Source, Task

#: Answers have several hundred tokens.
_LENGTH_SOURCE = "ours; length: LLaVA scripts/v1_5/finetune.sh (model_max_length)"
_FAMILIES = ("llava", "qwen_vl")


def instructed(row: Row, index: int, language: str) -> list[Example]:
    """images, messages[{role, content[{type, text}]}]: each question with its answer, after the
    images.
    """
    images = images_of(row)
    texts = [
        (
            str(turn["role"]),
            " ".join(str(part.get("text") or "") for part in turn["content"]).strip(),
        )
        for turn in row["messages"]
    ]
    pairs = [
        (question, reply)
        for (role, question), (next_role, reply) in pairwise(texts)
        if role == "user" and next_role == "assistant"
    ]
    return [
        Example(
            id=f"{index}-{number}",
            text=question,
            targets=(reply,),
            images=images,
            cluster=str(index),
        )
        for number, (question, reply) in enumerate(pairs)
    ]


LLAVA_INSTRUCT = Task(
    name="llava_instruct",
    title="LLaVA-Instruct",
    role="intermediate",
    format="generation",
    modality="image",
    splits={
        "train": Source("HuggingFaceH4/llava-instruct-mix-vsft", "default", "train"),
        "select": Source("HuggingFaceH4/llava-instruct-mix-vsft", "default", "test"),
    },
    to_example=instructed,
    objectives=("lm",),
    licence="cc-by-4.0 and OpenAI's terms",
    citation="Liu et al. 2023",
    sizes={"train": 259_155, "select": 13_640},
    sizes_source=card("HuggingFaceH4/llava-instruct-mix-vsft", "4c04c83"),
    estimate=RowEstimate(
        text=95,
        answer=65,
        images=1,
        rows=777_465,
        source="estimated: a question and an answer of one turn; three turns in a row",
    ),
    recipes=(
        RecipeRow("xtreme_r", {"lm_length": 2048, "source": _LENGTH_SOURCE}, families=_FAMILIES),
        RecipeRow(
            "phang_2020",
            {"lr": 2e-5, "lm_length": 2048, "source": _LENGTH_SOURCE},
            families=_FAMILIES,
        ),
    ),
    seen_by={"llava-1.5": "data"},
)

TASKS = (LLAVA_INSTRUCT,)
