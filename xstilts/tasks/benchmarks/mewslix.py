"""Mewsli-X (Ruder et al. 2021): a mention finds its entity in one pool of descriptions. The dual
encoder is trained on English Wikipedia mentions (`mewsli_pairs`).

A query names its answers in `relevant`, a candidate has its name in `candidate`. A query's text is
`mention: left { mention } right`, of the mention's sentence alone (xtreme utils_mewslix.py).
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from xstilts.input_files import parse_row
from xstilts.tasks.sentences import sentence_spans
from xstilts.tasks.task import Example, RecipeRow, Row, RowEstimate, Source, Task, each, text_of

_BRACES = re.compile(r"\{(.*?)\}")


#: Marks that end a sentence in scripts that the English rules do not know.
_FURTHER_ENDS = re.compile(r"(?<=[。！？؟۔।])\s*")


def mention_text(
    context: str, start: int, end: int, sentences: Sequence[tuple[int, int]] = ()
) -> str:
    """A mention as in Mewsli-X's queries: `mention: left { mention } right`, of the mention's
    sentence alone. Balanced braces outside the mention become parentheses (xtreme
    utils_mewslix.py preprocess_mention). A mention across sentences keeps all of them. ValueError
    for an empty span.

    Args:
        context: the text around the mention.
        start: its first character.
        end: the character after its last.
        sentences: spans of the context's sentences, if the data states them.
    """
    if not 0 <= start < end <= len(context):
        raise ValueError(
            f"mention_span {start}-{end} is not in a context of {len(context)} characters"
        )
    spans = sentences or _sentence_spans(context)
    first = max((span[0] for span in spans if span[0] <= start), default=0)
    last = min((span[1] for span in spans if span[1] >= end), default=len(context))
    mention = context[start:end]
    left, right = (_BRACES.sub(r"(\1)", part) for part in (context[first:start], context[end:last]))
    return _in_a_line(f"{mention}: {left} {{ {mention} }} {right}")


def _sentence_spans(context: str) -> list[tuple[int, int]]:
    spans = []
    for first, last in sentence_spans(context):
        cuts = [
            first,
            *(first + match.end() for match in _FURTHER_ENDS.finditer(context[first:last])),
            last,
        ]
        spans += [(start, end) for start, end in pairwise(cuts) if start < end]
    return spans


def _in_a_line(text: str) -> str:
    """Line ends and double spaces as single spaces (xtreme utils_mewslix.py)."""
    return " ".join(text.splitlines()).replace("  ", " ").strip()


def _document(value: Any) -> Any:
    """The nested value in a JSON text; any other value as it is."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return parse_row(value)
        except ValueError:
            return value
    return value


def _spans(holder: Mapping[str, Any]) -> list[tuple[int, int]]:
    """`sentence_spans`: a list of {start, end}, or {start: list, end: list} as written by
    `datasets`.
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
            f"mention_span {start}-{end} is {text[start:end]!r} in the context, "
            f"but its text is {stated!r}"
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
    """A row of queries, in one of two layouts.

    - nested: context{text, sentence_spans, document_id}, and
      mentions[{example_id, mention_span{start, end, text}, entity_id}] or a single `mention`;
    - flat: mention (the query's text), entity_id, example_id (default: the row number).
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
    """A pair for the dual encoder, in one of two layouts.

    - nested: contextual_mention{context, mention} or these two columns, and
      entity{entity_id, description};
    - flat: mention and entity, the texts that are encoded.
    """
    pair = _document(row["contextual_mention"]) if "contextual_mention" in row else row
    mention, described = _document(pair["mention"]), _document(row["entity"])
    if isinstance(mention, Mapping) and "context" in mention:  # both in one JSON text
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


_SIZES_SOURCE = (
    "google-research/google-research 47071fb, "
    "dense_representations_for_entity_retrieval/mel/mewsli-x.md"
)

MEWSLI_PAIRS = Task(
    name="mewsli_pairs",
    title="English Wikipedia mentions and entities",
    role="target",
    format="ranking",
    modality="text",
    splits={
        "train": Source("izhx/mewsli-x", "wikipedia_pairs", "train"),
        "select": Source("izhx/mewsli-x", "wikipedia_pairs", "validation"),
    },
    to_example=mention_and_entity,
    licence="cc-by-sa",
    citation="Ruder et al. 2021",
    overlap={"mewsli_pairs": "same-data", "squad_dual": "same-format"},
    sizes={"train": 167_719, "select": 14_051},
    sizes_source=_SIZES_SOURCE,
    estimate=RowEstimate(
        text=120,
        segments=2,
        source="both texts are cut to 64 tokens",
    ),
    recipes=(RecipeRow("xtreme_r", {"lr": 1e-5, "epochs": 2, "max_length": 64}),),
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
    sizes_source=_SIZES_SOURCE,
    estimate=RowEstimate(
        text=60,
        source="cut to 64 tokens",
    ),
)


MEWSLIX = Task(
    name="mewslix",
    title="Mewsli-X",
    role="evaluation",
    format="ranking",
    modality="text",
    splits={"test": Source("izhx/mewsli-x", "{language}", "test")},
    to_example=mentions,
    languages=("ar", "de", "en", "es", "fa", "ja", "pl", "ro", "ta", "tr", "uk"),
    metrics=("map_at_20",),
    trained_target=("mewsli_pairs",),
    pool="mewsli_candidates",
    licence="cc-by-sa",
    citation="Ruder et al. 2021",
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
    sizes_source=_SIZES_SOURCE,
    estimate=RowEstimate(
        text=62,
        source="cut to 64 tokens",
    ),
)

TASKS = (MEWSLI_PAIRS, MEWSLI_CANDIDATES, MEWSLIX)
