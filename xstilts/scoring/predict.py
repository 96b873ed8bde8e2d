"""Predictions of one model for all its evaluations and languages in one pass, longest rows first.

Every row is computed as if it stood alone (the packed attention sees to it), so a prediction depends on no batch, order
or neighbour.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xstilts.data.encoded import EncodedRow, EncodedRows
from xstilts.models.backbone import Backbone
from xstilts.models.task_heads import SpanHead, best_span, choice_scores, pool, segment_mean
from xstilts.training.losses import Heads, pack_rows


@dataclass(frozen=True)
class Job:
    """The rows of one evaluation in one language. `step` names the score step that they belong to."""

    step: str
    language: str
    format: str
    rows: EncodedRows


def predict(
    backbone: Backbone, heads: Heads | None, jobs: Sequence[Job], budget: int, device: torch.device, depth: float | None
) -> dict[tuple[str, str], dict[str, Any]]:
    """(step, language) → example id → prediction: a label, tag ids by word, an answer's (start, end) characters, or the
    position of the nearest neighbour. depth: the relative layer that retrieval reads."""
    raw: dict[tuple[str, str], list[Any]] = {(job.step, job.language): [None] * len(job.rows) for job in jobs}
    for batch in sorted_batches(jobs, budget):
        rows = [jobs[j].rows.rows([i])[0] for j, i in batch]
        for format_ in dict.fromkeys(jobs[j].format for j, _ in batch):
            chosen = [k for k, (j, _) in enumerate(batch) if jobs[j].format == format_]
            found = _batch(backbone, heads, format_, [rows[k] for k in chosen], device, depth)
            for k, prediction in zip(chosen, found, strict=True):
                job, index = jobs[batch[k][0]], batch[k][1]
                raw[job.step, job.language][index] = (rows[k], prediction)
    return {(job.step, job.language): join(job.format, raw[job.step, job.language]) for job in jobs}


def sorted_batches(jobs: Sequence[Job], budget: int) -> Iterator[list[tuple[int, int]]]:
    """(job, row) pairs of all jobs, longest first, cut into batches of at most `budget` tokens."""
    everything = [(length, j, i) for j, job in enumerate(jobs) for i, length in enumerate(job.rows.lengths)]
    everything.sort(key=lambda item: (-item[0], item[1], item[2]))
    batch: list[tuple[int, int]] = []
    spent = 0
    for length, job, index in everything:
        if batch and spent + length > budget:
            yield batch
            batch, spent = [], 0
        batch.append((job, index))
        spent += length
    if batch:
        yield batch


def _batch(
    backbone: Backbone, heads: Heads | None, format_: str, rows: Sequence[EncodedRow], device: torch.device,
    depth: float | None,
) -> list[Any]:  # fmt: skip
    batch = pack_rows(rows, backbone, None, None).to(device)
    boundaries = batch.cu_seq_lens
    if format_ == "retrieval":
        if depth is None:
            raise ValueError("retrieval needs the relative depth of the layer that it reads")
        vectors = segment_mean(backbone.hidden_at(batch, depth), boundaries).float().cpu()
        return list(vectors.view(len(rows), 2, -1))
    if heads is None:
        raise ValueError(f"format {format_} needs a trained head")
    head, hidden = heads.heads[0], backbone(batch)
    if format_ == "classification":
        found: list[int] = head(pool(hidden, boundaries, backbone.pool, heads.pooling)).argmax(-1).tolist()
        return found
    if format_ == "multiple_choice":
        choices: list[int] = choice_scores(head, hidden, boundaries, rows, backbone.pool, heads.pooling).argmax(-1).tolist()
        return choices
    parts = hidden.split(batch.lengths)
    if format_ == "tagging":
        return [_tags(head, part, row) for part, row in zip(parts, rows, strict=True)]
    if format_ == "span":
        assert isinstance(head, SpanHead)
        return [best_span(head, part, row) for part, row in zip(parts, rows, strict=True)]
    raise ValueError(f"format {format_} is not scored")


def _tags(head: nn.Module, hidden: Tensor, row: EncodedRow) -> dict[int, int]:
    """Word index → tag id of one piece of a sentence."""
    best = head(hidden).argmax(-1).tolist()
    return {word: best[token] for token, word in enumerate(row.words) if word >= 0}


def join(format_: str, found: Sequence[tuple[EncodedRow, Any]]) -> dict[str, Any]:
    """Rows → examples: windows of a context give the best answer of any, pieces of a sentence give all its words, and
    pairs are matched over the whole language."""
    if format_ == "retrieval":
        return nearest([row.id for row, _ in found], torch.stack([vectors for _, vectors in found]))
    joined: dict[str, Any] = {}
    for row, prediction in found:
        if format_ == "span":
            if row.id not in joined or prediction[0] > joined[row.id][0]:
                joined[row.id] = prediction
        elif format_ == "tagging":
            joined.setdefault(row.id, {}).update(prediction)
        else:
            joined[row.id] = prediction
    if format_ == "span":
        return {identity: [start, end] for identity, (_, start, end) in joined.items()}
    return joined


def nearest(ids: Sequence[str], pairs: Tensor) -> dict[str, int]:
    """For each English sentence the position of its nearest foreign one by cosine. pairs: [n, (English, foreign),
    width]. Equals faiss's FlatL2 on normalised vectors (xtreme utils_retrieve.similarity_search), which breaks ties by
    the lower position."""
    english, foreign = F.normalize(pairs[:, 0].double(), dim=-1), F.normalize(pairs[:, 1].double(), dim=-1)
    best: list[int] = (english @ foreign.T).argmax(-1).tolist()
    return dict(zip(ids, best, strict=True))


def as_written(format_: str, prediction: Any, context: str, labels: Sequence[str], words: int) -> Any:
    """A prediction as predictions.parquet holds it: tag names for every word, the answer's text, or as it is."""
    if format_ == "span":
        return context[prediction[0] : prediction[1]]
    if format_ == "tagging":
        if lost := [word for word in range(words) if word not in prediction]:
            raise ValueError(f"words {lost[:5]} have no tag: encoding lost them")
        return [labels[prediction[word]] for word in range(words)]
    return prediction

