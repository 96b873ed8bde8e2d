"""Predictions of one model for all its evaluations and languages in one pass, longest rows first.

Every row is computed as if it stood alone (the packed attention sees to it), so a prediction
depends on no batch, order or neighbour.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    """The rows of one evaluation in one language. `step` names the score step that they belong
    to. depth: the relative layer that retrieval and mining read. queries: a ranking's rows that
    ask, None where all of them are candidates; of mining all rows. names: of a ranking or a pool
    to mine, each row's name as a candidate. head: which of the model's heads answers, in the
    order of its tasks. vectors: those of its rows, where they are there already. answer_limit:
    of question answering, how long an answer may be. pooling: where a ranking's vectors come
    from (models/heads.py POOLINGS).
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
    """A model as it predicts. budget: tokens of a batch. scratch: a folder for vectors; in
    memory without one.
    """

    backbone: Backbone
    heads: Heads | None
    processor: Processor
    budget: int
    device: torch.device
    scratch: Path | None = None


Key = tuple[str, str]  # (step, language)


def predict(predictor: Predictor, jobs: Sequence[Job]) -> dict[Key, dict[int, Any]]:
    """(step, language) → row of the example in its records → prediction: a label, tag ids by
    word, an answer's (start, end) characters and by how much it is likelier than no answer, or
    the row of the nearest neighbour. Of a ranking, the names of the nearest candidates: see
    `ranked`. Of a pool to mine, the name of the sentence that translates one of the test part's
    foreign ones, or the empty text.
    """
    told, spread = predict_rows(predictor, jobs)
    formats = {(job.step, job.language): job.format for job in jobs}
    found: dict[Key, dict[int, Any]] = {key: join(formats[key], rows) for key, rows in told.items()}
    for job in jobs:
        if job.format == "mining":
            key = (job.step, job.language)
            found[key] = translations(spread[key], job.queries or (), job.names, predictor.device)
    return found | ranked(jobs, spread, predictor.device)


def ranked(
    jobs: Sequence[Job], spread: Mapping[Key, Vectors], device: torch.device | str = "cpu"
) -> dict[Key, dict[int, Any]]:
    """(step, language) → row of a query → its nearest candidates' names. The candidates of a
    step are those of all its jobs.
    """
    found: dict[Key, dict[int, Any]] = {}
    for step in dict.fromkeys(job.step for job in jobs if job.format == "ranking"):
        own = [job for job in jobs if job.step == step]
        rows = {job.language: spread[step, job.language] for job in own if job.queries is not None}
        pool = next((spread[step, job.language] for job in own if job.queries is None), None)
        queries = {job.language: job.queries for job in own if job.queries is not None}
        names = {"pool" if job.queries is None else job.language: job.names for job in own}
        for language, nearest_ones in rank(rows, queries, names, pool, device).items():
            found[step, language] = nearest_ones
    return found


def predict_rows(
    predictor: Predictor, jobs: Sequence[Job]
) -> tuple[dict[Key, list[tuple[int, Any]]], dict[Key, Vectors]]:
    """The prediction of each encoded row, in their order: (row of the example in its records,
    prediction), and of rankings and pools to mine their vectors.
    """
    told: dict[Key, list[Any]] = {}
    spread: dict[Key, Vectors] = {}
    for job in jobs:
        key, rows = (job.step, job.language), len(job.rows)
        if job.format in vectors.FORMATS:
            spread[key] = job.vectors or Vectors.empty(
                rows, predictor.backbone.width, predictor.scratch
            )
        else:
            told[key] = [None] * rows
    for batch in sorted_batches(jobs, predictor.budget):
        rows_of_batch = _read(jobs, batch)
        # One forward pass serves one format, depth and set of images.
        for kind in dict.fromkeys(_kind(jobs[j]) for j, _ in batch):
            chosen = [k for k, (j, _) in enumerate(batch) if _kind(jobs[j]) == kind]
            found = _batch(predictor, jobs[batch[chosen[0]][0]], [rows_of_batch[k] for k in chosen])
            for k, prediction in zip(chosen, found, strict=True):
                job, index, row = jobs[batch[k][0]], batch[k][1], rows_of_batch[k].row
                key = (job.step, job.language)
                if key in spread:
                    spread[key].put(index, row, prediction)
                else:
                    told[key][index] = (row, prediction)
    return told, spread


def _read(jobs: Sequence[Job], batch: Sequence[tuple[int, int]]) -> list[EncodedRow]:
    """The rows of a batch, read at once from each job: one by one, a pool of a million would
    take longer than the model.
    """
    found: dict[tuple[int, int], EncodedRow] = {}
    for job in dict.fromkeys(j for j, _ in batch):
        places = [i for j, i in batch if j == job]
        found.update(zip(((job, i) for i in places), jobs[job].rows.rows(places), strict=True))
    return [found[place] for place in batch]


def sorted_batches(jobs: Sequence[Job], budget: int) -> Iterator[list[tuple[int, int]]]:
    """(job, row) pairs of all jobs that have no vectors yet, longest first, cut into batches of
    at most `budget` tokens.
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


def _batch(predictor: Predictor, job: Job, rows: Sequence[EncodedRow]) -> list[Any]:
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
    found: list[Any] = head.predict(backbone(batch), about, *more)
    return found


def join(format_: str, found: Sequence[tuple[int, Any]]) -> dict[int, Any]:
    """Encoded rows → examples, by their row in the records: windows of a context give the best
    answer of any, pieces of a sentence give all its words, and pairs are matched over the whole
    language.
    """
    if format_ == "retrieval":
        return nearest([row for row, _ in found], torch.stack([vectors for _, vectors in found]))
    if format_ == "span":
        best = join_windows(found)
        return {row: [w["start"], w["end"], w["score"] - w["null"]] for row, w in best.items()}
    joined: dict[int, Any] = {}
    for row, prediction in found:
        if format_ == "tagging":
            joined.setdefault(row, {}).update(prediction)
        else:
            joined[row] = prediction
    return joined


def nearest(rows: Sequence[int], pairs: Tensor) -> dict[int, int]:
    """Row of each English sentence → row of its nearest foreign one by cosine. pairs: [n,
    (English, foreign), width]. Equals faiss's FlatL2 on normalised vectors (xtreme
    utils_retrieve.similarity_search), which breaks ties by the lower position.
    """
    english, foreign = (
        F.normalize(pairs[:, 0].double(), dim=-1),
        F.normalize(pairs[:, 1].double(), dim=-1),
    )
    best: list[int] = (english @ foreign.T).argmax(-1).tolist()
    return {row: rows[place] for row, place in zip(rows, best, strict=True)}


def written(
    format_: str, labels: Sequence[str], examples: Sequence[Gold], predicted: Mapping[int, Any]
) -> list[Any]:
    """The predictions of a language as predictions.parquet holds them, in the order of the
    examples. ValueError names the first example that has none. predicted: by row in the records.
    labels: tag names in the order of their ids.
    """
    found = []
    for example in examples:
        if example.row not in predicted:
            raise ValueError(f"no prediction for row {example.row} (id {example.id})")
        words = len(example.gold) if format_ == "tagging" else 0
        found.append(as_written(format_, predicted[example.row], example.context, labels, words))
    return found


def withheld(
    texts: Sequence[str], examples: Sequence[Gold], predicted: Mapping[int, Any]
) -> list[list[str]]:
    """SQuAD v2 on its own dev rows: for EM and for F1 the answer, or the empty text where its
    margin does not reach the threshold that is best for these very rows, each its own:
    `best_exact` and `best_f1` of the official script.
    """
    golds, margins = (
        [example.gold for example in examples],
        [predicted[example.row][2] for example in examples],
    )
    told = []
    for name in ("squad_v2_em", "squad_v2_f1"):
        metric = METRICS[name]
        answered, empty = (
            metric.ratio(metric.counts(given, golds, "en"))[:, 0].tolist()
            for given in (texts, [""] * len(golds))
        )
        threshold = best_threshold(answered, empty, margins)[1]
        told.append(
            [
                text if margin >= threshold else ""
                for text, margin in zip(texts, margins, strict=True)
            ]
        )
    return [list(pair) for pair in zip(*told, strict=True)]


def as_written(
    format_: str, prediction: Any, context: str, labels: Sequence[str], words: int
) -> Any:
    """A prediction as predictions.parquet holds it: tag names for every word, the answer's text,
    or as it is.
    """
    if format_ == "span":
        return context[prediction[0] : prediction[1]]
    if format_ == "tagging":
        if lost := [word for word in range(words) if word not in prediction]:
            raise ValueError(f"words {lost[:5]} have no tag: encoding lost them")
        return [labels[prediction[word]] for word in range(words)]
    return prediction
