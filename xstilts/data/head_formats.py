"""Encodes examples for trained heads, one function per task format.

A text that is too long is cut and counted. No example is left out, since a test set is always
scored completely.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xstilts.data.alignment import (
    answer_tokens,
    max_context_ranges,
    pieces,
    sentence,
    windows,
    with_combining_characters,
    word_tokens,
)
from xstilts.data.sequence import IGNORED, BadRow, SequenceBuilder
from xstilts.tasks.task import Example

Rows = Iterator[dict[str, Any]]


@dataclass(frozen=True)
class HeadSettings:
    """tags: tag → id. subtoken: `first` or `last` token of a word, which is tagged. training:
    whether the rows are trained on, or only scored.
    """

    tags: Mapping[str, int]
    subtoken: str
    training: bool


def _classification(builder: SequenceBuilder, example: Example, _: HeadSettings) -> Rows:
    pair = None if example.text_pair is None else builder.ids(example.text_pair)
    images = builder.image_tokens(example.images)
    ids = builder.joined(builder.ids(example.text), pair, images)
    yield {"segments": [ids], "label": example.label}


def _multiple_choice(builder: SequenceBuilder, example: Example, _: HeadSettings) -> Rows:
    """One segment per choice: text and question, then the choice. The text is cut first; the
    question or a choice only if that is not enough.
    """
    texts = [
        (text, may_be_cut)
        for text, may_be_cut in ((example.text, True), (example.question, False))
        if text
    ]
    choices = [builder.ids(choice) for choice in example.choices]
    images = builder.image_tokens(example.images)
    groups = builder.token_groups(texts)
    special = len(builder.start) + len(builder.between) + len(builder.end)
    limit = builder.max_length - special - max(map(len, choices))
    if example.question and sum(map(len, groups)) > limit:
        groups = builder.shortened(groups, texts, limit)
    context = [token for group in groups for token in group]
    segments = [builder.joined(context, choice, images) for choice in choices]
    yield {"segments": segments, "label": example.label}


def _retrieval(builder: SequenceBuilder, example: Example, _: HeadSettings) -> Rows:
    """Two segments: English and foreign."""
    sides = (example.text_pair or "", example.text or "")
    yield {"segments": [builder.joined(builder.ids(text), None) for text in sides]}


def _ranking(builder: SequenceBuilder, example: Example, _: HeadSettings) -> Rows:
    """A query or a candidate; in training, a query and the candidate that answers it. Queries are
    limited to `question_length` if the recipe sets it.
    """
    texts = [(example.text, bool(example.relevant or example.text_pair))]
    texts += [(example.text_pair, False)] if example.text_pair is not None else []
    yield {
        "segments": [
            builder.single(text, builder.question_length if is_query else None)
            for text, is_query in texts
        ]
    }


def _tagging(builder: SequenceBuilder, example: Example, settings: HeadSettings) -> Rows:
    """The words joined by spaces and tokenized together; each word is tagged at its first or last
    sub-token. A sentence that is too long is split between words, so that no word is lost.
    """
    text, owner = sentence(example.tokens)
    ids, offsets = builder.processor.text_tokens(text)
    before, after = len(builder.start), len(builder.end)
    limit = builder.max_length - before - after
    words = word_tokens(
        ids, offsets, owner, len(example.tokens), builder.processor.unknown_word, limit
    )
    for piece in pieces(words, limit):
        tagged: list[int] = []
        for word in piece:
            indices = [-1] * len(word.ids)
            indices[word.tagged_token(settings.subtoken)] = word.word
            tagged += indices
        labels = [settings.tags[example.tags[word]] if word >= 0 else IGNORED for word in tagged]
        tokens = [token for word in piece for token in word.ids]
        yield {
            "segments": [[*builder.start, *tokens, *builder.end]],
            "labels": [IGNORED] * before + labels + [IGNORED] * after,
            "words": [-1] * before + tagged + [-1] * after,
        }


def _span(builder: SequenceBuilder, example: Example, settings: HeadSettings) -> Rows:
    """The question, then the context in windows that begin every `stride` tokens.

    All windows are kept; in training, one without the complete answer points at token 0. BadRow if
    the answer to train on has no token.
    """
    question = builder.ids(example.question or "")[: builder.question_length]
    ids, raw_offsets = builder.processor.text_tokens(example.text)
    offsets = with_combining_characters(example.text, raw_offsets)
    head = [*builder.start, *question, *builder.between]
    limit = builder.max_length - len(head) - len(builder.end)
    answer = None
    if settings.training and example.answers:  # unanswerable questions of SQuAD v2 have none
        text, start = example.answers[0]
        answer = answer_tokens(raw_offsets, text, start) or answer_tokens(offsets, text, start)
        if answer is None:
            raise BadRow(f"the answer {text!r} has no token in this tokenizer")
    ranges = windows(len(ids), limit, int(builder.stride or limit))
    for (first, end), starts in zip(ranges, max_context_ranges(ranges), strict=True):
        span = [0, 0]
        if answer is not None and first <= answer[0] and answer[1] < end:
            span = [index - first + len(head) for index in answer]
        yield {
            "segments": [[*head, *ids[first:end], *builder.end]],
            "offsets": [-1, -1] * len(head)
            + [position for pair in offsets[first:end] for position in pair]
            + [-1, -1] * len(builder.end),
            "span": span if settings.training else [],
            "starts": [index - first + len(head) for index in starts],
        }


#: Task format → the rows of an example.
FORMATS: Mapping[str, Callable[[SequenceBuilder, Example, HeadSettings], Rows]] = {
    "classification": _classification,
    "multiple_choice": _multiple_choice,
    "tagging": _tagging,
    "span": _span,
    "retrieval": _retrieval,
    "ranking": _ranking,
    "mining": _ranking,
}


def tag_ids(tags: Sequence[str]) -> dict[str, int]:
    """Tag → id, in order."""
    return {tag: index for index, tag in enumerate(tags)}
