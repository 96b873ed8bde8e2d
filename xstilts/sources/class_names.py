"""The names of classes that a Parquet file declares (the feature ClassLabel of `datasets`), and
rows that show them.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from xstilts.errors import DataError
from xstilts.tasks.labels import LabelColumn


def declared(file: Path | BinaryIO) -> dict[str, tuple[str, ...]]:
    """column → the names of its classes in the order of their numbers, for columns of classes
    and of lists of classes. Source: the schema's metadata `huggingface`, as `datasets.Features`
    writes it.
    """
    import pyarrow.parquet as pq

    written = (pq.read_schema(file).metadata or {}).get(b"huggingface")
    features = json.loads(written).get("info", {}).get("features", {}) if written else {}
    found = {column: _names(feature) for column, feature in features.items()}
    return {column: names for column, names in found.items() if names}


def _names(feature: Any) -> tuple[str, ...]:
    """Of a class, or of a list of classes, as datasets 2 to 5 write them; empty for another
    feature.
    """
    if isinstance(feature, list):
        return _names(feature[0]) if len(feature) == 1 else ()
    if not isinstance(feature, Mapping):
        return ()
    if feature.get("_type") == "ClassLabel":
        return tuple(map(str, feature["names"]))
    return _names(feature["feature"]) if "feature" in feature else ()


def named_rows(rows: Any, files: Sequence[Path], labels: LabelColumn) -> Any:
    """Rows with the names of their classes in the column of labels; the rows themselves where
    the files declare none. DataError for a class that the task does not have, and for files of
    one split that number their classes differently.
    """
    names: tuple[str, ...] | None = None
    for file in files:
        here = declared(file).get(labels.column, ())
        labels.check(here, str(file))
        if names is not None and here != names:
            raise DataError(
                f"{file}: the column {labels.column} has the classes {', '.join(here) or 'without names'}, and {files[0].name} of "
                f"the same split has {', '.join(names) or 'none by name'}; fetch all files of one revision"
            )
        names = here
    return NamedRows(rows, labels.column, names) if names else rows


class NamedRows:
    """Rows whose class numbers are replaced by their names."""

    def __init__(self, rows: Any, column: str, names: tuple[str, ...]) -> None:
        self.rows, self.column, self.names = rows, column, names

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A row; ValueError for a number that no class has."""
        row = self.rows[index]
        return {**row, self.column: self._name(row[self.column])}

    def _name(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._name(number) for number in value]
        if value is None or value < 0:  # no gold label
            return value
        if value >= len(self.names):
            raise ValueError(f"{self.column}: {value} is not between 0 and {len(self.names) - 1}")
        return self.names[value]
