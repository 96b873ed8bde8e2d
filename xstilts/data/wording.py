"""Examples as text for the `lm` objective: the prompt and the answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from xstilts.tasks.task import Example, Task

#: The answer to questions that the context does not answer (SQuAD v2).
NO_ANSWER = "unanswerable"


@dataclass(frozen=True)
class Verbalized:
    """An example as text, in the order texts, instruction, answer.

    texts: each with whether it may be cut (a context) or not (a question).
    """

    texts: tuple[tuple[str, bool], ...]
    instruction: str
    answer: str


def verbalize(task: Task, example: Example) -> Verbalized:
    """An example as text. For generation and multiple choice, a single text is the question."""
    has_question = example.question is not None
    texts: list[tuple[str | None, bool]] = [(example.text, has_question), (example.question, False)]
    if task.format == "generation":
        return _verbalized(texts, task.instruction, example.targets[0])
    label = example.label if example.label is not None else -1
    if task.format == "classification":
        return _verbalized(
            [(example.text, True), (example.text_pair, True)],
            task.instruction,
            task.verbalised[label],
        )
    if task.format == "multiple_choice":
        options = " ".join(f"({chr(65 + i)}) {choice}" for i, choice in enumerate(example.choices))
        return _verbalized(texts, f"{options} {task.instruction}", example.choices[label])
    if task.format == "tagging":
        return _verbalized(
            [(" ".join(example.tokens), False)], task.instruction, " ".join(example.tags)
        )
    if task.format == "span":
        answer = example.answers[0][0] if example.answers else NO_ANSWER
        return _verbalized(
            [(example.question, False), (example.text, True)], task.instruction, answer
        )
    raise ValueError(f"{task.name}: the format {task.format} has no answer as text")


def _verbalized(
    texts: Sequence[tuple[str | None, bool]], instruction: str, answer: str
) -> Verbalized:
    present = tuple((text, may_be_cut) for text, may_be_cut in texts if text)
    return Verbalized(present, instruction if present else "", answer)
