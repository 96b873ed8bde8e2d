"""Canonical records × a backbone's processor → rows of token ids, as Parquet.

Columns of encoded.parquet (one row per training or scoring row; a window of a long context and a piece of a long
sentence are rows of their own, with the same `row`):
row: position of the example in records.parquet. segments: token ids, one list per choice (multiple choice), English and
foreign (retrieval), else one. length: all tokens. images, grids: SHA-256 and patches (t, h, w) of each picture. label:
class or choice, -1 none. labels: per token of the segment, -100 where no loss is; tag ids, or for `lm` the token that is
to be predicted there. span: token places of the answer, (0, 0) where the window does not hold it. offsets: (start, end)
characters of each token of the context, -1 elsewhere. starts: token range (first, end) in which an answer may start, empty
for everywhere: a token in several windows counts in the one that shows most around it. words: word that a token answers
for, -1 elsewhere. supervised: tokens with a loss (`lm`), else 1.

A special token that a text spells out (`<image>`, `</s>`) is text: only this module's own frame holds control tokens.
"""

import random
from collections.abc import Callable, Iterator, Sequence
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
from xstilts.data.records import read_records
from xstilts.plan.step import Step
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Example, Task

IGNORED = -100
#: What `lm` answers where the context does not answer the question (SQuAD v2).
NO_ANSWER = "unanswerable"
#: Shares of masked language modelling (Devlin et al. 2019 §3.1): tokens that are predicted; of these masked, replaced.
_PREDICTED, _MASKED, _REPLACED = 0.15, 0.8, 0.1
_INTS, _LISTS = pa.list_(pa.int32()), pa.list_(pa.list_(pa.int32()))
_SCHEMA = pa.schema(
    {
        "row": pa.int32(), "language": pa.string(), "segments": _LISTS, "length": pa.int32(),
        "images": pa.list_(pa.string()), "grids": _LISTS, "label": pa.int32(), "labels": _INTS, "span": _INTS,
        "offsets": _INTS, "words": _INTS, "supervised": pa.int32(), "starts": _INTS,
    }
)  # fmt: skip


class TextImageProcessor(Protocol):
    """What encoding needs of a backbone's processor; see xstilts.models.processor."""

    @property
    def family(self) -> str: ...
    @property
    def tokenizer(self) -> Any: ...
    @property
    def newline(self) -> list[int]: ...
    @property
    def unknown_word(self) -> int: ...
    def text_tokens(self, text: str) -> tuple[list[int], list[tuple[int, int]]]: ...
    def image_placeholder(self, data: bytes) -> list[int]: ...
    def grid(self, data: bytes) -> list[int]: ...


def encode(
    step: Step, records: Path, processor: TextImageProcessor, out: Path, keep: Sequence[bool] | None = None
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Does an encode step. keep: which of the records are encoded; None: all. info: rows, examples, tokens, truncated
    rows, training windows without their answer, examples left out for having nothing to learn, share of unknown tokens,
    classes of an open set of tags."""
    spec, task = step.spec, TASKS[step.spec["task"]]
    examples = read_records(records)
    tags = task.labels or tuple(sorted({tag for example in examples for tag in example.tags}))
    encoder = Encoder(task, processor, spec["objective"], spec["lengths"], spec["subtoken"], tags)
    references = pq.read_table(records, columns=["images"]).column("images").to_pylist()
    places = [place for place in range(len(examples)) if keep is None or keep[place]]
    rows = []
    for place in places:
        for row in encoder.rows(examples[place], place):
            rows.append({"row": place, "language": spec["language"], "images": references[place], **row})
    if not rows:
        raise ValueError(f"{spec['task']} {spec['split']} {spec['language']}: no row is left after encoding")
    path = out / "encoded.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), path)
    tokens = sum(row["length"] for row in rows)
    info = {
        "rows": len(rows), "examples": len(places), "tokens": tokens, "truncated": encoder.truncated,
        "unanswerable_windows": encoder.unanswerable, "left_out": encoder.left_out,
        "unknown_share": encoder.unknown / max(1, tokens), "classes": len(tags),
        **({} if task.labels or not tags else {"tags": list(tags)}),
    }  # fmt: skip
    return {"encoded.parquet": path}, info


class Encoder:
    """Encodes the examples of one task for one backbone."""

    def __init__(
        self, task: Task, processor: TextImageProcessor, objective: str, lengths: dict[str, Any], subtoken: str,
        tags: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.tags = {tag: place for place, tag in enumerate(tags or task.labels)}
        self.task, self.processor, self.objective, self.subtoken = task, processor, objective, subtoken
        self.tokenizer = processor.tokenizer
        self.encoder = processor.family == "xlm_r"  # <s> a </s></s> b </s>; decoders: a newline b <eos>
        self.most = int(lengths["max_length"])
        self.stride, self.question = lengths.get("stride"), lengths.get("question_length")
        self.truncated = self.left_out = self.unanswerable = self.unknown = 0
        self._was_cut = False  # the row that is being made
        self._place = 0  # of the example in its records

    def rows(self, example: Example, place: int = 0) -> Iterator[dict[str, Any]]:
        """The encoded rows of one example. place: its position in the records, from which masks of plain text are drawn."""
        self._place = place
        make: Callable[[Example], Iterator[dict[str, Any]]]
        if self.objective == "lm":
            make = self._lm
        else:
            make = {
                "classification": self._classification, "multiple_choice": self._choices, "tagging": self._tags,
                "span": self._windows, "retrieval": self._pair, "ranking": self._side,
                "mining": self._side,
            }[self.task.format]  # fmt: skip
        for row in make(example):
            segments = row["segments"]
            self.truncated += self._was_cut
            self._was_cut = False
            unknown = self.tokenizer.unk_token_id
            if unknown is not None:
                self.unknown += sum(segment.count(unknown) for segment in segments)
            yield {
                "length": sum(map(len, segments)), "grids": [self.processor.grid(data) for data in example.images],
                "label": -1, "labels": [], "span": [], "offsets": [], "words": [], "supervised": 1,
                "starts": [], **row,
            }  # fmt: skip

    # ---- pieces ----

    def _ids(self, text: str) -> list[int]:
        return self.processor.text_tokens(text)[0]

    def _pictures(self, example: Example) -> list[int]:
        return [token for data in example.images for token in self.processor.image_placeholder(data)]

    @property
    def _start(self) -> list[int]:
        return [self.tokenizer.bos_token_id] if self.encoder else []

    @property
    def _between(self) -> list[int]:
        return [self.tokenizer.eos_token_id] * 2 if self.encoder else list(self.processor.newline)

    @property
    def _end(self) -> list[int]:
        return [self.tokenizer.eos_token_id]

    def _joined(self, first: list[int], second: list[int] | None, pictures: Sequence[int] = ()) -> list[int]:
        """One sequence of one or two texts. The longer text is cut until it fits; pictures and specials never are."""
        fixed = len(self._start) + len(self._end) + len(pictures) + (len(self._between) if second is not None else 0)
        first, second = self._cut(first, second, self.most - fixed)
        middle = [*self._between, *second] if second is not None else []
        return [*self._start, *pictures, *first, *middle, *self._end]

    def _cut(self, first: list[int], second: list[int] | None, room: int) -> tuple[list[int], list[int] | None]:
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
        context = self._ids(" ".join(part for part in (example.text, example.question) if part))
        pictures = self._pictures(example)
        segments = [self._joined(context, self._ids(choice), pictures) for choice in example.choices]
        yield {"segments": segments, "label": example.label}

    def _pair(self, example: Example) -> Iterator[dict[str, Any]]:
        sides = [self._joined(self._ids(text or ""), None) for text in (example.text_pair, example.text)]
        yield {"segments": sides}

    def _side(self, example: Example) -> Iterator[dict[str, Any]]:
        """A query or a candidate; in training a query and the candidate that answers it. A query has a length of its own
        where the recipe gives one (question_length)."""
        texts = [(example.text, bool(example.relevant or example.text_pair))]
        texts += [(example.text_pair, False)] if example.text_pair else []
        yield {"segments": [self._alone(text, self.question if asks else None) for text, asks in texts]}

    def _alone(self, text: str, most: int | None) -> list[int]:
        kept, _ = self._cut(self._ids(text), None, (most or self.most) - len(self._start) - len(self._end))
        return [*self._start, *kept, *self._end]

    def _tags(self, example: Example) -> Iterator[dict[str, Any]]:
        """The sentence tokenised whole, words joined by spaces; each word answers at its first or last sub-token. A
        sentence that is too long becomes several pieces, cut between words, so that no word is lost."""
        text, owner = sentence(example.tokens)
        ids, offsets = self.processor.text_tokens(text)
        before, after = len(self._start), len(self._end)
        room = self.most - before - after
        words = word_tokens(ids, offsets, owner, len(example.tokens), self.processor.unknown_word, room)
        for piece in pieces(words, room):
            answers: list[int] = []
            for word in piece:
                here = [-1] * len(word.ids)
                here[word.answering(self.subtoken)] = word.word
                answers += here
            labels = [self.tags[example.tags[word]] if word >= 0 else IGNORED for word in answers]
            yield {
                "segments": [[*self._start, *(token for word in piece for token in word.ids), *self._end]],
                "labels": [IGNORED] * before + labels + [IGNORED] * after,
                "words": [-1] * before + answers + [-1] * after,
            }

    def _windows(self, example: Example) -> Iterator[dict[str, Any]]:
        """Question first, then as much of the context as fits, in windows that begin every `stride` tokens. All are kept:
        in training, one that does not hold the whole answer points at token 0. An example whose answer has no token at
        all is left out of training."""
        question = self._ids(example.question or "")[: self.question]
        ids, raw = self.processor.text_tokens(example.text)
        offsets = with_attached(example.text, raw)
        head = [*self._start, *question, *self._between]
        room = self.most - len(head) - len(self._end)
        training = self.objective == "head"
        answer = None
        if training and example.answers:  # SQuAD v2: without answers, every window is right to say "not here"
            text, start = example.answers[0]
            answer = answer_tokens(raw, text, start) or answer_tokens(offsets, text, start)
            if answer is None:
                self.left_out += 1
                return
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
        """The answer in words after its prompt, the loss on the answer's tokens. A causal model predicts each from the
        token before; XLM-R sees <mask> in the answer's place and fills it in, and of plain text 15 % of its tokens. What
        is too long is cut at the end of the text, never in the instruction."""
        prompt, instruction, answer = verbalise(self.task, example)
        pictures = self._pictures(example)
        if self.encoder and not prompt and not pictures:
            yield from self._masked_text(answer)
            return
        target = self._ids(answer) if self.encoder else [*self._ids(answer), self.tokenizer.eos_token_id]
        room = self.most - len(pictures) - len(self._start) - len(self._between) - len(self._end)
        before, after = (self._ids(text) if text else [] for text in (prompt, instruction))
        whole = len(target) + len(before) + len(after)
        target = target[: max(1, room // 2)]
        after = after[: max(0, room - len(target))]
        before = before[: max(0, room - len(target) - len(after))] + after
        self._was_cut = len(target) + len(before) < whole
        lead = [*self._start, *pictures, *before, *(self._between if before else [])]
        if not lead:
            lead = list(self.processor.newline)
        if self.encoder:
            ids = [*lead, *[self.tokenizer.mask_token_id] * len(target), *self._end]
            labels = [IGNORED] * len(lead) + target + [IGNORED] * len(self._end)
        else:
            ids = [*lead, *target[:-1]]
            labels = [IGNORED] * (len(lead) - 1) + target
        yield {"segments": [ids], "labels": labels, "supervised": len(target)}

    def _masked_text(self, text: str) -> Iterator[dict[str, Any]]:
        """Plain text for an encoder: masked language modelling, the masks drawn from the example's place."""
        ids, room = self._ids(text), self.most - len(self._start) - len(self._end)
        self._was_cut = len(ids) > room
        ids = ids[:room]
        draws = random.Random(f"mask/{self._place}")
        seen, labels = [], []
        for token in ids:
            predicted, how = draws.random() < _PREDICTED, draws.random()
            other = draws.randrange(len(self.tokenizer))
            changed = self.tokenizer.mask_token_id if how < _MASKED else other if how < _MASKED + _REPLACED else token
            seen.append(changed if predicted else token)
            labels.append(token if predicted else IGNORED)
        count = sum(label != IGNORED for label in labels)
        if not count:
            self.left_out += 1
            return
        before, after = [IGNORED] * len(self._start), [IGNORED] * len(self._end)
        yield {
            "segments": [[*self._start, *seen, *self._end]], "labels": before + labels + after, "supervised": count,
        }  # fmt: skip


def verbalise(task: Task, example: Example) -> tuple[str, str, str]:
    """(text, instruction, answer) of an example in words, for the `lm` objective."""
    if task.format == "generation":
        return example.text, task.instruction if example.text else "", example.targets[0]
    label = example.label if example.label is not None else -1
    if task.format == "classification":
        texts = [example.text, *([example.text_pair] if example.text_pair else [])]
        return " ".join(texts), task.instruction, task.verbalised[label]
    if task.format == "multiple_choice":
        texts = [example.text, *([example.question] if example.question else [])]
        options = " ".join(f"({chr(65 + i)}) {choice}" for i, choice in enumerate(example.choices))
        return " ".join(texts), f"{options} {task.instruction}", example.choices[label]
    if task.format == "tagging":
        return " ".join(example.tokens), task.instruction, " ".join(example.tags)
    if task.format == "span":
        answer = example.answers[0][0] if example.answers else NO_ANSWER
        return f"{example.question} {example.text}", task.instruction, answer
    raise ValueError(f"{task.name}: format {task.format} has no answer in words")
