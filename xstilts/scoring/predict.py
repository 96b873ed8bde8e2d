"""Predictions of one model for all evaluations and languages in one pass, longest rows first.

Packed attention computes every row as if it were alone, so a prediction does not depend on batches
or their order.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xstilts.data.encoded import EncodedRow, EncodedRows, Images
from xstilts.models.backbone import Backbone
from xstilts.models.head_set import Heads, pack_rows
from xstilts.models.heads import AnswerLimit, embed, head_inputs, join_windows
from xstilts.models.processor import Processor
from xstilts.scoring import vectors
from xstilts.scoring.decode import decode
from xstilts.scoring.gold import Gold
from xstilts.scoring.metrics import METRICS
from xstilts.scoring.mining import translations
from xstilts.scoring.ranking import rank
from xstilts.scoring.squad import best_threshold
from xstilts.scoring.vectors import Vectors


@dataclass(frozen=True)
class Job:
    """The rows of one evaluation in one language.

    step: the score step of the rows. depth: the relative layer for retrieval and mining. queries:
    the queries of a ranking, None if all rows are candidates; all rows of mining. names: the
    candidate name of each row of a ranking or mining pool. head: index of the model's head.
    vectors: of the rows, if they are computed already. answer_limit: maximum length of answers.
    pooling: of ranking vectors (models/heads.py POOLINGS).
    """

    step: str
    language: str
    format: str
    rows: EncodedRows
    images: Images | None = None
    depth: float | None = None
    queries: Sequence[Gold] | None = None
    head: int = 0
    vectors: Vectors | None = None
    names: Sequence[str] = ()
    answer_limit: AnswerLimit | None = None
    pooling: str = "mean"


@dataclass(frozen=True)
class Predictor:
    """A model for prediction. budget: tokens per batch. scratch: a folder for vectors, which are
    kept in memory if None.
    """

    backbone: Backbone
    heads: Heads | None
    processor: Processor
    budget: int
    device: torch.device
    scratch: Path | None = None


Key = tuple[str, str]  # (step, language)
#: (index of the job, index of the encoded row, row in the records, prediction)
Item = tuple[int, int, int, Any]


def predict(predictor: Predictor, jobs: Sequence[Job]) -> dict[Key, dict[int, Any]]:
    """(step, language) → row in the records → prediction.

    A prediction is a label, tag ids by word, [start, end, margin over no answer] of an answer in
    characters, or the row of the nearest neighbor. For rankings it is the names of the nearest
    candidates (see `ranked`); for mining the name of the sentence that translates a foreign
    sentence of the test part, or the empty text.
    """
    return join_rows(predictor, jobs, predicted(predictor, jobs))


def join_rows(
    predictor: Predictor, jobs: Sequence[Job], items: Iterable[Item]
) -> dict[Key, dict[int, Any]]:
    """What `predict` returns, from the predictions of all encoded rows in any order."""
    predictions, vectors_of = collect(predictor, jobs, items)
    formats = {(job.step, job.language): job.format for job in jobs}
    joined: dict[Key, dict[int, Any]] = {
        key: join(formats[key], rows) for key, rows in predictions.items()
    }
    for job in jobs:
        if job.format == "mining":
            key = (job.step, job.language)
            joined[key] = translations(
                vectors_of[key], job.queries or (), job.names, predictor.device
            )
    return joined | ranked(jobs, vectors_of, predictor.device)


def ranked(
    jobs: Sequence[Job], vectors_of: Mapping[Key, Vectors], device: torch.device | str = "cpu"
) -> dict[Key, dict[int, Any]]:
    """(step, language) → row of a query → names of the nearest candidates, among the candidates of
    all jobs of the step.
    """
    rankings: dict[Key, dict[int, Any]] = {}
    for step in dict.fromkeys(job.step for job in jobs if job.format == "ranking"):
        of_step = [job for job in jobs if job.step == step]
        with_queries = [job for job in of_step if job.queries is not None]
        rows = {job.language: vectors_of[step, job.language] for job in with_queries}
        pool = next(
            (vectors_of[step, job.language] for job in of_step if job.queries is None), None
        )
        queries = {job.language: job.queries for job in of_step if job.queries is not None}
        names = {"pool" if job.queries is None else job.language: job.names for job in of_step}
        for language, candidates in rank(rows, queries, names, pool, device).items():
            rankings[step, language] = candidates
    return rankings


def predict_rows(
    predictor: Predictor, jobs: Sequence[Job]
) -> tuple[dict[Key, list[tuple[int, Any]]], dict[Key, Vectors]]:
    """(predictions, vectors): for each job (row in the records, prediction) of each encoded row in
    order, or the vectors of a ranking or mining pool.
    """
    return collect(predictor, jobs, predicted(predictor, jobs))


def predicted(
    predictor: Predictor, jobs: Sequence[Job], rank: int = 0, world: int = 1
) -> Iterator[Item]:
    """The predictions of every `world`-th batch, starting at `rank`.

    The batches do not depend on the number of workers: the last bits of a matrix product may
    depend on its shape, so all workers together compute exactly what one would.

    Args:
        predictor: The model. Its budget must be the same on all workers.
        jobs: Those of all workers.
        rank: Of this worker.
        world: Number of workers.
    """
    for batch in islice(sorted_batches(jobs, predictor.budget), rank, None, world):
        rows_of_batch = _read(jobs, batch)
        # One forward pass serves one format, depth and set of images.
        for kind in dict.fromkeys(_kind(jobs[j]) for j, _ in batch):
            chosen = [k for k, (j, _) in enumerate(batch) if _kind(jobs[j]) == kind]
            job = jobs[batch[chosen[0]][0]]
            results = _predict_batch(predictor, job, [rows_of_batch[k] for k in chosen])
            for k, prediction in zip(chosen, results, strict=True):
                yield *batch[k], rows_of_batch[k].row, prediction


def collect(
    predictor: Predictor, jobs: Sequence[Job], items: Iterable[Item]
) -> tuple[dict[Key, list[tuple[int, Any]]], dict[Key, Vectors]]:
    """(predictions, vectors) of all encoded rows, as `predict_rows` returns them."""
    predictions: dict[Key, list[Any]] = {}
    vectors_of: dict[Key, Vectors] = {}
    for job in jobs:
        key, rows = (job.step, job.language), len(job.rows)
        if job.format in vectors.FORMATS:
            vectors_of[key] = job.vectors or Vectors.empty(
                rows, predictor.backbone.width, predictor.scratch
            )
        else:
            predictions[key] = [None] * rows
    for j, index, row, prediction in items:
        key = (jobs[j].step, jobs[j].language)
        if key in vectors_of:
            vectors_of[key].put(index, row, prediction)
        else:
            predictions[key][index] = (row, prediction)
    return predictions, vectors_of


def _read(jobs: Sequence[Job], batch: Sequence[tuple[int, int]]) -> list[EncodedRow]:
    """The rows of a batch, read at once from each job: reading them one by one would take longer
    than the model for a pool of a million.
    """
    rows: dict[tuple[int, int], EncodedRow] = {}
    for job in dict.fromkeys(j for j, _ in batch):
        indices = [i for j, i in batch if j == job]
        rows.update(zip(((job, i) for i in indices), jobs[job].rows.rows(indices), strict=True))
    return [rows[key] for key in batch]


def sorted_batches(jobs: Sequence[Job], budget: int) -> Iterator[list[tuple[int, int]]]:
    """(job, row) indices of all jobs without vectors, longest rows first, in batches of at most
    `budget` tokens.
    """
    todo = [(j, job) for j, job in enumerate(jobs) if job.vectors is None]
    everything = [(length, j, i) for j, job in todo for i, length in enumerate(job.rows.lengths)]
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


def _kind(job: Job) -> tuple[str, float | None, int, int, AnswerLimit | None, str]:
    return job.format, job.depth, id(job.images), job.head, job.answer_limit, job.pooling


def _predict_batch(predictor: Predictor, job: Job, rows: Sequence[EncodedRow]) -> list[Any]:
    backbone, heads, device, format_ = (
        predictor.backbone,
        predictor.heads,
        predictor.device,
        job.format,
    )
    if format_ == "words":
        return list(decode(backbone, predictor.processor, rows, job.images, device))
    batch, about = (
        pack_rows(rows, backbone, predictor.processor, job.images).to(device),
        head_inputs(rows, device),
    )
    if format_ == "retrieval":
        if job.depth is None:
            raise ValueError("retrieval needs the relative depth of the layer that it reads")
        return list(embed(backbone.hidden_at(batch, job.depth), about).cpu().view(len(rows), 2, -1))
    if format_ in vectors.FORMATS:
        states = backbone(batch) if job.depth is None else backbone.hidden_at(batch, job.depth)
        return list(embed(states, about, backbone.pool, job.pooling).cpu())
    if heads is None:
        raise ValueError(f"format {format_} needs a trained head")
    head: Any = heads.heads[job.head]
    more = (job.answer_limit,) if format_ == "span" else ()
    predictions: list[Any] = head.predict(backbone(batch), about, *more)
    return predictions


def join(format_: str, predictions: Sequence[tuple[int, Any]]) -> dict[int, Any]:
    """Predictions of encoded rows → predictions of examples, by row in the records: the best answer
    of all windows, the words of all pieces, and for retrieval the matches in the whole language.
    """
    if format_ == "retrieval":
        pairs = torch.stack([vectors for _, vectors in predictions])
        return nearest([row for row, _ in predictions], pairs)
    if format_ == "span":
        best = join_windows(predictions)
        return {row: [w["start"], w["end"], w["score"] - w["null"]] for row, w in best.items()}
    joined: dict[int, Any] = {}
    for row, prediction in predictions:
        if format_ == "tagging":
            joined.setdefault(row, {}).update(prediction)
        else:
            joined[row] = prediction
    return joined


def nearest(rows: Sequence[int], pairs: Tensor) -> dict[int, int]:
    """Row of each English sentence → row of the nearest foreign one by cosine.

    Equals faiss's FlatL2 on normalised vectors (xtreme utils_retrieve.similarity_search), which
    breaks ties by the lower index.

    Args:
        rows: in the records.
        pairs: [n, (English, foreign), width].
    """
    english, foreign = (
        F.normalize(pairs[:, 0].double(), dim=-1),
        F.normalize(pairs[:, 1].double(), dim=-1),
    )
    best: list[int] = (english @ foreign.T).argmax(-1).tolist()
    return {row: rows[index] for row, index in zip(rows, best, strict=True)}


def written(
    format_: str, labels: Sequence[str], examples: Sequence[Gold], predicted: Mapping[int, Any]
) -> list[Any]:
    """The predictions of a language as in predictions.parquet, in the order of the examples.
    ValueError for an example without a prediction.

    Args:
        format_: of the evaluation.
        labels: tag names in the order of their ids.
        examples: with gold answers.
        predicted: predictions by row in the records.
    """
    values = []
    for example in examples:
        if example.row not in predicted:
            raise ValueError(f"no prediction for row {example.row} (id {example.id})")
        words = len(example.gold) if format_ == "tagging" else 0
        values.append(as_written(format_, predicted[example.row], example.context, labels, words))
    return values


def withheld(
    texts: Sequence[str], examples: Sequence[Gold], predicted: Mapping[int, Any]
) -> list[list[str]]:
    """SQuAD v2 on dev rows: the answers for EM and for F1, empty for margins below the best
    threshold of each metric on these rows (`best_exact` and `best_f1` of the official script).
    """
    golds, margins = (
        [example.gold for example in examples],
        [predicted[example.row][2] for example in examples],
    )
    by_metric = []
    for name in ("squad_v2_em", "squad_v2_f1"):
        metric = METRICS[name]
        answered, empty = (
            metric.ratio(metric.counts(answers, golds, "en"))[:, 0].tolist()
            for answers in (texts, [""] * len(golds))
        )
        threshold = best_threshold(answered, empty, margins)[1]
        by_metric.append(
            [
                text if margin >= threshold else ""
                for text, margin in zip(texts, margins, strict=True)
            ]
        )
    return [list(pair) for pair in zip(*by_metric, strict=True)]


def as_written(
    format_: str, prediction: Any, context: str, labels: Sequence[str], words: int
) -> Any:
    """A prediction as in predictions.parquet: tag names of all words, the answer text, or
    unchanged.

    Args:
        format_: of the evaluation.
        prediction: of an example.
        context: of the example.
        labels: tag names in the order of their ids.
        words: number of words of the example.
    """
    if format_ == "span":
        return context[prediction[0] : prediction[1]]
    if format_ == "tagging":
        if lost := [word for word in range(words) if word not in prediction]:
            raise ValueError(f"words {lost[:5]} have no tag: they were lost in encoding")
        return [labels[prediction[word]] for word in range(words)]
    return prediction
