"""Vectors of large pools, made by all workers of a group before each scores its own models.

Models are dealt out to workers, but a pool of a million sentences takes one of them hours while the
others wait. So first all workers make shards of such pools, model by model, and put them into the
store; whoever scores a model reads them there, and makes what is lacking himself. A shard that is
there already was made before a worker was lost.
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

#: Rows of a shard: half a gigabyte at a width of 4,096.
SHARD = 32_768


@dataclass(frozen=True)
class Shard:
    job: Job
    places: range
    key: str


def shards(jobs: Sequence[Job], checkpoint: str) -> Iterator[Shard]:
    """The shards of those jobs that have several."""
    for job in jobs:
        if job.format in FORMATS:
            for number, places in enumerate(bounds(len(job.rows))):
                yield Shard(job, places, shard_key(job.step, checkpoint, job.language, number))


def make(store: Store, predictor: Predictor, wanted: Sequence[Shard]) -> None:
    """Makes those shards that the store lacks, each as if it stood alone."""
    assert predictor.scratch is not None
    for shard in wanted:
        if store.size(shard.key) is not None:
            continue
        rows = EncodedRows(shard.job.rows.table.slice(shard.places.start, len(shard.places)))
        _, spread = predict_rows(predictor, [replace(shard.job, rows=rows)])
        put_shard(store, shard.key, spread[shard.job.step, shard.job.language], predictor.scratch)


def gathered(store: Store, predictor: Predictor, jobs: Sequence[Job], checkpoint: str) -> list[Job]:
    """The jobs, those of several shards with their vectors."""
    assert predictor.scratch is not None
    wanted = list(shards(jobs, checkpoint))
    make(store, predictor, wanted)
    found = {}
    for job in dict.fromkeys((shard.job.step, shard.job.language) for shard in wanted):
        own = [shard for shard in wanted if (shard.job.step, shard.job.language) == job]
        table = Vectors.empty(len(own[0].job.rows), predictor.backbone.width, predictor.scratch)
        for shard in own:
            read_shard(store, shard.key, table, shard.places, predictor.scratch)
        found[job] = table
    return [replace(job, vectors=found.get((job.step, job.language))) for job in jobs]


def is_large(store: Store, steps: Sequence[Step]) -> bool:
    """Whether any of these score steps has rows of several shards."""
    for step in steps:
        if step.spec["format"] not in FORMATS:
            continue
        for role, fingerprint in step.parents.items():
            if role == "pool" or role.startswith("test:"):
                manifest = store.manifest("encode", fingerprint)
                if manifest is not None and bounds(int(manifest.info["rows"])):
                    return True
    return False


def complain(model: str, error: Exception) -> None:
    """A shard that cannot be made here is tried again by whoever scores the model, whose failure
    is the step's.
    """
    print(
        f"shards of {model[:12] or 'the backbone'}: {type(error).__name__}: {error}",
        file=sys.stderr,
        flush=True,
    )


def share(
    found: Mapping[Model, Sequence[Shard]], rank: int, world: int
) -> dict[Model, list[Shard]]:
    """Of each model's shards those that a worker makes, dealt on from model to model."""
    dealt: dict[Model, list[Shard]] = {}
    for place, (model, shard) in enumerate(
        (model, one) for model, own in found.items() for one in own
    ):
        if place % world == rank:
            dealt.setdefault(model, []).append(shard)
    return dealt


def bounds(rows: int) -> list[range]:
    """The places of each shard; none where one worker makes all rows at once."""
    return (
        [range(first, min(first + SHARD, rows)) for first in range(0, rows, SHARD)]
        if rows > SHARD
        else []
    )


def shard_key(fingerprint: str, checkpoint: str, part: str, number: int) -> str:
    """Where a shard lies in the store until its score step is settled. checkpoint: selected |
    last; part: a language, or `pool`.
    """
    return f"work/{fingerprint}/vectors/{checkpoint}/{part}/{number:05d}.npz"


def put_shard(store: Store, key: str, vectors: Vectors, scratch: Path) -> None:
    """Uploads a shard, whole or not at all."""
    path = scratch / "shard.npz"
    np.savez(path, rows=np.asarray(vectors.rows, np.int64), table=vectors.table)
    store.put_file(key, path)
    path.unlink()


def read_shard(store: Store, key: str, into: Vectors, places: range, scratch: Path) -> None:
    """Reads a shard into its places. StoreError where its size or precision is another."""
    path = store.get_file(key, scratch / "shard.npz")
    with np.load(path) as shard:
        table = shard["table"]
        if table.shape != (len(places), into.table.shape[1]):
            raise StoreError(
                f"{key}: {table.shape} vectors where {(len(places), into.table.shape[1])} belong; delete it"
            )
        if table.dtype != into.table.dtype:
            raise StoreError(
                f"{key}: vectors are {table.dtype}, and {into.table.dtype} is needed; delete it"
            )
        into.table[places.start : places.stop] = table
        into.rows[places.start : places.stop] = shard["rows"].tolist()
    path.unlink()
