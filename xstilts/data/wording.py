"""Examples in words, for the `lm` objective: what a model reads, and the answer that it learns
to give.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from xstilts.tasks.task import Example, Task

#: The answer where the context does not answer the question (SQuAD v2).
NO_ANSWER = "unanswerable"


@dataclass(frozen=True)
class InWords:
    """An example for the `lm` objective. texts: in order, each with whether it is a context,
    which may be cut, or the question, which may not. instruction follows them, and then the
    answer.
    """

    texts: tuple[tuple[str, bool], ...]
    instruction: str
    answer: str


def in_words(task: Task, example: Example) -> InWords:
    """An example in words. A text alone is the question where the format asks one (generation,
    multiple choice).
    """
    asked = example.question is not None
    texts: list[tuple[str | None, bool]] = [(example.text, asked), (example.question, False)]
    if task.format == "generation":
        return _worded(texts, task.instruction, example.targets[0])
    label = example.label if example.label is not None else -1
    if task.format == "classification":
        return _worded(
            [(example.text, True), (example.text_pair, True)],
            task.instruction,
            task.verbalised[label],
        )
    if task.format == "multiple_choice":
        options = " ".join(f"({chr(65 + i)}) {choice}" for i, choice in enumerate(example.choices))
        return _worded(texts, f"{options} {task.instruction}", example.choices[label])
    if task.format == "tagging":
        return _worded(
            [(" ".join(example.tokens), False)], task.instruction, " ".join(example.tags)
        )
    if task.format == "span":
        answer = example.answers[0][0] if example.answers else NO_ANSWER
        return _worded([(example.question, False), (example.text, True)], task.instruction, answer)
    raise ValueError(f"{task.name}: format {task.format} has no answer in words")


def _worded(texts: Sequence[tuple[str | None, bool]], instruction: str, answer: str) -> InWords:
    there = tuple((text, may_be_cut) for text, may_be_cut in texts if text)
    return InWords(there, instruction if there else "", answer)
