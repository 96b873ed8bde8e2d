"""Canonical records × a backbone's processor → rows of token ids, as Parquet.

Columns of encoded.parquet (one row per training or scoring row; a window of a long context and a
piece of a long sentence are rows of their own, with the same `row`): row: position of the example
in records.parquet. segments: token ids, one list per choice (multiple choice), English and foreign
(retrieval), else one. length: all tokens. images, grids: SHA-256 and patches (t, h, w) of each
picture. label: class or choice, -1 none. labels: per token of the segment, -100 where no loss is;
tag ids, or for `lm` the token that is to be predicted there. span: token places of the answer, (0,
0) where the window does not hold it. offsets: (start, end) characters of each token of the context,
-1 elsewhere. starts: token range (first, end) in which an answer may start, empty for everywhere: a
token in several windows counts in the one that shows most around it. words: word that a token
answers for, -1 elsewhere. supervised: tokens with a loss (`lm`), else 1.

A special token that a text spells out (`<image>`, `</s>`) is text: only this module's own frame
holds control tokens.

Lengths: `max_length` limits the tokens of text, `lm_length` those of a row in words (`lm`). A
picture's tokens come on top; their budget is the recipe's (`image_tokens`, `min_pixels`,
`max_pixels`). Under `lm` a row keeps its question, instruction and answer whole: what is too long
is cut from its context and counted, and a row whose question, instruction and answer alone exceed
the limit is a bad row. That is decided without the picture or the caption in its place, so all
image conditions of a task lose the same rows. Plain text is not cut: it becomes windows, each a
row. With heads, what is too long is cut and counted; an example is never left out, since a test set
is scored whole.
"""

import random
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from xstilts.data.alignment import (
    answer_tokens,
    fullest_context,
    pieces,
    sentence,
    windows,
    with_attached,
    word_tokens,
)
from xstilts.data.records import MOST_BAD, NAMED, read_records
from xstilts.data.wording import in_words
from xstilts.errors import DataError
from xstilts.step import Step
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Example, Task

IGNORED = -100
#: Shares of masked language modelling (Devlin et al. 2019 §3.1): tokens that are predicted; of
#: these masked, replaced.
_PREDICTED, _MASKED, _REPLACED = 0.15, 0.8, 0.1
#: Tokens of an image task's row that its question, instruction and answer leave free: a caption in
#: the picture's place has room wherever the row with the picture has, and joining the two texts may
#: change the question's first token.
_ROOM_FOR_CAPTION = 2
_INTS, _LISTS = pa.list_(pa.int32()), pa.list_(pa.list_(pa.int32()))
_SCHEMA = pa.schema(
    {
        "row": pa.int32(),
        "language": pa.string(),
        "segments": _LISTS,
        "length": pa.int32(),
        "images": pa.list_(pa.string()),
        "grids": _LISTS,
        "label": pa.int32(),
        "labels": _INTS,
        "span": _INTS,
        "offsets": _INTS,
        "words": _INTS,
        "supervised": pa.int32(),
        "starts": _INTS,
    }
)


class SpecialTokens(Protocol):
    """Token ids before the first text, between two texts, and after the last."""

    @property
    def start(self) -> tuple[int, ...]: ...
    @property
    def between(self) -> tuple[int, ...]: ...
    @property
    def end(self) -> tuple[int, ...]: ...


class TextImageProcessor(Protocol):
    """What encoding needs of a backbone's processor; see xstilts.models.processor."""

    @property
    def causal(self) -> bool: ...
    @property
    def layout(self) -> SpecialTokens: ...
    @property
    def tokenizer(self) -> Any: ...
    @property
    def newline(self) -> list[int]: ...
    @property
    def unknown_word(self) -> int: ...
    def text_tokens(self, text: str) -> tuple[list[int], list[tuple[int, int]]]: ...
    def image_placeholder(self, data: bytes) -> list[int]: ...
    def grid(self, data: bytes) -> list[int]: ...
    def within(self, budget: Mapping[str, int | None]) -> "TextImageProcessor": ...


class BadRow(ValueError):
    """An example that cannot be encoded whole; it is left out, counted and named."""


def encode(
    step: Step,
    records: Path,
    processor: TextImageProcessor,
    out: Path,
    keep: Sequence[bool] | None = None,
    bad_records: int = 0,
    tasks: Mapping[str, Task] = TASKS,
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Does an encode step. keep: which of the records are encoded; None: all. bad_records: bad
    rows that the records step left out, which count with those of this step against
    `most_bad_rows`: DataError where they are too many. info: rows, examples, tokens, truncated
    rows, bad rows, training windows without their answer, share of unknown tokens, classes of an
    open set of tags.
    """
    spec, task = step.spec, tasks[step.spec["task"]]
    examples = read_records(records)
    tags = task.labels or tuple(sorted({tag for example in examples for tag in example.tags}))
    processor = processor.within(spec.get("image_budget") or {})
    encoder = Encoder(task, processor, spec["objective"], spec["lengths"], spec["subtoken"], tags)
    references = pq.read_table(records, columns=["images"]).column("images").to_pylist()
    places = [place for place in range(len(examples)) if keep is None or keep[place]]
    rows: list[dict[str, Any]] = []
    bad: list[dict[str, Any]] = []
    for place in places:
        try:
            made = list(encoder.rows(examples[place], place))
        except BadRow as error:
            bad.append({"row": place, "reason": f"{examples[place].id}: {error}"})
            continue
        rows += [
            {"row": place, "language": spec["language"], "images": references[place], **row}
            for row in made
        ]
    most = float(step.settings.get("most_bad", MOST_BAD))
    if bad and len(bad) + bad_records > most * (len(places) + bad_records):
        named = "; ".join(f"record {entry['row']}, {entry['reason']}" for entry in bad[:3])
        raise DataError(
            f"{spec['task']} {spec['split']} {spec['language']}: {len(bad)} of {len(places)} records do not fit"
            f"{f' and {bad_records} source rows are bad' if bad_records else ''}, more than {most:.0%}; {named}; raise "
            f"lm_length under `override` where the family allows it, or allow a larger share by most_bad_rows"
        )
    if not rows:
        raise ValueError(
            f"{spec['task']} {spec['split']} {spec['language']}: no row is left after encoding"
        )
    path = out / "encoded.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), path)
    tokens = sum(row["length"] for row in rows)
    info = {
        "rows": len(rows),
        "examples": len(places),
        "tokens": tokens,
        "truncated": encoder.truncated,
        "bad": bad[:NAMED],
        "bad_rows": len(bad),
        "unanswerable_windows": encoder.unanswerable,
        "unknown_share": encoder.unknown / max(1, tokens),
        "classes": len(tags),
        **({} if task.labels or not tags else {"tags": list(tags)}),
    }
    return {"encoded.parquet": path}, info


class Encoder:
    """Encodes the examples of one task for one backbone."""

    def __init__(
        self,
        task: Task,
        processor: TextImageProcessor,
        objective: str,
        lengths: dict[str, Any],
        subtoken: str,
        tags: Sequence[str] = (),
    ) -> None:
        self.tags = {tag: place for place, tag in enumerate(tags or task.labels)}
        self.task, self.processor, self.objective, self.subtoken = (
            task,
            processor,
            objective,
            subtoken,
        )
        self.tokenizer = processor.tokenizer
        self.layout = processor.layout  # XLM-R: <s> a </s></s> b </s>; decoders: a newline b <eos>
        self.encoder = not processor.causal  # learns text by masked tokens
        self.most = int(lengths["max_length"])
        self.most_in_words = int(lengths.get("lm_length") or self.most)
        self.stride, self.question = lengths.get("stride"), lengths.get("question_length")
        self.truncated = self.unanswerable = self.unknown = 0
        self._was_cut = False  # the row that is being made
        self._place = 0  # of the example in its records

    def rows(self, example: Example, place: int = 0) -> Iterator[dict[str, Any]]:
        """The encoded rows of one example. place: its position in the records, from which masks
        of plain text are drawn.
        """
        self._place = place
        make: Callable[[Example], Iterator[dict[str, Any]]]
        if self.objective == "lm":
            make = self._lm
        else:
            make = {
                "classification": self._classification,
                "multiple_choice": self._choices,
                "tagging": self._tags,
                "span": self._windows,
                "retrieval": self._pair,
                "ranking": self._side,
                "mining": self._side,
            }[self.task.format]
        pictures, grids = (
            self._pictures(example),
            [self.processor.grid(data) for data in example.images],
        )
        for made in make(example):
            row, segments = (
                {key: value for key, value in made.items() if key != "kept"},
                made["segments"],
            )
            self._verify(example, segments, (pictures, *made.get("kept", ())))
            self.truncated += self._was_cut
            self._was_cut = False
            unknown = self.tokenizer.unk_token_id
            if unknown is not None:
                self.unknown += sum(segment.count(unknown) for segment in segments)
            yield {
                "length": sum(map(len, segments)), "grids": grids,
                "label": -1, "labels": [], "span": [], "offsets": [], "words": [], "supervised": 1,
                "starts": [], **row,
            }  # fmt: skip

    # ---- pieces ----

    def _ids(self, text: str) -> list[int]:
        return self.processor.text_tokens(text)[0]

    def _verify(
        self, example: Example, segments: Sequence[list[int]], kept: Sequence[list[int]]
    ) -> None:
        """RuntimeError, a fault of this module, where a segment lost a part that must be kept."""
        for segment in segments:
            for part in kept:
                if not _contains(segment, part):
                    raise RuntimeError(
                        f"{self.task.name}, example {example.id}: encoding lost {len(part)} tokens of its question, "
                        "instruction, answer or picture"
                    )

    def _pictures(self, example: Example) -> list[int]:
        return [
            token for data in example.images for token in self.processor.image_placeholder(data)
        ]

    @property
    def _start(self) -> list[int]:
        return list(self.layout.start)

    @property
    def _between(self) -> list[int]:
        return list(self.layout.between)

    @property
    def _end(self) -> list[int]:
        return list(self.layout.end)

    def _joined(
        self, first: list[int], second: list[int] | None, pictures: Sequence[int] = ()
    ) -> list[int]:
        """One sequence of one or two texts. The longer text is cut until the texts and specials
        fit `max_length`, which pictures do not count against.
        """
        fixed = (
            len(self._start) + len(self._end) + (len(self._between) if second is not None else 0)
        )
        first, second = self._cut(first, second, self.most - fixed)
        middle = [*self._between, *second] if second is not None else []
        return [*self._start, *pictures, *first, *middle, *self._end]

    def _cut(
        self, first: list[int], second: list[int] | None, room: int
    ) -> tuple[list[int], list[int] | None]:
        other = len(second or ())
        if len(first) + other <= room:
            return first, second
        self._was_cut = True
        if second is None:
            return first[: max(1, room)], None
        keep = max(1, room // 2)
        if other <= keep:
            return first[: max(1, room - other)], second
        if len(first) <= room - keep:
            return first, second[: max(1, room - len(first))]
        return first[: max(1, room - keep)], second[:keep]

    # ---- formats ----

    def _classification(self, example: Example) -> Iterator[dict[str, Any]]:
        pair = None if example.text_pair is None else self._ids(example.text_pair)
        ids = self._joined(self._ids(example.text), pair, self._pictures(example))
        yield {"segments": [ids], "label": example.label}

    def _choices(self, example: Example) -> Iterator[dict[str, Any]]:
        """One segment a choice: text and question, then the choice. The text is cut, and the
        question or a choice only where that is not enough.
        """
        texts = [
            (text, may_be_cut)
            for text, may_be_cut in ((example.text, True), (example.question, False))
            if text
        ]
        choices, pictures = (
            [self._ids(choice) for choice in example.choices],
            self._pictures(example),
        )
        parts = self._parts(texts)
        room = (
            self.most
            - len(self._start)
            - len(self._between)
            - len(self._end)
            - max(map(len, choices))
        )
        if example.question and sum(map(len, parts)) > room:
            parts, self._was_cut = self._shortened(parts, texts, room), True
        context = [token for part in parts for token in part]
        segments = [self._joined(context, choice, pictures) for choice in choices]
        yield {"segments": segments, "label": example.label}

    def _pair(self, example: Example) -> Iterator[dict[str, Any]]:
        sides = [
            self._joined(self._ids(text or ""), None) for text in (example.text_pair, example.text)
        ]
        yield {"segments": sides}

    def _side(self, example: Example) -> Iterator[dict[str, Any]]:
        """A query or a candidate; in training a query and the candidate that answers it. A query
        has a length of its own where the recipe gives one (question_length).
        """
        texts = [(example.text, bool(example.relevant or example.text_pair))]
        texts += [(example.text_pair, False)] if example.text_pair is not None else []
        yield {
            "segments": [self._alone(text, self.question if asks else None) for text, asks in texts]
        }

    def _alone(self, text: str, most: int | None) -> list[int]:
        kept, _ = self._cut(
            self._ids(text), None, (most or self.most) - len(self._start) - len(self._end)
        )
        return [*self._start, *kept, *self._end]

    def _tags(self, example: Example) -> Iterator[dict[str, Any]]:
        """The sentence tokenised whole, words joined by spaces; each word answers at its first
        or last sub-token. A sentence that is too long becomes several pieces, cut between words,
        so that no word is lost.
        """
        text, owner = sentence(example.tokens)
        ids, offsets = self.processor.text_tokens(text)
        before, after = len(self._start), len(self._end)
        room = self.most - before - after
        words = word_tokens(
            ids, offsets, owner, len(example.tokens), self.processor.unknown_word, room
        )
        for piece in pieces(words, room):
            answers: list[int] = []
            for word in piece:
                here = [-1] * len(word.ids)
                here[word.answering(self.subtoken)] = word.word
                answers += here
            labels = [self.tags[example.tags[word]] if word >= 0 else IGNORED for word in answers]
            yield {
                "segments": [
                    [*self._start, *(token for word in piece for token in word.ids), *self._end]
                ],
                "labels": [IGNORED] * before + labels + [IGNORED] * after,
                "words": [-1] * before + answers + [-1] * after,
            }

    def _windows(self, example: Example) -> Iterator[dict[str, Any]]:
        """Question first, then as much of the context as fits, in windows that begin every
        `stride` tokens. All are kept: in training, one that does not hold the whole answer
        points at token 0. BadRow where the answer to train on has no token at all.
        """
        question = self._ids(example.question or "")[: self.question]
        ids, raw = self.processor.text_tokens(example.text)
        offsets = with_attached(example.text, raw)
        head = [*self._start, *question, *self._between]
        room = self.most - len(head) - len(self._end)
        training = self.objective == "head"
        answer = None
        if (
            training and example.answers
        ):  # SQuAD v2: without answers, every window is right to say "not here"
            text, start = example.answers[0]
            answer = answer_tokens(raw, text, start) or answer_tokens(offsets, text, start)
            if answer is None:
                raise BadRow(f"the answer {text!r} has no token in this tokenizer")
        ranges = windows(len(ids), room, int(self.stride or room))
        for (first, end), starts in zip(ranges, fullest_context(ranges), strict=True):
            span = [0, 0]
            if answer is not None and first <= answer[0] and answer[1] < end:
                span = [place - first + len(head) for place in answer]
            self.unanswerable += training and span == [0, 0]
            yield {
                "segments": [[*head, *ids[first:end], *self._end]],
                "offsets": [-1, -1] * len(head)
                + [place for pair in offsets[first:end] for place in pair]
                + [-1, -1] * len(self._end),
                "span": span if training else [],
                "starts": [place - first + len(head) for place in starts],
            }

    def _lm(self, example: Example) -> Iterator[dict[str, Any]]:
        """The answer in words after its prompt, the loss on the answer's tokens. A causal model
        predicts each from the token before; an encoder sees masks in the answer's place and fills
        them in, and of plain text 15 % of its tokens. BadRow where what must be kept whole does not
        fit.
        """
        words = in_words(self.task, example)
        if not words.texts and self.task.modality == "text":
            yield from (
                self._masked_text(words.answer) if self.encoder else self._plain_text(words.answer)
            )
            return
        pictures, target = self._pictures(example), self._ids(words.answer)
        if not self.encoder:
            target.append(self.tokenizer.eos_token_id)
        if not target:
            raise BadRow(f"the answer {words.answer!r} has no token in this tokenizer")
        room = self.most_in_words - len(self._start) - len(self._between) - len(self._end)
        after = self._ids(words.instruction) if words.instruction else []
        asked = " ".join(text for text, may_be_cut in words.texts if not may_be_cut)
        fixed = len(self._ids(asked)) + len(after) + len(target)
        if fixed > room - (_ROOM_FOR_CAPTION if self.task.modality == "image" else 0):
            raise BadRow(
                f"question, instruction and answer are {fixed} tokens, the answer {len(target)} of them; the limit of "
                f"{self.most_in_words} (lm_length) leaves {room}"
            )
        if self.encoder and not words.texts and not pictures:  # a caption whose picture is removed
            yield from self._masked_text(words.answer)
            return
        parts = self._parts(words.texts)
        kept = [
            after,
            *(
                part
                for part, (_, may_be_cut) in zip(parts, words.texts, strict=True)
                if not may_be_cut
            ),
        ]
        left = room - len(after) - len(target)
        if sum(map(len, parts)) > left:
            parts, self._was_cut = self._shortened(parts, words.texts, left), True
        before = [token for part in parts for token in part]
        lead = [
            *self._start,
            *pictures,
            *before,
            *after,
            *(self._between if before or after else []),
        ]
        if not lead:
            lead = list(self.processor.newline)
        if self.encoder:
            ids = [*lead, *[self.tokenizer.mask_token_id] * len(target), *self._end]
            labels = [IGNORED] * len(lead) + target + [IGNORED] * len(self._end)
        else:
            ids = [*lead, *target[:-1]]
            labels = [IGNORED] * (len(lead) - 1) + target
            kept.append(target[:-1])
        yield {"segments": [ids], "labels": labels, "supervised": len(target), "kept": kept}

    def _parts(self, texts: Sequence[tuple[str, bool]]) -> list[list[int]]:
        """The tokens of texts joined by spaces, tokenised as a whole, text by text: a token
        belongs to the text in which it ends.
        """
        joined = " ".join(text for text, _ in texts)
        ids, offsets = self.processor.text_tokens(joined)
        parts: list[list[int]] = [[] for _ in texts]
        lasts = list(accumulate(len(text) + 1 for text, _ in texts))
        seen = 0  # a token without characters stays with the one before
        for token, (_, end) in zip(ids, offsets, strict=True):
            seen = max(seen, end)
            parts[min(bisect_left(lasts, seen), len(parts) - 1)].append(token)
        return parts

    def _shortened(
        self, parts: Sequence[list[int]], texts: Sequence[tuple[str, bool]], room: int
    ) -> list[list[int]]:  # fmt: skip
        """The parts with at most `room` tokens in all. Texts that may be cut lose their last
        tokens, the longer of two first; the others keep theirs, even where they alone exceed the
        room.
        """
        loose = [place for place, (_, may_be_cut) in enumerate(texts) if may_be_cut]
        left = max(
            0, room - sum(len(part) for place, part in enumerate(parts) if place not in loose)
        )
        shorter = list(parts)
        if len(loose) == 2:
            first, second = self._cut(parts[loose[0]], parts[loose[1]], left)
            shorter[loose[0]], shorter[loose[1]] = first, second or []
        for place in loose if len(loose) == 1 else ():
            shorter[place] = parts[place][:left]
        return shorter

    def _plain_text(self, text: str) -> Iterator[dict[str, Any]]:
        """Plain text for a decoder, all of it, in windows; each follows a line break, and the
        last ends the text.
        """
        lead, tokens = list(self.processor.newline), [*self._ids(text), self.tokenizer.eos_token_id]
        room = max(1, self.most - len(lead) + 1)
        for first in range(0, len(tokens), room):
            target = tokens[first : first + room]
            labels = [IGNORED] * (len(lead) - 1) + target
            yield {"segments": [[*lead, *target[:-1]]], "labels": labels, "supervised": len(target)}

    def _masked_text(self, text: str) -> Iterator[dict[str, Any]]:
        """Plain text for an encoder, all of it, in windows: masked language modelling, the masks
        drawn from the example's place, at least one in each window. BadRow for a text without
        tokens.
        """
        tokens, room = self._ids(text), max(1, self.most - len(self._start) - len(self._end))
        if not tokens:
            raise BadRow("the text has no token in this tokenizer")
        draws = random.Random(f"mask/{self._place}")
        before, after = [IGNORED] * len(self._start), [IGNORED] * len(self._end)
        for first in range(0, len(tokens), room):
            seen, labels = [], []
            for token in tokens[first : first + room]:
                predicted, how = draws.random() < _PREDICTED, draws.random()
                other = draws.randrange(len(self.tokenizer))
                masked = how < _MASKED
                changed = (
                    self.tokenizer.mask_token_id
                    if masked
                    else other
                    if how < _MASKED + _REPLACED
                    else token
                )
                seen.append(changed if predicted else token)
                labels.append(token if predicted else IGNORED)
            if all(label == IGNORED for label in labels):
                place = draws.randrange(len(labels))
                labels[place], seen[place] = tokens[first + place], self.tokenizer.mask_token_id
            count = sum(label != IGNORED for label in labels)
            yield {
                "segments": [[*self._start, *seen, *self._end]],
                "labels": before + labels + after,
                "supervised": count,
            }


def _contains(tokens: Sequence[int], part: Sequence[int]) -> bool:
    """Whether a part is a run of the tokens."""
    if not part:
        return True
    size = len(part)
    return any(
        tokens[at] == part[0] and tokens[at : at + size] == part
        for at in range(len(tokens) - size + 1)
    )
