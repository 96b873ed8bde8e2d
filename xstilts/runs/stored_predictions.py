"""The predictions of a run's score steps, for reports that are too large to contain them."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from xstilts.errors import DataError, StoreError
from xstilts.input_files import open_file
from xstilts.official.predictions import CELL, Cell, LanguagePredictions, cell_of
from xstilts.runs.step_counts import languages_of
from xstilts.store.manifest import Manifest
from xstilts.store.store import Store

CELLS = "cells.parquet"


class StoredPredictions:
    """The predictions of the score steps in a report's cells.parquet. One step is downloaded at a
    time, and one language of it is in memory.
    """

    def __init__(self, store: Store, report: Path) -> None:
        """Raises DataError for a report without cells.parquet, StoreError if the store lacks a
        step.
        """
        self.store = store
        self._steps: dict[str, list[tuple[Cell, Manifest]]] = {}
        rows = _rows(report / CELLS)
        read = store.manifests([("score", row["step"]) for row in rows])
        for row, manifest in zip(rows, read, strict=True):
            if manifest is None:
                raise StoreError(
                    f"{store.uri}: no score step {row['step'][:12]}, which {report} names; give "
                    "the store of its run with --store, or --home for local runs"
                )
            self._steps.setdefault(str(row["evaluation"]), []).append((cell_of(row), manifest))

    def evaluations(self) -> list[str]:
        return list(self._steps)

    def cells(self, evaluation: str) -> list[Cell]:
        return list(dict.fromkeys(cell for cell, _ in self._steps[evaluation]))

    def languages(self, evaluation: str) -> list[str]:
        every = (manifest.step["spec"]["languages"] for _, manifest in self._steps[evaluation])
        return list(dict.fromkeys(code for languages in every for code in languages))

    def parts(
        self, evaluation: str, wanted: Callable[[str], bool]
    ) -> Iterator[tuple[Cell, str, LanguagePredictions]]:
        for cell, manifest in self._steps[evaluation]:
            path = self.store.file(manifest, "predictions.parquet")
            for (checkpoint, language), table in languages_of(path):
                if checkpoint != "selected" or not wanted(language):
                    continue
                ids, predictions, golds = (
                    table.column(name).to_pylist() for name in ("id", "prediction", "gold")
                )
                asked = None
                if manifest.step["spec"]["format"] == "retrieval":
                    asked = queries(self.store, manifest.step, language)
                yield cell, language, LanguagePredictions(ids, predictions, golds, asked)


def queries(store: Store, step: Mapping[str, Any], language: str) -> list[str]:
    """The English query sentences of a retrieval step; a submission sorts them alphabetically.

    Raises:
        StoreError: the step's records are not in the store.
    """
    fingerprint = step["parents"][f"gold:{language}"]
    manifest = store.manifest("records", fingerprint)
    if manifest is None:
        raise StoreError(
            f"{step['settings']['label']}: its records {fingerprint[:12]} are not in the store; "
            "run the plan again"
        )
    path = store.file(manifest, "records.parquet")
    texts: list[str] = pq.read_table(path, columns=["text_pair"])["text_pair"].to_pylist()
    return texts


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a report's cells.parquet."""
    with open_file(path) as stream:
        try:
            rows: list[dict[str, Any]] = pq.read_table(stream).to_pylist()
        except (ValueError, OSError) as error:
            raise DataError(f"{path}: not a Parquet file; download the report again") from error
    names = {"evaluation", "step", *CELL}
    if rows and (lacking := sorted(names - rows[0].keys())):
        raise DataError(f"{path}: no column {', '.join(lacking)}; download the report again")
    return rows
