"""Task heads on the states of a flat batch. They see tokens and segment boundaries; padding does
not exist for them.

A row is one training or scoring example; it has one segment, or one for each choice. Each head
gives `loss(states, rows)` → [R], one loss per row, so that whoever calls it can divide by the count
of a whole optimiser step, and `predict(states, rows)` → one JSON value per row. Generation and
retrieval have no parameters: they are functions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xstilts.data.encoded import EncodedRow
from xstilts.models.backbone import Backbone
from xstilts.random_streams import generator

#: Where the vector of a segment comes from: the backbone's own token (`<s>`, or the last token of a
#: causal model), the mean over the segment, or both.
POOLINGS = ("pooled", "mean", "pooled+mean")


@dataclass(frozen=True)
class Rows:
    """What heads need of the rows of a flat batch, besides states.

    cu_seq_lens [S + 1]; segments: how many segments each row has (their sum is S); label [R];
    labels, words [T]: -100 and -1 where there is none; span [R, 2] token places in the row; offsets
    [T, 2] characters, -1 outside a context; answer_starts [R, 2] the places (first, end) in the row
    at which an answer may start. Only what the rows' format has is filled; the rest is as if empty.
    """

    cu_seq_lens: Tensor
    segments: list[int]
    label: Tensor
    labels: Tensor
    words: Tensor
    span: Tensor
    offsets: Tensor
    answer_starts: Tensor

    @property
    def starts(self) -> Tensor:
        """[S] the first token of each segment."""
        return self.cu_seq_lens[:-1].long()

    @property
    def lengths(self) -> Tensor:
        """[S] tokens of each segment."""
        return self.cu_seq_lens.diff().long()

    def row_of_token(self) -> Tensor:
        """[T] the row of each token."""
        rows = torch.arange(len(self.segments), device=self.cu_seq_lens.device)
        counts = torch.tensor(self.segments, device=self.cu_seq_lens.device)
        return rows.repeat_interleave(counts).repeat_interleave(self.lengths)


def rows_of(encoded: Sequence[EncodedRow], device: torch.device | str = "cpu") -> Rows:
    """The head's view of encoded rows, in the order in which their segments are packed."""
    lengths = [len(segment) for row in encoded for segment in row.segments]

    def flat(values: str, empty: int) -> Tensor:
        parts = [
            [
                *getattr(row, values),
                *([empty] * (sum(map(len, row.segments)) - len(getattr(row, values)))),
            ]
            for row in encoded
        ]
        return torch.tensor([v for part in parts for v in part], dtype=torch.long)

    offsets = [
        torch.tensor(
            [*row.offsets, *([-1] * (2 * sum(map(len, row.segments)) - len(row.offsets)))]
        ).view(-1, 2)
        for row in encoded
    ]
    return Rows(
        cu_seq_lens=torch.tensor([0, *lengths]).cumsum(0).to(device),
        segments=[len(row.segments) for row in encoded],
        label=torch.tensor([row.label for row in encoded]).to(device),
        labels=flat("labels", -100).to(device),
        words=flat("words", -1).to(device),
        span=torch.tensor([row.span or [0, 0] for row in encoded]).to(device),
        offsets=torch.cat(offsets).to(device),
        answer_starts=torch.tensor([row.starts or [0, row.length] for row in encoded]).to(device),
    )


def pool(states: Tensor, rows: Rows, token: str, pooling: str = "pooled") -> Tensor:
    """[S, width], or [S, 2·width] for `pooled+mean`: each segment's `first` or `last` state, or
    their mean, in float32.
    """
    if pooling == "mean":
        return mean(states, rows)
    index = rows.starts if token == "first" else rows.cu_seq_lens[1:].long() - 1
    one = states[index].float()
    return one if pooling == "pooled" else torch.cat([one, mean(states, rows)], -1)


def mean(states: Tensor, rows: Rows) -> Tensor:
    """[S, width]: the mean state of each segment, special tokens included, in float32."""
    segment = torch.arange(len(rows.lengths), device=states.device).repeat_interleave(rows.lengths)
    total = torch.zeros(len(rows.lengths), states.shape[-1], device=states.device)
    return total.index_add(0, segment, states.float()) / rows.lengths[:, None]


class Classification(nn.Module):
    """One of `classes` labels from a segment's pooled state."""

    def __init__(self, width: int, classes: int, token: str, pooling: str) -> None:
        super().__init__()
        self.token, self.pooling = token, pooling
        self.out = nn.Linear(width * (2 if pooling == "pooled+mean" else 1), classes)

    def forward(self, states: Tensor, rows: Rows) -> Tensor:
        """Logits [R, classes]."""
        logits: Tensor = self.out(pool(states, rows, self.token, self.pooling))
        return logits

    def loss(self, states: Tensor, rows: Rows) -> Tensor:
        return F.cross_entropy(self(states, rows), rows.label, reduction="none")

    def predict(self, states: Tensor, rows: Rows) -> list[int]:
        best: list[int] = self(states, rows).argmax(-1).tolist()
        return best


class MultipleChoice(Classification):
    """One of a row's segments: a scalar for each, a softmax over them. Rows may differ in their
    number of choices.
    """

    def __init__(self, width: int, token: str, pooling: str) -> None:
        super().__init__(width, 1, token, pooling)

    def forward(self, states: Tensor, rows: Rows) -> Tensor:
        """Logits [R, most choices], -inf where a row has no such choice."""
        scores = super().forward(states, rows)[:, 0].split(rows.segments)
        return nn.utils.rnn.pad_sequence(
            list(scores), batch_first=True, padding_value=float("-inf")
        )


class Tagging(nn.Module):
    """A label for each word, read at the sub-token that carries it."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, classes)

    def loss(self, states: Tensor, rows: Rows) -> Tensor:
        """[R]: the mean over a row's labelled words, so that every sentence weighs the same; 0
        for a row of none.
        """
        at = rows.labels != -100
        each = F.cross_entropy(self.out(states[at].float()), rows.labels[at], reduction="none")
        row, count = rows.row_of_token()[at], len(rows.segments)
        total = torch.zeros(count, device=states.device).index_add(0, row, each)
        return total / torch.bincount(row, minlength=count).clamp(min=1)

    def predict(self, states: Tensor, rows: Rows) -> list[dict[int, int]]:
        """For each row word index → label id; a word that truncation cut off is absent."""
        at = rows.words >= 0
        best = self.out(states[at].float()).argmax(-1).tolist()
        tags: list[dict[int, int]] = [{} for _ in rows.segments]
        for row, word, label in zip(
            rows.row_of_token()[at].tolist(), rows.words[at].tolist(), best, strict=True
        ):
            tags[row][word] = label
        return tags


@dataclass(frozen=True)
class AnswerLimit:
    """The most tokens or characters of a predicted answer; None: any number."""

    tokens: int | None = None
    characters: int | None = None

    def allows(self, tokens: Any, characters: Any) -> Any:
        """Whether an answer of so many tokens and characters is within the limit; int → bool,
        Tensor → Tensor.
        """
        within = tokens > 0
        if self.tokens is not None:
            within = within & (tokens <= self.tokens)
        if self.characters is not None:
            within = within & (characters <= self.characters)
        return within


class Span(nn.Module):
    """Start and end of an answer. The end sees the start's state, because under a causal mask the
    start's own token has not seen what stands to its right.

    A window's probabilities are over its context's tokens and token 0, which stands for "not in
    this window".
    """

    def __init__(self, width: int, n_best: int = 20) -> None:
        super().__init__()
        self.n_best = n_best
        self.start, self.end = nn.Linear(width, 1), nn.Linear(width, 1)
        self.joint = nn.Linear(2 * width, width)
        self.joint_out = nn.Linear(width, 1, bias=False)

    def _end(self, states: Tensor, starts: Tensor) -> Tensor:
        """End logits [..., n] of states [..., n, width] given the state of their start,
        broadcast to them.
        """
        first, second = self.joint.weight.chunk(2, -1)
        mixed = torch.tanh(states @ first.T + starts @ second.T + self.joint.bias)
        logits: Tensor = (self.end(states) + self.joint_out(mixed))[..., 0]
        return logits

    def loss(self, states: Tensor, rows: Rows) -> Tensor:
        """[R]: half the sum of both cross-entropies, the end given the true start."""
        states, row = states.float(), rows.row_of_token()
        shut = rows.offsets[:, 0] < 0
        shut[rows.starts] = False
        start, end = (rows.starts[:, None] + rows.span).unbind(-1)
        if bool(shut[start].any() | shut[end].any()):
            raise ValueError("an answer's tokens are not in the context of its window")
        place = torch.arange(len(row), device=row.device) - rows.starts[row]

        def log_probability(logits: Tensor, at: Tensor) -> Tensor:
            table = logits.new_full((len(rows.segments), int(rows.lengths.max())), float("-inf"))
            table = table.index_put((row, place), logits.masked_fill(shut, float("-inf")))
            return logits[at] - table.logsumexp(-1)

        starts = log_probability(self.start(states)[:, 0], start)
        ends = log_probability(self._end(states, states[start][row]), end)
        return -(starts + ends) / 2

    def predict(
        self, states: Tensor, rows: Rows, limit: AnswerLimit | None = None
    ) -> list[dict[str, Any]]:
        """For each window {"start", "end": characters of the context, "score": log-probability,
        "null": that of no answer here}: the best answer within `limit` from the `n_best`
        likeliest starts among the row's `answer_starts`; start = end = 0 and -inf where no
        answer can start.
        """
        lengths = rows.lengths.tolist()
        parts = (
            states.float().split(lengths),
            rows.offsets.split(lengths),
            rows.answer_starts.tolist(),
        )
        return [self._best(*window, limit or AnswerLimit()) for window in zip(*parts, strict=True)]

    def _best(
        self, window: Tensor, places: Tensor, answer_starts: Sequence[int], limit: AnswerLimit
    ) -> dict[str, Any]:
        allowed = places[:, 0] >= 0
        shut = ~allowed
        shut[0] = False
        token = torch.arange(len(window), device=window.device)
        starts = self.start(window)[:, 0].masked_fill(shut, float("-inf")).log_softmax(-1)
        none = self._end(window, window[:1]).masked_fill(shut, float("-inf")).log_softmax(-1)
        null = (starts[0] + none[0]).item()
        may_start = allowed & (token >= answer_starts[0]) & (token < answer_starts[1])
        starts = starts.masked_fill(~may_start, float("-inf"))
        score, first = starts.topk(min(self.n_best, len(starts)))
        ends = (
            self._end(window, window[first][:, None])
            .masked_fill(shut, float("-inf"))
            .log_softmax(-1)
        )
        fits = allowed & limit.allows(
            token - first[:, None] + 1, places[:, 1] - places[first, 0][:, None]
        )
        total = (score[:, None] + ends).masked_fill(~fits, float("-inf"))
        best = int(total.argmax())
        value = total.view(-1)[best].item()
        if math.isinf(value):
            return {"start": 0, "end": 0, "score": value, "null": null}
        start, end = int(first[best // len(window)]), best % len(window)
        return {
            "start": int(places[start, 0]),
            "end": int(places[end, 1]),
            "score": value,
            "null": null,
        }


def join_windows(windows: Sequence[tuple[int, dict[str, Any]]]) -> dict[int, dict[str, Any]]:
    """(row of the example, a window's prediction) → row → its best window's; the earlier one of
    equals. "null" is the smallest of any window, as SQuAD v2's official script takes it.
    """
    best: dict[int, dict[str, Any]] = {}
    for row, prediction in windows:
        null = min(prediction["null"], best[row]["null"] if row in best else math.inf)
        if row not in best or prediction["score"] > best[row]["score"]:
            best[row] = dict(prediction)
        best[row]["null"] = null
    return best


def lm_loss(backbone: Backbone, states: Tensor, rows: Rows) -> tuple[Tensor, int]:
    """Summed cross-entropy of the supervised tokens and their number; logits are made at those
    only.
    """
    at = rows.labels != -100
    logits = backbone.lm_logits(states[at]).float()
    return F.cross_entropy(logits, rows.labels[at], reduction="sum"), int(at.sum())


def embed(states: Tensor, rows: Rows, token: str = "first", pooling: str = "mean") -> Tensor:
    """[S, width] unit vectors in float32. By default the mean over each segment, special tokens
    included (XTREME-R's Tatoeba); token and pooling as in `pool` (the dual encoders of LAReQA
    and Mewsli-X: `<s>`, xtreme third_party/bert.py), but `pooled+mean` is the mean alone:
    vectors have the model's width.
    """
    return F.normalize(
        pool(states, rows, token, "mean" if pooling == "pooled+mean" else pooling), dim=-1
    )


Head = Classification | MultipleChoice | Tagging | Span


def make_head(
    format: str,
    objective: str,
    width: int,
    classes: int = 0,
    token: str = "last",
    pooling: str = "pooled",
) -> Head | None:
    """The head of a task format, or None where there is nothing to learn: objective `lm`,
    generation, retrieval.

    `token` is the backbone's `pool`. ValueError names what is allowed.
    """
    if pooling not in POOLINGS or objective not in ("head", "lm"):
        raise ValueError(
            f"pooling {pooling!r} is not one of {POOLINGS}, or objective {objective!r} not head or lm"
        )
    if objective == "lm" or format in ("generation", "retrieval", "ranking", "mining"):
        return None
    if format == "classification":
        return Classification(width, classes, token, pooling)
    if format == "multiple_choice":
        return MultipleChoice(width, token, pooling)
    if format == "tagging":
        return Tagging(width, classes)
    if format == "span":
        return Span(width)
    raise ValueError(f"format {format!r} has no head")


def initialise(head: nn.Module, seed: int, stage: str) -> None:
    """Fills a head from the stream ('head', seed, stage): biases 0, weights normal with
    deviation 0.02, as BERT's heads; 1/√in for the span head's inner layer, which would not wake
    up otherwise.
    """
    stream = generator("head", seed, stage)
    with torch.no_grad():
        for name, parameter in sorted(head.named_parameters()):
            deviation = parameter.shape[-1] ** -0.5 if name.startswith("joint.") else 0.02
            fresh = torch.zeros(parameter.shape)
            if parameter.ndim > 1:
                fresh.normal_(0.0, deviation, generator=stream)
            parameter.copy_(fresh)
