"""Retrieval from a pool with a trained dual encoder: LAReQA / XQuAD-R (Roy et al. 2020), where a
question's answers in all languages lie in one pool of sentences, and Mewsli-X (Ruder et al. 2021),
where a mention's entity lies in one pool of descriptions. The dual encoders are trained on English
SQuAD and on English Wikipedia mentions.

A query names its answers in `relevant`, a candidate has its name in `candidate`. Candidate text of
LAReQA is the sentence and its paragraph joined with nothing between them (xtreme utils_lareqa.py);
query text of Mewsli-X is `mention: left { mention } right`, of the mention's sentence alone (xtreme
utils_mewslix.py).
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from xstilts.tasks.sentences import sentence_spans
from xstilts.tasks.sizes import MEWSLI_X, infos
from xstilts.tasks.span import passage_name
from xstilts.tasks.task import Example, Row, Source, Task, each, text_of

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
    """An article of XQuAD-R: its questions, each with the sentence that answers it, and all its
    sentences. A sentence's name is `<language>/<article>.<paragraph>.<sentence>`; `relevant`
    names the answer in the question's own language. The answers in the other languages are those
    of the questions with the same `parallel` key, the question's id.
    """
    found = []
    for number, paragraph in enumerate(row["paragraphs"]):
        context = text_of(paragraph, "context")
        breaks = [(int(first), int(last)) for first, last in paragraph["sentence_breaks"]]
        names = [f"{language}/{index}.{number}.{sentence}" for sentence in range(len(breaks))]
        found += each(paragraph["qas"], partial(_question, names, breaks, f"{index}.{number}"))
        found += [
            Example(
                id=name,
                text=_candidate_text(context[first:last], context),
                cluster=f"{index}.{number}",
                candidate=name,
            )
            for name, (first, last) in zip(names, breaks, strict=True)
        ]
    return found


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
    """A SQuAD row as a pair for the dual encoder: the question, and the sentence in which its
    answer begins with its paragraph. An answer that begins in no sentence drops the row, as in
    xtreme's processors/lareqa.py (_create_examples).
    """
    from xstilts.tasks.span import squad

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


_BRACES = re.compile(r"\{(.*?)\}")
#: Marks that end a sentence in scripts that the English rules do not know.
_FURTHER_ENDS = re.compile(r"(?<=[。！？؟۔।])\s*")


def mention_text(
    context: str, start: int, end: int, sentences: Sequence[tuple[int, int]] = ()
) -> str:
    """A mention as Mewsli-X's queries show it: `mention: left { mention } right`, of its own
    sentence alone, balanced braces outside the mention turned into parentheses (xtreme
    utils_mewslix.py preprocess_mention). sentences: spans of the context, as the data states
    them; without them they are found. A mention across sentences keeps all of them. ValueError
    for an empty span.
    """
    if not 0 <= start < end <= len(context):
        raise ValueError(
            f"mention_span {start}-{end} is not in a context of {len(context)} characters"
        )
    spans = sentences or _found_sentences(context)
    first = max((span[0] for span in spans if span[0] <= start), default=0)
    last = min((span[1] for span in spans if span[1] >= end), default=len(context))
    mention = context[start:end]
    left, right = (_BRACES.sub(r"(\1)", part) for part in (context[first:start], context[end:last]))
    return _in_a_line(f"{mention}: {left} {{ {mention} }} {right}")


def _found_sentences(context: str) -> list[tuple[int, int]]:
    found = []
    for first, last in sentence_spans(context):
        cuts = [
            first,
            *(first + match.end() for match in _FURTHER_ENDS.finditer(context[first:last])),
            last,
        ]
        found += [(one, other) for one, other in pairwise(cuts) if one < other]
    return found


def _in_a_line(text: str) -> str:
    """Line ends and double spaces as single spaces (xtreme utils_mewslix.py)."""
    return " ".join(text.splitlines()).replace("  ", " ").strip()


def _document(value: Any) -> Any:
    """A nested value, or the text of one as JSON, or any other value as it is."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _spans(holder: Mapping[str, Any]) -> list[tuple[int, int]]:
    """`sentence_spans`: a list of {start, end}, or {start: list, end: list} as datasets writes
    such lists.
    """
    spans = holder.get("sentence_spans") or ()
    if isinstance(spans, Mapping):
        return [
            (int(first), int(last))
            for first, last in zip(spans["start"], spans["end"], strict=True)
        ]
    return [(int(span["start"]), int(span["end"])) for span in spans]


def _query(context: Mapping[str, Any], mention: Mapping[str, Any]) -> str:
    span, text = mention["mention_span"], text_of(context, "text")
    start, end = int(span["start"]), int(span["end"])
    stated = span.get("text")
    if stated is not None and stated != text[start:end]:
        raise ValueError(
            f"mention_span {start}-{end} is {text[start:end]!r} in the context, and {stated!r} by its text"
        )
    return mention_text(text, start, end, _spans(context))


def _description(entity: Mapping[str, Any]) -> str:
    """An entity's text: the sentences of its description (xtreme utils_mewslix.py
    preprocess_entity_description).
    """
    text = text_of(entity, "description")
    spans = _spans(entity)
    return _in_a_line(" ".join(text[first:last] for first, last in spans) if spans else text)


def mentions(row: Row, index: int, language: str) -> list[Example]:
    """A row of queries in either layout. Nested: context{text, sentence_spans, document_id}, and
    mentions[{example_id, mention_span{start, end, text}, entity_id}] or one such `mention`.
    Flat: mention (the query's text), entity_id and example_id, without which the row's number is
    the id.
    """
    if "context" not in row:
        text, name = text_of(row, "mention"), row.get("example_id")
        answer = str(row["entity_id"])
        return [
            Example(
                id=str(index if name is None else name),
                text=_in_a_line(text),
                relevant=(answer,),
                cluster=str(index),
            )
        ]
    context = _document(row["context"])
    several = _document(row["mentions"]) if "mentions" in row else [_document(row["mention"])]

    def query(number: int, mention: Mapping[str, Any]) -> Example:
        return Example(
            id=str(mention["example_id"]),
            text=_query(context, mention),
            relevant=(str(mention["entity_id"]),),
            cluster=str(context["document_id"]),
        )

    return each(several, query)


def mention_and_entity(row: Row, index: int, language: str) -> Example:
    """A pair for the dual encoder in either layout. Nested: contextual_mention{context, mention}
    or these two columns, and entity{entity_id, description}. Flat: mention and entity, the texts
    as they are encoded.
    """
    pair = _document(row["contextual_mention"]) if "contextual_mention" in row else row
    mention, described = _document(pair["mention"]), _document(row["entity"])
    if (
        isinstance(mention, Mapping) and "context" in mention
    ):  # the pair of context and mention as one JSON text
        pair, mention = mention, mention["mention"]
    if isinstance(mention, Mapping):
        name, text = mention["example_id"], _query(_document(pair["context"]), mention)
    else:
        name, text = row.get("example_id"), _in_a_line(text_of(row, "mention"))
    described = (
        _description(described)
        if isinstance(described, Mapping)
        else _in_a_line(text_of(row, "entity"))
    )
    return Example(id=str(index if name is None else name), text=text, text_pair=described)


def entity(row: Row, index: int, language: str) -> Example:
    """entity_id, description, sentence_spans: one candidate."""
    name = str(row["entity_id"])
    return Example(id=name, text=_description(row), candidate=name)


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
)
LAREQA = Task(
    name="lareqa",
    title="LAReQA (XQuAD-R)",
    role="evaluation",
    format="ranking",
    modality="text",
    splits={"test": Source("lareqa/xquad-r", None, "{language}", field="data")},
    to_example=sentence_pool,
    languages=LAREQA_LANGUAGES,
    metrics=("map_at_20",),
    trained_target=("squad_dual",),
    licence="cc-by-sa-4.0",
    citation="Roy et al. 2020",
    sizes={"test": 1_190},
    sizes_source=infos("xquad_r"),
    parallel="id",
)
MEWSLI_PAIRS = Task(
    name="mewsli_pairs",
    title="English Wikipedia mentions and entities",
    role="target",
    format="ranking",
    modality="text",
    overlap={"mewsli_pairs": "same-data", "squad_dual": "same-format"},
    splits={
        "train": Source("izhx/mewsli-x", "wikipedia_pairs", "train"),
        "select": Source("izhx/mewsli-x", "wikipedia_pairs", "validation"),
    },
    to_example=mention_and_entity,
    licence="cc-by-sa",
    citation="Ruder et al. 2021",
    sizes={"train": 167_719, "select": 14_051},
    sizes_source=MEWSLI_X,
)
MEWSLI_CANDIDATES = Task(
    name="mewsli_candidates",
    title="Mewsli-X candidate entities",
    role="evaluation",
    format="ranking",
    modality="text",
    splits={"text": Source("izhx/mewsli-x", "candidate_entities", "test")},
    to_example=entity,
    licence="cc-by-sa",
    citation="Ruder et al. 2021",
    sizes={"text": 1_003_893},
    sizes_source=MEWSLI_X,
)
MEWSLIX = Task(
    name="mewslix",
    title="Mewsli-X",
    role="evaluation",
    format="ranking",
    modality="text",
    splits={"test": Source("izhx/mewsli-x", "{language}", "test")},
    to_example=mentions,
    languages=MEWSLIX_LANGUAGES,
    metrics=("map_at_20",),
    trained_target=("mewsli_pairs",),
    licence="cc-by-sa",
    citation="Ruder et al. 2021",
    pool="mewsli_candidates",
    sizes={
        "test:ar": 1_501,
        "test:de": 1_551,
        "test:en": 1_490,
        "test:es": 1_552,
        "test:fa": 458,
        "test:ja": 1_519,
        "test:pl": 1_562,
        "test:ro": 672,
        "test:ta": 1_567,
        "test:tr": 1_215,
        "test:uk": 1_537,
    },
    sizes_source=MEWSLI_X,
)

TASKS = (SQUAD_DUAL, LAREQA, MEWSLI_PAIRS, MEWSLI_CANDIDATES, MEWSLIX)
