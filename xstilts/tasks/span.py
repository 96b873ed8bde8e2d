"""Extractive question answering: SQuAD v1.1 (Rajpurkar et al. 2016) and its translation XQuAD (Artetxe et al. 2020)."""

import hashlib

from xstilts.tasks.task import Example, Row, Source, Task


def squad(row: Row, index: int, language: str) -> Example:
    """id, question, context, answers{text, answer_start}. Examples of one passage are one cluster."""
    context = str(row["context"])
    answers = tuple(
        (str(text), _offset(context, str(text), int(start)))
        for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
    )
    if not answers:
        raise ValueError("answers is empty")
    return Example(
        id=str(row["id"]), text=context, question=str(row["question"]), answers=answers, cluster=passage_name(context)
    )


def passage_name(text: str) -> str:
    """A short stable name for a passage."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _offset(context: str, text: str, start: int) -> int:
    """Where the answer stands; an offset that is off is mended when the answer occurs exactly once."""
    if context[start : start + len(text)] == text and text:
        return start
    if text and context.count(text) == 1:
        return context.index(text)
    raise ValueError(f"answers: {text!r} is not at character {start} of the context")


SQUAD = Task(
    name="squad", title="SQuAD v1.1", role="intermediate", format="span", modality="text",
    splits={
        "train": Source("rajpurkar/squad", "plain_text", "train"),
        "select": Source("rajpurkar/squad", "plain_text", "validation"),
    },
    to_example=squad, metrics=("squad_f1", "squad_em"), licence="cc-by-sa-4.0", citation="Rajpurkar et al. 2016",
    overlap={"squad": "same-data"},
)  # fmt: skip
XQUAD = Task(
    name="xquad", title="XQuAD", role="evaluation", format="span", modality="text",
    splits={"test": Source("google/xquad", "xquad.{language}", "validation")}, to_example=squad,
    languages=("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh"), metrics=("squad_f1", "squad_em"),
    trained_target=("squad",), licence="cc-by-sa-4.0", citation="Artetxe et al. 2020",
)  # fmt: skip

TASKS = (SQUAD, XQUAD)
