"""Shards of the vectors of large pools, which all workers of a group compute together.

Models are distributed over workers, but a pool of a million sentences takes one worker hours while
the others wait. So first all workers compute shards of such pools, model by model, and upload them.
The worker that scores a model downloads its shards and computes missing ones. Existing shards are
reused after a lost worker.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from xstilts.data.encoded import EncodedRows
from xstilts.errors import StoreError
from xstilts.scoring.predict import Job, Predictor, predict_rows
from xstilts.scoring.vectors import FORMATS, Vectors
from xstilts.step import Step
from xstilts.store.store import Store

Model = TypeVar("Model")

#: Rows per shard: half a gigabyte at a width of 4,096.
SHARD = 32_768


@dataclass(frozen=True)
class Shard:
    """Some rows of a job, and the key of their vectors in the store."""

    job: Job
    places: range
    key: str


def shards(jobs: Sequence[Job], checkpoint: str) -> Iterator[Shard]:
    """The shards of the jobs that are large enough to have several."""
    for job in jobs:
        if job.format in FORMATS:
            for number, places in enumerate(bounds(len(job.rows))):
                yield Shard(job, places, shard_key(job.step, checkpoint, job.language, number))


def make(store: Store, predictor: Predictor, parts: Sequence[Shard]) -> None:
    """Computes and uploads the shards that the store does not have."""
    assert predictor.scratch is not None
    for shard in parts:
        if store.size(shard.key) is not None:
            continue
        rows = EncodedRows(shard.job.rows.table.slice(shard.places.start, len(shard.places)))
        _, vectors = predict_rows(predictor, [replace(shard.job, rows=rows)])
        put_shard(store, shard.key, vectors[shard.job.step, shard.job.language], predictor.scratch)


def with_vectors(
    store: Store, predictor: Predictor, jobs: Sequence[Job], checkpoint: str
) -> list[Job]:
    """The jobs, with their vectors if they have several shards. Computes missing shards."""
    assert predictor.scratch is not None
    by_job: dict[tuple[str, str], list[Shard]] = {}
    for shard in shards(jobs, checkpoint):
        by_job.setdefault((shard.job.step, shard.job.language), []).append(shard)
    make(store, predictor, [shard for parts in by_job.values() for shard in parts])
    tables = {}
    for key, parts in by_job.items():
        table = Vectors.empty(len(parts[0].job.rows), predictor.backbone.width, predictor.scratch)
        for shard in parts:
            read_shard(store, shard.key, table, shard.places, predictor.scratch)
        tables[key] = table
    return [replace(job, vectors=tables.get((job.step, job.language))) for job in jobs]


def without_large(jobs: Sequence[Job]) -> list[Job]:
    """The jobs, those with several shards marked as computed: another worker has their vectors."""
    elsewhere = Vectors.empty(0, 1)
    return [
        replace(job, vectors=elsewhere) if job.format in FORMATS and bounds(len(job.rows)) else job
        for job in jobs
    ]


def is_large(store: Store, steps: Sequence[Step]) -> bool:
    """Whether any of these score steps has enough rows for several shards."""
    for step in steps:
        if step.spec["format"] not in FORMATS:
            continue
        for role, fingerprint in step.parents.items():
            if role == "pool" or role.startswith("test:"):
                manifest = store.manifest("encode", fingerprint)
                if manifest is not None and bounds(int(manifest.fact("rows"))):
                    return True
    return False


def print_error(model: str, error: Exception) -> None:
    """Prints why a shard could not be computed. The worker that scores the model tries again, and
    its failure is the step's.
    """
    print(
        f"shards of {model[:12] or 'the backbone'}: {type(error).__name__}: {error}",
        file=sys.stderr,
        flush=True,
    )


def assigned(
    shards_of: Mapping[Model, Sequence[Shard]], rank: int, world: int
) -> dict[Model, list[Shard]]:
    """The shards that one worker computes: all models' shards in one row, distributed in turn."""
    mine: dict[Model, list[Shard]] = {}
    every = ((model, shard) for model, parts in shards_of.items() for shard in parts)
    for place, (model, shard) in enumerate(every):
        if place % world == rank:
            mine.setdefault(model, []).append(shard)
    return mine


def bounds(rows: int) -> list[range]:
    """The row positions of each shard; none if the rows fit into a single one."""
    return (
        [range(first, min(first + SHARD, rows)) for first in range(0, rows, SHARD)]
        if rows > SHARD
        else []
    )


def shard_key(fingerprint: str, checkpoint: str, part: str, number: int) -> str:
    """The key of a shard until its score step is done. checkpoint: `selected` or `last`; part: a
    language or `pool`.
    """
    return f"work/{fingerprint}/vectors/{checkpoint}/{part}/{number:05d}.npz"


def put_shard(store: Store, key: str, vectors: Vectors, scratch: Path) -> None:
    """Uploads a shard, atomically."""
    path = scratch / "shard.npz"
    np.savez(path, rows=np.asarray(vectors.rows, np.int64), table=vectors.table)
    store.put_file(key, path)
    path.unlink()


def read_shard(store: Store, key: str, into: Vectors, places: range, scratch: Path) -> None:
    """Downloads a shard into its places.

    Args:
        store: the run's store.
        key: the shard's key.
        into: the vectors of the whole pool.
        places: the shard's row positions.
        scratch: folder for the download.

    Raises:
        StoreError: the shard has another size or precision.
    """
    path = store.get_file(key, scratch / "shard.npz")
    with np.load(path) as shard:
        table = shard["table"]
        if table.shape != (len(places), into.table.shape[1]):
            raise StoreError(
                f"{key}: has shape {table.shape}, expected {(len(places), into.table.shape[1])}; "
                "delete it and run again"
            )
        if table.dtype != into.table.dtype:
            raise StoreError(
                f"{key}: has dtype {table.dtype}, expected {into.table.dtype}; delete it and run "
                "again"
            )
        into.table[places.start : places.stop] = table
        into.rows[places.start : places.stop] = shard["rows"].tolist()
    path.unlink()
