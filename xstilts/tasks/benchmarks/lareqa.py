"""LAReQA, also XQuAD-R (Roy et al. 2020): a question finds its answers in all languages in one pool
of sentences. The dual encoder is trained on English SQuAD (`squad_dual`).

A query names its answers in `relevant`, a candidate has its name in `candidate`. A candidate's text
is the sentence followed by its paragraph, without a separator (xtreme utils_lareqa.py).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from xstilts.tasks.sentences import sentence_spans
from xstilts.tasks.sizes import infos
from xstilts.tasks.squad_rows import passage_name, squad
from xstilts.tasks.task import Example, RecipeRow, Row, RowEstimate, Source, Task, each, text_of


def _sentence_of(breaks: list[tuple[int, int]], start: int) -> int:
    """The number of the sentence with a character. ValueError for a character in no sentence."""
    for number, (first, last) in enumerate(breaks):
        if first <= start < last:
            return number
    raise ValueError(f"answer_start {start} is in no sentence")


def _candidate_text(sentence: str, context: str) -> str:
    return (sentence + context).replace("\n", "")


def sentence_pool(row: Row, index: int, language: str) -> list[Example]:
    """An article of XQuAD-R: its questions, each with the sentence that answers it, and all its
    sentences.

    A sentence's name is `<language>/<article>.<paragraph>.<sentence>`. `relevant` names the answer
    in the language of the question. The answers in other languages are those of the questions with
    the same `parallel` key, the question's id.
    """
    examples = []
    for number, paragraph in enumerate(row["paragraphs"]):
        context = text_of(paragraph, "context")
        breaks = [(int(first), int(last)) for first, last in paragraph["sentence_breaks"]]
        names = [f"{language}/{index}.{number}.{sentence}" for sentence in range(len(breaks))]
        examples += each(paragraph["qas"], partial(_question, names, breaks, f"{index}.{number}"))
        examples += [
            Example(
                id=name,
                text=_candidate_text(context[first:last], context),
                cluster=f"{index}.{number}",
                candidate=name,
            )
            for name, (first, last) in zip(names, breaks, strict=True)
        ]
    return examples


def _question(
    names: Sequence[str],
    breaks: list[tuple[int, int]],
    cluster: str,
    number: int,
    question: Mapping[str, Any],
) -> Example:
    right = names[_sentence_of(breaks, int(question["answers"][0]["answer_start"]))]
    return Example(
        id=str(question["id"]),
        text=text_of(question, "question"),
        relevant=(right,),
        cluster=cluster,
    )


def question_and_sentence(row: Row, index: int, language: str) -> Example | None:
    """A SQuAD row as a pair for the dual encoder: the question; the sentence where its answer
    starts, with its paragraph. An answer that starts in no sentence drops the row, as in xtreme's
    processors/lareqa.py (_create_examples).
    """
    example = squad(row, index, language)
    _, start = example.answers[0]
    sentence = next(
        (span for span in sentence_spans(example.text) if span[0] <= start < span[1]), None
    )
    if sentence is None:
        return None
    candidate = _candidate_text(example.text[sentence[0] : sentence[1]], example.text)
    return Example(
        id=example.id,
        text=example.question or "",
        text_pair=candidate,
        cluster=passage_name(example.text),
    )


SQUAD_DUAL = Task(
    name="squad_dual",
    title="SQuAD questions and answer sentences",
    role="target",
    format="ranking",
    modality="text",
    splits={
        "train": Source("rajpurkar/squad", "plain_text", "train"),
        "select": Source("rajpurkar/squad", "plain_text", "validation"),
    },
    to_example=question_and_sentence,
    licence="cc-by-sa-4.0",
    citation="Rajpurkar et al. 2016; Roy et al. 2020",
    overlap={"squad_dual": "same-data", "squad": "same-data", "mewsli_pairs": "same-format"},
    sizes={"train": 87_599, "select": 10_570},
    sizes_source=infos("squad"),
    estimate=RowEstimate(
        text=225.9,
        segments=2,
        source="measured: 300 rows of train",
    ),
    recipes=(
        RecipeRow("xtreme_r", {"examples_per_step": 16, "max_length": 256, "question_length": 96}),
    ),
)


LAREQA = Task(
    name="lareqa",
    title="LAReQA (XQuAD-R)",
    role="evaluation",
    format="ranking",
    modality="text",
    splits={"test": Source("lareqa/xquad-r", None, "{language}", field="data")},
    to_example=sentence_pool,
    languages=("ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh"),
    metrics=("map_at_20",),
    trained_target=("squad_dual",),
    parallel="id",
    licence="cc-by-sa-4.0",
    citation="Roy et al. 2020",
    sizes={"test": 1_190},
    sizes_source=infos("xquad_r"),
    estimate=RowEstimate(
        text=175.9,
        segments=1.7,
        source="measured: 3,300 sentences in 11 languages, by query",
    ),
)

TASKS = (SQUAD_DUAL, LAREQA)
