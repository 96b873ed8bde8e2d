"""The predictions of a report, one cell and language at a time."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from xstilts.errors import DataError, in_a_line
from xstilts.input_files import open_file

CELL = ("backbone", "arm", "seed_intermediate", "seed_target")
#: A backbone, an arm, and its seeds.
Cell = tuple[str, str, int | None, int | None]
_KEYS = (*CELL, "language")
_VALUES = ("id", "prediction", "gold")


@dataclass(frozen=True)
class LanguagePredictions:
    """The predictions of one cell for one evaluation in one language.

    predictions, golds: as JSON. asked: for retrieval, the English sentences of the queries; None
    in reports without them.
    """

    ids: Sequence[str]
    predictions: Sequence[str]
    golds: Sequence[str]
    asked: Sequence[str] | None = None


class Predictions(Protocol):
    """Where predictions come from: a report's folder, or a store."""

    def evaluations(self) -> Sequence[str]:
        """Names of the evaluations with predictions."""

    def cells(self, evaluation: str) -> Sequence[Cell]:
        """The cells with predictions of an evaluation."""

    def languages(self, evaluation: str) -> Sequence[str]:
        """The languages with predictions of an evaluation."""

    def parts(
        self, evaluation: str, wanted: Callable[[str], bool]
    ) -> Iterator[tuple[Cell, str, LanguagePredictions]]:
        """(cell, language, predictions) of each cell and wanted language, one by one."""


class ReportPredictions:
    """The files `predictions/<evaluation>.parquet` of a report. The row groups of one cell and
    language are in memory at a time.
    """

    def __init__(self, report: Path) -> None:
        self.folder = report / "predictions"
        self._known: dict[str, dict[tuple[Cell, str], list[int]]] = {}

    def evaluations(self) -> list[str]:
        return [path.stem for path in sorted(self.folder.glob("*.parquet"))]

    def cells(self, evaluation: str) -> list[Cell]:
        return list(dict.fromkeys(cell for cell, _ in self._places(evaluation)))

    def languages(self, evaluation: str) -> list[str]:
        return list(dict.fromkeys(language for _, language in self._places(evaluation)))

    def parts(
        self, evaluation: str, wanted: Callable[[str], bool]
    ) -> Iterator[tuple[Cell, str, LanguagePredictions]]:
        places = self._places(evaluation)
        # Once: the file's footer has an entry for each of its row groups.
        with _opened(self._path(evaluation)) as file:
            asked = ("asked",) if "asked" in file.schema_arrow.names else ()
            for (cell, language), groups in places.items():
                if not wanted(language):
                    continue
                table = file.read_row_groups(groups, [*_KEYS, *_VALUES, *asked])
                table = _of(table, cell, language)
                columns = {name: table.column(name).to_pylist() for name in (*_VALUES, *asked)}
                for name in _VALUES[1:]:
                    if not all(isinstance(value, str) for value in columns[name]):
                        raise ValueError(f"{name} is not text in every row")
                texts = columns.get("asked")
                yield (
                    cell,
                    language,
                    LanguagePredictions(
                        [str(name) for name in columns["id"]],
                        columns["prediction"],
                        columns["gold"],
                        None if texts is None or None in texts else texts,
                    ),
                )

    def _path(self, evaluation: str) -> Path:
        return self.folder / f"{evaluation}.parquet"

    def _places(self, evaluation: str) -> Mapping[tuple[Cell, str], list[int]]:
        """(cell, language) → the row groups that have rows of it."""
        if evaluation not in self._known:
            places: dict[tuple[Cell, str], list[int]] = {}
            with _opened(self._path(evaluation)) as file:
                lacking = sorted({*_KEYS, *_VALUES} - set(file.schema_arrow.names))
                if lacking:
                    raise LookupError(f"no column {', '.join(lacking)}")
                for group in range(file.num_row_groups):
                    keys = file.read_row_group(group, list(_KEYS))
                    for row in keys.group_by(list(_KEYS)).aggregate([]).to_pylist():
                        place = (cell_of(row), str(row["language"]))
                        places.setdefault(place, []).append(group)
            self._known[evaluation] = places
        return self._known[evaluation]


def cell_of(row: Mapping[str, Any]) -> Cell:
    """The cell of a row of a report's table."""
    intermediate, target = (_seed(row[name]) for name in CELL[2:])
    return str(row["backbone"]), str(row["arm"]), intermediate, target


def _seed(value: Any) -> int | None:
    if not isinstance(value, int | float | None):
        raise ValueError(f"{value!r} is not a seed")
    return None if value is None or math.isnan(value) else int(value)


def _of(table: pa.Table, cell: Cell, language: str) -> pa.Table:
    """The rows of one cell and language."""
    mask = pc.equal(table.column("language"), language)
    for name, value in zip(CELL, cell, strict=True):
        column = table.column(name)
        same = pc.is_null(column, nan_is_null=True) if value is None else pc.equal(column, value)
        mask = pc.and_(mask, pc.fill_null(same, False))
    return table.filter(mask)


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A file of predictions. DataError for another file."""
    with open_file(path) as stream:
        try:
            yield pq.ParquetFile(stream)
        except (ValueError, OSError, LookupError) as error:  # pyarrow's errors are of these types
            raise DataError(
                f"{path}: cannot be read as predictions ({type(error).__name__}: "
                f"{in_a_line(str(error))[:200]}); download the report again"
            ) from error
