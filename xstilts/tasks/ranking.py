"""Retrieval from a pool with a trained dual encoder: LAReQA / XQuAD-R (Roy et al. 2020), where a question's answers in
all languages lie in one pool of sentences, and Mewsli-X (Ruder et al. 2021), where a mention's entity lies in one pool of
descriptions. The dual encoders are trained on English SQuAD and on English Wikipedia mentions.

A query names its answers in `relevant`, a candidate has its name in `candidate`. Candidate text of LAReQA is the sentence and its
paragraph joined with nothing between them (xtreme utils_lareqa.py); query text of Mewsli-X is `mention: left { mention }
right` with braces of the text itself turned into parentheses (xtreme utils_mewslix.py).
"""

from collections.abc import Mapping
from typing import Any

from xstilts.tasks.sizes import MEWSLI_X, infos
from xstilts.tasks.span import passage_name
from xstilts.tasks.task import Example, Row, Source, Task, text_of

LAREQA_LANGUAGES = ("ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh")
MEWSLIX_LANGUAGES = ("ar", "de", "en", "es", "fa", "ja", "pl", "ro", "ta", "tr", "uk")


def _sentence_of(breaks: list[tuple[int, int]], start: int) -> int:
    """The sentence that holds a character; ValueError when none does."""
    for number, (first, last) in enumerate(breaks):
        if first <= start < last:
            return number
    raise ValueError(f"answer_start {start} is in no sentence")


def _candidate_text(sentence: str, context: str) -> str:
    return (sentence + context).replace("\n", "")


def sentence_pool(row: Row, index: int, language: str) -> list[Example]:
    """An article of XQuAD-R: its questions, each with the sentence that answers it, and all its sentences. A sentence's
    name is `<language>/<article>.<paragraph>.<sentence>`; `relevant` names the answer in the question's own language. The
    answers in the other languages are those of the questions with the same `parallel` key, the question's id."""
    found = []
    for number, paragraph in enumerate(row["paragraphs"]):
        context = text_of(paragraph, "context")
        breaks = [(int(first), int(last)) for first, last in paragraph["sentence_breaks"]]
        names = [f"{language}/{index}.{number}.{sentence}" for sentence in range(len(breaks))]
        for question in paragraph["qas"]:
            answer = question["answers"][0]
            right = names[_sentence_of(breaks, int(answer["answer_start"]))]
            found.append(
                Example(
                    id=str(question["id"]), text=text_of(question, "question"), relevant=(right,),
                    cluster=f"{index}.{number}",
                )
            )  # fmt: skip
        found += [
            Example(
                id=name, text=_candidate_text(context[first:last], context), cluster=f"{index}.{number}", candidate=name
            )
            for name, (first, last) in zip(names, breaks, strict=True)
        ]
    return found


def question_and_sentence(row: Row, index: int, language: str) -> Example:
    """A SQuAD row as a pair for the dual encoder: the question, and the sentence that answers it with its context."""
    from xstilts.tasks.span import squad

    example = squad(row, index, language)
    text, start = example.answers[0]
    first, last = _sentence_around(example.text, start, start + len(text))
    candidate = _candidate_text(example.text[first:last], example.text)
    return Example(id=example.id, text=example.question or "", text_pair=candidate, cluster=passage_name(example.text))


def _sentence_around(text: str, start: int, end: int) -> tuple[int, int]:
    """The sentence around an answer, cut at `. `, `! ` and `? `: English SQuAD has no sentence breaks of its own."""
    first = max((text.rfind(mark, 0, start) for mark in (". ", "! ", "? ", "\n")), default=-1)
    ends = [place for mark in (". ", "! ", "? ", "\n") if (place := text.find(mark, end)) >= 0]
    return (first + 2 if first >= 0 else 0), (min(ends) + 1 if ends else len(text))


def mention_text(context: str, start: int, end: int) -> str:
    """A mention as Mewsli-X's queries show it. ValueError for an empty span."""
    if not 0 <= start < end <= len(context):
        raise ValueError(f"mention_span {start}-{end} is not in a context of {len(context)} characters")
    left, mention, right = (
        part.replace("{", "(").replace("}", ")") for part in (context[:start], context[start:end], context[end:])
    )
    return " ".join(f"{mention}: {left} {{ {mention} }} {right}".split())


def mentions(row: Row, index: int, language: str) -> list[Example]:
    """context{text, document_id}, mentions[{example_id, mention_span{start, end}, entity_id}]."""
    context: Mapping[str, Any] = row["context"]
    found = []
    for mention in row["mentions"]:
        span = mention["mention_span"]
        text = mention_text(text_of(context, "text"), int(span["start"]), int(span["end"]))
        found.append(
            Example(
                id=str(mention["example_id"]), text=text, relevant=(str(mention["entity_id"]),),
                cluster=str(context["document_id"]),
            )
        )  # fmt: skip
    return found


def mention_and_entity(row: Row, index: int, language: str) -> Example:
    """context, mention, entity{entity_id, description}: a pair for the dual encoder."""
    span = row["mention"]["mention_span"]
    text = mention_text(text_of(row["context"], "text"), int(span["start"]), int(span["end"]))
    return Example(id=str(row["mention"]["example_id"]), text=text, text_pair=text_of(row["entity"], "description"))


def entity(row: Row, index: int, language: str) -> Example:
    """entity_id, description: one candidate."""
    name = str(row["entity_id"])
    return Example(id=name, text=text_of(row, "description"), candidate=name)


SQUAD_DUAL = Task(
    name="squad_dual", title="SQuAD questions and answer sentences", role="target", format="ranking", modality="text",
    splits={
        "train": Source("rajpurkar/squad", "plain_text", "train"),
        "select": Source("rajpurkar/squad", "plain_text", "validation"),
    },
    to_example=question_and_sentence, licence="cc-by-sa-4.0", citation="Rajpurkar et al. 2016; Roy et al. 2020",
    overlap={"squad_dual": "same-data", "squad": "same-data", "mewsli_pairs": "same-format"},
    sizes={"train": 87_599, "select": 10_570}, sizes_source=infos("squad"),
)  # fmt: skip
LAREQA = Task(
    name="lareqa", title="LAReQA (XQuAD-R)", role="evaluation", format="ranking", modality="text",
    splits={"test": Source("lareqa/xquad-r", None, "{language}", field="data")}, to_example=sentence_pool,
    languages=LAREQA_LANGUAGES, metrics=("map_at_20",), trained_target=("squad_dual",), licence="cc-by-sa-4.0",
    citation="Roy et al. 2020", sizes={"test": 1_190}, sizes_source=infos("xquad_r"), parallel="id",
)  # fmt: skip
MEWSLI_PAIRS = Task(
    name="mewsli_pairs", title="English Wikipedia mentions and entities", role="target", format="ranking",
    modality="text", overlap={"mewsli_pairs": "same-data", "squad_dual": "same-format"},
    splits={
        "train": Source("izhx/mewsli-x", "wikipedia_pairs", "train"),
        "select": Source("izhx/mewsli-x", "wikipedia_pairs", "validation"),
    },
    to_example=mention_and_entity, licence="cc-by-sa", citation="Ruder et al. 2021", sizes={"train": 167_719, "select": 14_051},
    sizes_source=MEWSLI_X,
)  # fmt: skip
MEWSLI_CANDIDATES = Task(
    name="mewsli_candidates", title="Mewsli-X candidate entities", role="evaluation", format="ranking",
    modality="text", splits={"text": Source("izhx/mewsli-x", "candidate_entities", "test")}, to_example=entity,
    licence="cc-by-sa", citation="Ruder et al. 2021", sizes={"text": 1_003_893}, sizes_source=MEWSLI_X,
)  # fmt: skip
MEWSLIX = Task(
    name="mewslix", title="Mewsli-X", role="evaluation", format="ranking", modality="text",
    splits={"test": Source("izhx/mewsli-x", "{language}", "test")}, to_example=mentions,
    languages=MEWSLIX_LANGUAGES, metrics=("map_at_20",), trained_target=("mewsli_pairs",), licence="cc-by-sa",
    citation="Ruder et al. 2021", pool="mewsli_candidates",
    sizes={
        "test:ar": 1_501, "test:de": 1_551, "test:en": 1_490, "test:es": 1_552, "test:fa": 458, "test:ja": 1_519,
        "test:pl": 1_562, "test:ro": 672, "test:ta": 1_567, "test:tr": 1_215, "test:uk": 1_537,
    },
    sizes_source=MEWSLI_X,
)  # fmt: skip

TASKS = (SQUAD_DUAL, LAREQA, MEWSLI_PAIRS, MEWSLI_CANDIDATES, MEWSLIX)
