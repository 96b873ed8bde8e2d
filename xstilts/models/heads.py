"""Task heads on the hidden states of a flat batch. They see tokens and segment boundaries, never
padding.

A row is one training or scoring example, with one segment, or one for each choice. Every head has
`loss(states, inputs)` → [R], one loss per row, so that callers can divide by the count of a whole
optimizer step, and `predict(states, inputs)` → one JSON value per row. Generation and retrieval
have no parameters: they are functions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xstilts.data.encoded import EncodedRow
from xstilts.models.backbone import Backbone
from xstilts.random_streams import generator

#: Where the vector of a segment comes from: the backbone's pooling token (`<s>`, or the last token
#: of a causal model), the mean over the segment, or both.
POOLINGS = ("pooled", "mean", "pooled+mean")


@dataclass(frozen=True)
class HeadInputs:
    """What heads need of the rows of a flat batch, besides hidden states. Fields that the rows'
    format does not have are filled with the values for none.

    Indices and counts are computed on the host, where the rows are. Computing them from tensors on
    a GPU would wait for it.

    Attributes:
        cu_seq_lens: [S + 1] segment boundaries.
        lengths: [S] tokens of each segment.
        segments: Number of segments of each row; their sum is S.
        row_of_token: [T] the row of each token.
        segment_of_token: [T] the segment of each token.
        label: [R] class or choice.
        labels: [T] tag ids or tokens to predict, -100 for none.
        supervised: Places of the tokens with labels.
        labeled: [R] number of tokens with labels in each row.
        words: [T] the word that a token answers for, -1 for none.
        span: [R, 2] token places of the answer in the row.
        span_inside: Whether each answer is at a place where its window may answer.
        offsets: [T, 2] characters, -1 outside a context.
        answer_starts: [R, 2] places (first, end) in the row at which an answer may start.
        longest: Tokens of the longest segment.
    """

    cu_seq_lens: Tensor
    lengths: Tensor
    segments: list[int]
    row_of_token: Tensor
    segment_of_token: Tensor
    label: Tensor
    labels: Tensor
    supervised: Tensor
    labeled: Tensor
    words: Tensor
    span: Tensor
    span_inside: bool
    offsets: Tensor
    answer_starts: Tensor
    longest: int

    @property
    def starts(self) -> Tensor:
        """[S] the first token of each segment."""
        return self.cu_seq_lens[:-1]

    def to(self, device: torch.device | str) -> "HeadInputs":
        """The same inputs on a device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {
            n: v.to(device, non_blocking=True) for n, v in values.items() if isinstance(v, Tensor)
        }
        return replace(self, **moved)


def head_inputs(encoded: Sequence[EncodedRow], device: torch.device | str = "cpu") -> HeadInputs:
    """The heads' view of encoded rows, in the order in which their segments are packed."""
    sizes = [len(segment) for row in encoded for segment in row.segments]
    segments = torch.tensor([len(row.segments) for row in encoded])
    lengths = torch.tensor(sizes)
    segment_of_token = torch.arange(len(sizes)).repeat_interleave(lengths)
    row_of_token = torch.arange(len(encoded)).repeat_interleave(segments)[segment_of_token]
    boundaries = torch.tensor([0, *sizes]).cumsum(0)

    def flat(values: str, empty: int) -> Tensor:
        parts = [
            [
                *getattr(row, values),
                *([empty] * (sum(map(len, row.segments)) - len(getattr(row, values)))),
            ]
            for row in encoded
        ]
        return torch.tensor([v for part in parts for v in part], dtype=torch.long)

    offsets = torch.cat(
        [
            torch.tensor(
                [*row.offsets, *([-1] * (2 * sum(map(len, row.segments)) - len(row.offsets)))]
            ).view(-1, 2)
            for row in encoded
        ]
    )
    labels = flat("labels", -100)
    supervised = (labels != -100).nonzero()[:, 0]
    span = torch.tensor([row.span or [0, 0] for row in encoded])
    inputs = HeadInputs(
        cu_seq_lens=boundaries,
        lengths=lengths,
        segments=segments.tolist(),
        row_of_token=row_of_token,
        segment_of_token=segment_of_token,
        label=torch.tensor([row.label for row in encoded]),
        labels=labels,
        supervised=supervised,
        labeled=torch.bincount(row_of_token[supervised], minlength=len(encoded)),
        words=flat("words", -1),
        span=span,
        span_inside=_inside(span, offsets, boundaries, segments),
        offsets=offsets,
        answer_starts=torch.tensor([row.starts or [0, row.length] for row in encoded]),
        longest=max(sizes),
    )
    return inputs.to(device)


def _inside(span: Tensor, offsets: Tensor, boundaries: Tensor, segments: Tensor) -> bool:
    """Whether the ends of each span are in the context of its window, or at its first token."""
    first = boundaries[segments.cumsum(0) - segments]
    at = first[:, None] + span
    inside = (span >= 0) & (at < len(offsets))
    return bool((inside & ((offsets[at.clamp(0, len(offsets) - 1), 0] >= 0) | (span == 0))).all())


def pool(states: Tensor, inputs: HeadInputs, token: str, pooling: str = "pooled") -> Tensor:
    """[S, width], or [S, 2·width] for `pooled+mean`: each segment's `first` or `last` state, or
    their mean, in float32.
    """
    if pooling == "mean":
        return mean(states, inputs)
    index = inputs.starts if token == "first" else inputs.cu_seq_lens[1:] - 1
    pooled = states[index].float()
    return pooled if pooling == "pooled" else torch.cat([pooled, mean(states, inputs)], -1)


def mean(states: Tensor, inputs: HeadInputs) -> Tensor:
    """[S, width]: the mean state of each segment, special tokens included, in float32."""
    total = torch.zeros(len(inputs.lengths), states.shape[-1], device=states.device)
    return total.index_add(0, inputs.segment_of_token, states.float()) / inputs.lengths[:, None]


class Classification(nn.Module):
    """One of `classes` labels from a segment's pooled state."""

    def __init__(self, width: int, classes: int, token: str, pooling: str) -> None:
        super().__init__()
        self.token, self.pooling = token, pooling
        self.out = nn.Linear(width * (2 if pooling == "pooled+mean" else 1), classes)

    def forward(self, states: Tensor, inputs: HeadInputs) -> Tensor:
        """Logits [R, classes]."""
        logits: Tensor = self.out(pool(states, inputs, self.token, self.pooling))
        return logits

    def loss(self, states: Tensor, inputs: HeadInputs) -> Tensor:
        return F.cross_entropy(self(states, inputs), inputs.label, reduction="none")

    def predict(self, states: Tensor, inputs: HeadInputs) -> list[int]:
        best: list[int] = self(states, inputs).argmax(-1).tolist()
        return best


class MultipleChoice(Classification):
    """One of a row's segments: a scalar for each, a softmax over them. The number of choices may
    differ between rows.
    """

    def __init__(self, width: int, token: str, pooling: str) -> None:
        super().__init__(width, 1, token, pooling)

    def forward(self, states: Tensor, inputs: HeadInputs) -> Tensor:
        """Logits [R, most choices], -inf where a row has no such choice."""
        scores = super().forward(states, inputs)[:, 0].split(inputs.segments)
        return nn.utils.rnn.pad_sequence(
            list(scores), batch_first=True, padding_value=float("-inf")
        )


class Tagging(nn.Module):
    """A label for each word, read at the sub-token that carries its tag."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, classes)

    def loss(self, states: Tensor, inputs: HeadInputs) -> Tensor:
        """[R]: the mean over a row's labeled words, so that every sentence has the same weight; 0
        for a row without any.
        """
        at = inputs.supervised
        each = F.cross_entropy(self.out(states[at].float()), inputs.labels[at], reduction="none")
        total = torch.zeros(len(inputs.segments), device=states.device)
        return total.index_add(0, inputs.row_of_token[at], each) / inputs.labeled.clamp(min=1)

    def predict(self, states: Tensor, inputs: HeadInputs) -> list[dict[int, int]]:
        """For each row: word index → label id. Words that were truncated are absent."""
        at = inputs.words >= 0
        best = self.out(states[at].float()).argmax(-1).tolist()
        tags: list[dict[int, int]] = [{} for _ in inputs.segments]
        for row, word, label in zip(
            inputs.row_of_token[at].tolist(), inputs.words[at].tolist(), best, strict=True
        ):
            tags[row][word] = label
        return tags


@dataclass(frozen=True)
class AnswerLimit:
    """The most tokens or characters of a predicted answer; None: any number."""

    tokens: int | None = None
    characters: int | None = None

    def allows(self, tokens: Any, characters: Any) -> Any:
        """Whether an answer with these numbers of tokens and characters is within the limit; int →
        bool, Tensor → Tensor.
        """
        within = tokens > 0
        if self.tokens is not None:
            within = within & (tokens <= self.tokens)
        if self.characters is not None:
            within = within & (characters <= self.characters)
        return within


#: The most values of one table [windows, starts, tokens, width]: what stays in the cache of a CPU,
#: and what keeps a GPU busy (256 MB).
_PAIRS_CPU, _PAIRS_GPU = 2**22, 2**26


class Span(nn.Module):
    """Start and end of an answer. The end is predicted from the start's state too, because under a
    causal mask the start's token has not seen what is to its right.

    The probabilities of a window are over its context's tokens and token 0, which means "not in
    this window".
    """

    def __init__(self, width: int, n_best: int = 20) -> None:
        super().__init__()
        self.n_best = n_best
        self.start, self.end = nn.Linear(width, 1), nn.Linear(width, 1)
        self.joint = nn.Linear(2 * width, width)
        self.joint_out = nn.Linear(width, 1, bias=False)

    def _end(self, states: Tensor, starts: Tensor) -> Tensor:
        """End logits [..., n] of states [..., n, width], given the start's state (broadcast)."""
        first, second = self.joint.weight.chunk(2, -1)
        mixed = torch.tanh(states @ first.T + starts @ second.T + self.joint.bias)
        logits: Tensor = (self.end(states) + self.joint_out(mixed))[..., 0]
        return logits

    def loss(self, states: Tensor, inputs: HeadInputs) -> Tensor:
        """[R]: half the sum of both cross-entropies, the end given the true start."""
        if not inputs.span_inside:
            raise ValueError("the tokens of an answer are outside the context of its window")
        states, row = states.float(), inputs.row_of_token
        shut = inputs.offsets[:, 0] < 0
        shut[inputs.starts] = False
        start, end = (inputs.starts[:, None] + inputs.span).unbind(-1)
        place = torch.arange(len(row), device=row.device) - inputs.starts[row]

        def log_probability(logits: Tensor, at: Tensor) -> Tensor:
            table = logits.new_full((len(inputs.segments), inputs.longest), float("-inf"))
            table = table.index_put((row, place), logits.masked_fill(shut, float("-inf")))
            return logits[at] - table.logsumexp(-1)

        starts = log_probability(self.start(states)[:, 0], start)
        ends = log_probability(self._end(states, states[start][row]), end)
        return -(starts + ends) / 2

    def predict(
        self, states: Tensor, inputs: HeadInputs, limit: AnswerLimit | None = None
    ) -> list[dict[str, Any]]:
        """For each window {"start", "end": characters of the context, "score": log-probability,
        "null": log-probability of no answer}: the best answer within `limit` from the `n_best` most
        likely starts among the row's `answer_starts`; start = end = 0 and -inf if no answer can
        start there.
        """
        limit, states = limit or AnswerLimit(), states.float()
        row = inputs.row_of_token
        place = torch.arange(len(row), device=row.device) - inputs.starts[row]
        windows = (len(inputs.segments), inputs.longest)

        def padded(values: Tensor, empty: float) -> Tensor:
            table = values.new_full((*windows, *values.shape[1:]), empty)
            return table.index_put((row, place), values)

        places = padded(inputs.offsets, -1)
        allowed = places[..., 0] >= 0
        shut = ~allowed
        shut[:, 0] = False
        starts = padded(self.start(states)[:, 0], 0).masked_fill(shut, float("-inf"))
        starts = starts.log_softmax(-1)
        token = torch.arange(windows[1], device=row.device)
        begin, end = inputs.answer_starts[:, :1], inputs.answer_starts[:, 1:]
        may_start = allowed & (token >= begin) & (token < end)
        score, first = starts.masked_fill(~may_start, float("-inf")).topk(
            min(self.n_best, windows[1])
        )
        # Slot 0 is "no answer", the others are the likely starts.
        score, first = torch.cat([starts[:, :1], score], 1), F.pad(first, (1, 0))
        most = _PAIRS_CPU if row.device.type == "cpu" else _PAIRS_GPU
        size = max(1, most // (first.shape[1] * windows[1] * states.shape[1]))
        table = padded(states, 0)
        best = [
            self._best(table[of], places[of], shut[of], score[of], first[of], limit)
            for of in (slice(at, at + size) for at in range(0, len(table), size))
        ]
        # One copy to the host for all windows.
        spans = torch.cat([span for span, _ in best]).tolist()
        values = torch.cat([value for _, value in best]).tolist()
        return [
            {"start": start, "end": end, "score": value, "null": null}
            for (start, end), (value, null) in zip(spans, values, strict=True)
        ]

    def _best(
        self,
        windows: Tensor,
        places: Tensor,
        shut: Tensor,
        score: Tensor,
        first: Tensor,
        limit: AnswerLimit,
    ) -> tuple[Tensor, Tensor]:
        """([windows, 2] characters of the best answer, [windows, 2] its log-probability and that of
        no answer).

        Args:
            windows: [windows, n, width] states.
            places: [windows, n, 2] characters, -1 outside the context.
            shut: [windows, n] whether a token is neither in the context nor token 0.
            score: [windows, slots] log-probabilities of "no answer" and the starts.
            first: [windows, slots] their tokens.
            limit: Of the answer.
        """
        index = torch.arange(len(windows), device=windows.device)[:, None]
        ends = self._end(windows[:, None], windows[index, first][:, :, None])
        ends = ends.masked_fill(shut[:, None], float("-inf")).log_softmax(-1)
        token = torch.arange(windows.shape[1], device=windows.device)
        fits = (places[:, None, :, 0] >= 0) & limit.allows(
            token - first[:, :, None] + 1,
            places[:, None, :, 1] - places[index, first][:, :, :1],
        )
        null = score[:, 0] + ends[:, 0, 0]
        total = (score[:, :, None] + ends).masked_fill(~fits, float("-inf"))[:, 1:].flatten(1)
        value, at = total.max(-1)
        start = first.gather(1, 1 + (at // len(token))[:, None])[:, 0]
        of = index[:, 0]
        span = torch.stack([places[of, start, 0], places[of, at % len(token), 1]], -1)
        return span.masked_fill(value.isinf()[:, None], 0), torch.stack([value, null], -1)


def join_windows(windows: Sequence[tuple[int, dict[str, Any]]]) -> dict[int, dict[str, Any]]:
    """(row of the example, prediction of one window) → row → prediction of its best window, the
    earlier one of equals. "null" is the smallest of all windows, as in SQuAD v2's official script.
    """
    best: dict[int, dict[str, Any]] = {}
    for row, prediction in windows:
        null = min(prediction["null"], best[row]["null"] if row in best else math.inf)
        if row not in best or prediction["score"] > best[row]["score"]:
            best[row] = dict(prediction)
        best[row]["null"] = null
    return best


def lm_loss(backbone: Backbone, states: Tensor, inputs: HeadInputs) -> tuple[Tensor, int]:
    """Summed cross-entropy of the supervised tokens, and their number. Logits are computed for
    these only.
    """
    at = inputs.supervised
    logits = backbone.lm_logits(states[at]).float()
    return F.cross_entropy(logits, inputs.labels[at], reduction="sum"), len(at)


def embed(
    states: Tensor, inputs: HeadInputs, token: str = "first", pooling: str = "mean"
) -> Tensor:
    """[S, width] unit vectors in float32. By default the mean over each segment, special tokens
    included (XTREME-R's Tatoeba). token and pooling as in `pool` (the dual encoders of LAReQA and
    Mewsli-X: `<s>`, xtreme third_party/bert.py), except that `pooled+mean` is the mean alone:
    vectors have the model's width.
    """
    return F.normalize(
        pool(states, inputs, token, "mean" if pooling == "pooled+mean" else pooling), dim=-1
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
    """The head of a task format, or None if it has no parameters: objective `lm`, generation,
    retrieval.

    Args:
        format: The task's format.
        objective: `head` or `lm`.
        width: Width of the hidden states.
        classes: Number of labels or tags.
        token: The backbone's `pool`.
        pooling: One of POOLINGS.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"unknown pooling {pooling!r}; allowed: {', '.join(POOLINGS)}")
    if objective not in ("head", "lm"):
        raise ValueError(f"unknown objective {objective!r}; allowed: head, lm")
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
    """Fills a head from the random stream ('head', seed, stage): biases 0, weights normal with
    standard deviation 0.02, as BERT's heads; 1/√in for the span head's inner layer, which would
    not start to learn otherwise.
    """
    stream = generator("head", seed, stage)
    with torch.no_grad():
        for name, parameter in sorted(head.named_parameters()):
            deviation = parameter.shape[-1] ** -0.5 if name.startswith("joint.") else 0.02
            fresh = torch.zeros(parameter.shape)
            if parameter.ndim > 1:
                fresh.normal_(0.0, deviation, generator=stream)
            parameter.copy_(fresh)
