"""Task heads on a flat packed batch: hidden states [tokens, width] and segment boundaries. Padding does not exist here.

Pooling follows the backbone (first token for XLM-R, last for causal models); with `pooling: pooled+mean` the segment's
mean is concatenated, which tiny backbones need (a recipe says so; the official heads use `pooled`).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xstilts.data.encoded import EncodedRow
from xstilts.training.streams import generator


class SpanHead(nn.Module):
    """Start scores per token, and end scores that have seen the start's state: under a causal mask the start token has
    not seen the answer's right context, so the end is chosen given the start (science: span QA for decoders)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.start = nn.Linear(width, 1)
        self.end = nn.Linear(width, 1)
        self.end_given_start = nn.Linear(width, width)

    def start_scores(self, hidden: Tensor) -> Tensor:
        """[tokens]"""
        return self.start(hidden).squeeze(-1)

    def end_scores(self, hidden: Tensor, start_states: Tensor) -> Tensor:
        """Scores [starts, tokens] of each token as the end for each start state [starts, width]."""
        return self.end(hidden).T + self.end_given_start(start_states) @ hidden.T / hidden.shape[1] ** 0.5


def make_head(
    task_format: str, objective: str, width: int, classes: int, pooling: str, seed: int, stage: str
) -> nn.Module:
    """A new head, drawn from the stream `head` of seed and stage (equal in all arms of a seed). `lm` has no
    parameters of its own: an empty module. Weights are normal(0, 0.02), biases zero."""
    pooled = width * (2 if pooling == "pooled+mean" else 1)
    head: nn.Module
    if objective == "lm" or task_format in ("generation", "retrieval"):
        return nn.Module()
    if task_format == "classification":
        head = nn.Linear(pooled, classes)
    elif task_format == "multiple_choice":
        head = nn.Linear(pooled, 1)
    elif task_format == "tagging":
        head = nn.Linear(width, classes)
    elif task_format == "span":
        head = SpanHead(width)
    else:
        raise ValueError(f"no head for format {task_format!r}")
    source = generator("head", seed, stage)
    with torch.no_grad():
        for parameter in head.parameters():
            values = torch.randn(parameter.shape, generator=source) * 0.02
            parameter.copy_(values if parameter.ndim > 1 else torch.zeros_like(values))
    return head


def pool(hidden: Tensor, boundaries: Tensor, rule: str, pooling: str) -> Tensor:
    """[segments, width or 2·width] of hidden [tokens, width]; boundaries int [segments + 1]; rule first | last."""
    boundaries = boundaries.to(hidden.device).long()
    one = hidden[boundaries[:-1] if rule == "first" else boundaries[1:] - 1]
    return torch.cat([one, segment_mean(hidden, boundaries)], -1) if pooling == "pooled+mean" else one


def segment_mean(hidden: Tensor, boundaries: Tensor) -> Tensor:
    """Mean over each segment's tokens, specials included: [segments, width]."""
    boundaries = boundaries.to(hidden.device).long()
    sizes = boundaries.diff()
    owner = torch.repeat_interleave(torch.arange(len(sizes), device=hidden.device), sizes)
    total = torch.zeros(len(sizes), hidden.shape[1], dtype=hidden.dtype, device=hidden.device)
    return total.index_add(0, owner, hidden) / sizes[:, None]


def losses(
    task_format: str, head: nn.Module, hidden: Tensor, boundaries: Tensor, rows: Sequence[EncodedRow], rule: str,
    pooling: str,
) -> Tensor:  # fmt: skip
    """Loss of each row, [rows]. Segments stand in the order of the rows (multiple choice: one per choice)."""
    labels = torch.tensor([row.label for row in rows], device=hidden.device)
    if task_format == "classification":
        return F.cross_entropy(head(pool(hidden, boundaries, rule, pooling)), labels, reduction="none")
    if task_format == "multiple_choice":
        return -choice_scores(head, hidden, boundaries, rows, rule, pooling).gather(1, labels[:, None])[:, 0]
    parts = hidden.split(boundaries.diff().tolist())
    if task_format == "tagging":
        flat = torch.tensor([label for row in rows for label in row.labels], device=hidden.device)
        each = F.cross_entropy(head(hidden), flat, ignore_index=-100, reduction="none")
        counted = (flat != -100).float()
        sizes = boundaries.diff().tolist()
        return torch.stack(
            [(e.sum() / c.sum().clamp(min=1)) for e, c in zip(each.split(sizes), counted.split(sizes), strict=True)]
        )
    if task_format == "span":
        assert isinstance(head, SpanHead)
        return torch.stack([_span_loss(head, part, row) for part, row in zip(parts, rows, strict=True)])
    raise ValueError(f"no head loss for format {task_format!r}")


def choice_scores(
    head: nn.Module, hidden: Tensor, boundaries: Tensor, rows: Sequence[EncodedRow], rule: str, pooling: str
) -> Tensor:
    """Log-probabilities [rows, choices]; a row with fewer choices than the widest has -inf behind them."""
    scores = head(pool(hidden, boundaries, rule, pooling)).squeeze(-1).split([len(row.segments) for row in rows])
    return nn.utils.rnn.pad_sequence(list(scores), batch_first=True, padding_value=float("-inf")).log_softmax(-1)


def _span_loss(head: SpanHead, hidden: Tensor, row: EncodedRow) -> Tensor:
    start, end = row.span
    allowed = context_mask(row, hidden.device)
    starts = head.start_scores(hidden).masked_fill(~allowed, float("-inf"))
    ends = head.end_scores(hidden, hidden[start : start + 1])[0].masked_fill(~allowed, float("-inf"))
    return (F.cross_entropy(starts, torch.tensor(start, device=hidden.device)) + F.cross_entropy(ends, torch.tensor(end, device=hidden.device))) / 2


def context_mask(row: EncodedRow, device: torch.device) -> Tensor:
    """True for the context's tokens [tokens]: those that have character offsets."""
    return torch.tensor(row.offsets[::2], device=device) >= 0


def best_span(
    head: SpanHead, hidden: Tensor, row: EncodedRow, n_best: int = 20, max_tokens: int = 30
) -> tuple[float, int, int]:
    """(score, start character, end character) of a window's best answer of at most `max_tokens` tokens."""
    allowed = context_mask(row, hidden.device)
    starts = head.start_scores(hidden).masked_fill(~allowed, float("-inf")).log_softmax(0)
    score, index = starts.topk(min(n_best, int(allowed.sum())))
    ends = head.end_scores(hidden, hidden[index]).masked_fill(~allowed, float("-inf")).log_softmax(1)
    position = torch.arange(len(hidden), device=hidden.device)
    inside = (position >= index[:, None]) & (position < index[:, None] + max_tokens)
    joint = score[:, None] + ends.masked_fill(~inside, float("-inf"))
    best = int(joint.argmax())
    start, end = int(index[best // len(hidden)]), best % len(hidden)
    return float(joint.flatten()[best]), row.offsets[2 * start], row.offsets[2 * end + 1]
