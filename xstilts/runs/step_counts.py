"""The counts and examples of a score step, beside its predictions.

`counts.parquet` has the columns that metrics need (`xstilts.scoring.counts`), one row per row of
`predictions.parquet` and in its order. Its metadata has the version of the counts, the rows of each
checkpoint and language, and the metrics of whole corpora. `examples.parquet` has the examples' row,
id, cluster and parallel key once per language: models that are scored on the same examples have the
same file, so a report reads it once.
"""

import json
import tempfile
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from xstilts.analysis.inputs import Names
from xstilts.errors import StoreError
from xstilts.scoring.counts import VERSION, column_names, corpus_values, count_columns, joined
from xstilts.scoring.metrics import task_metrics
from xstilts.store.manifest import Manifest
from xstilts.store.store import Store

COUNTS, EXAMPLES = "counts.parquet", "examples.parquet"
#: Columns of examples.parquet; predictions of earlier versions lack some.
IDENTITY = ("row", "id", "cluster", "parallel")
#: Rows of predictions in memory at the same time.
_BATCH = 4096

#: (checkpoint, language)
Key = tuple[str, str]


@dataclass(frozen=True)
class Counted:
    """A score step's counts.

    places: (checkpoint, language) → (first row, number of rows). corpus: the same → metrics of
    whole corpora.
    """

    path: Path
    places: Mapping[Key, tuple[int, int]]
    corpus: Mapping[Key, Mapping[str, float]]

    def of(self, key: Key, metric: str) -> npt.NDArray[np.float64]:
        """[n, k]: the counts of a metric for a checkpoint and language."""
        columns, names = _columns(self.path), column_names(metric)
        first, count = self.places[key]
        counts = np.empty((count, len(names)))
        for number, name in enumerate(names):
            counts[:, number] = columns[name][first : first + count]
        return counts


@lru_cache(maxsize=512)
def _columns(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All counts of a step, in their compact types: opening the file takes most of the time."""
    table = pq.read_table(path, use_threads=False)
    return {name: table.column(name).to_numpy() for name in table.column_names}


def write_counts(predictions: Path, metrics: Sequence[str], folder: Path) -> dict[str, Path]:
    """Writes the counts and examples of a predictions.parquet, one language at a time. Returns name
    → path.

    Args:
        predictions: a score step's predictions.
        metrics: of the step's spec.
        folder: to write to.

    Raises:
        ValueError: predictions and gold answers do not match.
    """
    names = task_metrics(metrics)
    parts, places, corpus, first = [], [], [], 0
    examples: dict[str, pa.Table] = {}
    for (checkpoint, language), table in languages_of(predictions):
        examples.setdefault(language, table)
        predicted, golds = (
            [json.loads(text) for text in table.column(side).to_pylist()]
            for side in ("prediction", "gold")
        )
        parts.append(count_columns(names, predicted, golds, language))
        corpus.append(corpus_values(names, predicted, golds, clusters_of(table, language)))
        places.append([checkpoint, language, first, table.num_rows])
        first += table.num_rows
    columns = joined(parts) if parts else {}
    metadata = {"version": VERSION, "places": places, "corpus": corpus}
    counts = pa.table(columns).replace_schema_metadata({"xstilts": json.dumps(metadata)})
    paths = {COUNTS: folder / COUNTS, EXAMPLES: folder / EXAMPLES}
    pq.write_table(counts, paths[COUNTS], compression="zstd", write_statistics=False)
    _write_examples(examples, paths[EXAMPLES])
    return paths


def _write_examples(examples: Mapping[str, pa.Table], path: Path) -> None:
    tables = []
    for language, table in examples.items():
        kept = table.select([name for name in IDENTITY if name in table.column_names])
        tables.append(kept.add_column(0, "language", pa.array([language] * kept.num_rows)))
    whole = pa.concat_tables(tables).combine_chunks()  # else its bytes depend on the checkpoints
    pq.write_table(whole, path, compression="zstd", write_statistics=False)


def languages_of(predictions: Path) -> Iterator[tuple[Key, pa.Table]]:
    """((checkpoint, language), its rows) of a predictions.parquet, one after another.

    Raises:
        StoreError: the rows of a language are not together.
    """
    known: set[Key] = set()
    batches: list[pa.RecordBatch] = []
    current: Key | None = None
    with pq.ParquetFile(predictions) as file:
        for batch in file.iter_batches(_BATCH, use_threads=False):
            for key, part in _runs(batch):
                if key != current:
                    if current is not None:
                        yield current, pa.Table.from_batches(batches)
                    if key in known:
                        raise StoreError(
                            f"{predictions}: rows of {' '.join(key)} are in two places; delete "
                            "the score step and run the plan again"
                        )
                    known.add(key)
                    current, batches = key, []
                batches.append(part)
    if current is not None:
        yield current, pa.Table.from_batches(batches)


def _runs(batch: pa.RecordBatch) -> Iterator[tuple[Key, pa.RecordBatch]]:
    """The parts of a batch with equal checkpoint and language."""
    keys = list(zip(batch["checkpoint"].to_pylist(), batch["language"].to_pylist(), strict=True))
    first = 0
    for place in range(1, len(keys) + 1):
        if place == len(keys) or keys[place] != keys[first]:
            yield keys[first], batch.slice(first, place - first)
            first = place


def clusters_of(table: pa.Table, language: str) -> list[str]:
    """The cluster of each example: `<language>/<cluster>`, or `<language>/#<row>` for an example
    without one. Results of earlier versions have no rows and use the example's id as its cluster.
    """
    clusters = table.column("cluster").to_pylist()
    if "row" in table.column_names:
        rows = table.column("row").to_pylist()
        return [
            f"{language}/{cluster or f'#{row}'}"
            for cluster, row in zip(clusters, rows, strict=True)
        ]
    return [f"{language}/{cluster}" for cluster in clusters]


@dataclass(frozen=True)
class Examples:
    """The examples of an evaluation in one language, shared by the cells that were scored on them.

    rows, parallel: empty in results of earlier versions.
    """

    ids: Sequence[str]
    clusters: Names
    rows: Sequence[int]
    parallel: Sequence[str]


def read_examples(path: Path, parallel_by_id: bool) -> dict[str, Examples]:
    """Language → its examples.

    Args:
        path: examples.parquet of a score step.
        parallel_by_id: whether translations share their id, for results of earlier versions, which
            have no parallel keys.
    """
    examples = {}
    table = pq.read_table(path, use_threads=False)
    languages = table.column("language").to_pylist()
    for language in dict.fromkeys(languages):
        rows = table.filter(pa.compute.equal(table.column("language"), language))
        ids = rows.column("id").to_pylist()
        examples[language] = Examples(
            ids,
            Names.of(clusters_of(rows, language)),
            array("i", rows.column("row").to_pylist()) if "row" in rows.column_names else (),
            rows.column("parallel").to_pylist()
            if "parallel" in rows.column_names
            else ids
            if parallel_by_id
            else (),
        )
    return examples


def texts(predictions: Path, place: tuple[int, int], side: str) -> list[Any]:
    """Parsed predictions or gold answers.

    Args:
        predictions: a score step's predictions.
        place: (first row, number of rows).
        side: `prediction` or `gold`.
    """
    return [json.loads(text) for text in _texts(predictions).column(side).slice(*place).to_pylist()]


@lru_cache(maxsize=1)
def _texts(predictions: Path) -> pa.Table:
    return pq.read_table(predictions, columns=["prediction", "gold"], use_threads=False)


def stored(store: Store, manifest: Manifest, metrics: Sequence[str]) -> tuple[Manifest, Counted]:
    """(the manifest with counts, the counts) of a score step. Steps of earlier versions get them,
    and so do those whose counts are of another version.

    Args:
        store: the run's store.
        manifest: of a finished score step.
        metrics: of the step's spec.
    """
    counted = read_counts(store.file(manifest, COUNTS)) if COUNTS in manifest.files else None
    if counted is None:
        with tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
            files = write_counts(
                store.file(manifest, "predictions.parquet"), metrics, Path(scratch)
            )
            manifest = store.add_files(manifest, files)
        counted = read_counts(store.file(manifest, COUNTS))
        assert counted is not None  # just written
    return manifest, counted


def read_counts(path: Path) -> Counted | None:
    """The counts of a step; None if another version of the metrics counted them."""
    metadata = json.loads((pq.read_schema(path).metadata or {}).get(b"xstilts", b"{}"))
    if metadata.get("version") != VERSION:
        return None
    keys = [(checkpoint, language) for checkpoint, language, _, _ in metadata["places"]]
    places = {key: (row[2], row[3]) for key, row in zip(keys, metadata["places"], strict=True)}
    return Counted(path, places, dict(zip(keys, metadata["corpus"], strict=True)))
