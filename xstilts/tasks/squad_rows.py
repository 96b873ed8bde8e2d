"""Rows in SQuAD's layout: a question, a context, and answers that are spans of it."""

import hashlib

from xstilts.tasks.task import Example, Row, text_of, texts_of


def squad(row: Row, index: int, language: str) -> Example:
    """id, question, context, answers{text, answer_start}. Examples of one passage are one
    cluster.
    """
    example = squad_v2(row, index, language)
    if not example.answers:
        raise ValueError("answers is empty")
    return example


def squad_v2(row: Row, index: int, language: str) -> Example:
    """As `squad`. A row without answers: the context does not answer the question."""
    context = text_of(row, "context")
    answers = tuple(
        (text, _offset(context, text, int(start)))
        for text, start in zip(
            texts_of(row["answers"], "text"), row["answers"]["answer_start"], strict=True
        )
    )
    return Example(
        id=str(row["id"]),
        text=context,
        question=text_of(row, "question"),
        answers=answers,
        cluster=passage_name(context),
    )


def passage_name(text: str) -> str:
    """A short stable name for a passage."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _offset(context: str, text: str, start: int) -> int:
    """`start`, if the answer is at that character of the context; else ValueError. A wrong offset
    would train on the wrong span, and may affect all rows of a file.
    """
    if text and start >= 0 and context.startswith(text, start):
        return start
    raise ValueError(f"answers: {text!r} is not at character {start} of the context (answer_start)")
