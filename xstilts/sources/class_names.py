"""Class names that a Parquet file declares (the feature ClassLabel of `datasets`), and rows in
which they replace the class numbers.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from xstilts.errors import DataError
from xstilts.input_files import parse_row
from xstilts.tasks.labels import LabelColumn


def declared_classes(file: Path | BinaryIO) -> dict[str, tuple[str, ...]]:
    """Column → its class names in the order of their numbers, for columns of classes and of lists
    of classes.

    The names are in the schema metadata `huggingface`, as `datasets.Features` writes it.
    """
    import pyarrow.parquet as pq

    metadata = (pq.read_schema(file).metadata or {}).get(b"huggingface")
    features: Any = parse_row(metadata) if metadata else {}
    for key in ("info", "features"):
        features = features.get(key, {}) if isinstance(features, Mapping) else {}
    if not isinstance(features, Mapping):
        return {}
    classes = {column: _class_names(feature) for column, feature in features.items()}
    return {column: names for column, names in classes.items() if names}


def _class_names(feature: Any) -> tuple[str, ...]:
    """The names of a class feature, or of a list of them, in the formats of datasets 2 to 5. Empty
    for other features.
    """
    if isinstance(feature, list):
        return _class_names(feature[0]) if len(feature) == 1 else ()
    if not isinstance(feature, Mapping):
        return ()
    if feature.get("_type") == "ClassLabel":
        return tuple(map(str, feature["names"]))
    return _class_names(feature["feature"]) if "feature" in feature else ()


def with_class_names(rows: Any, files: Sequence[Path], labels: LabelColumn) -> Any:
    """The rows with class names in the label column, or unchanged if the files declare no names.

    DataError for a class that the task does not have, and for files of one split that number
    their classes differently.
    """
    names: tuple[str, ...] | None = None
    for file in files:
        file_names = declared_classes(file).get(labels.column, ())
        labels.check(file_names, str(file))
        if names is not None and file_names != names:
            raise DataError(
                f"{file}: the classes of column {labels.column} are "
                f"{', '.join(file_names) or 'unnamed'}, but {', '.join(names) or 'unnamed'} in "
                f"{files[0].name} of the same split; fetch all files of one revision"
            )
        names = file_names
    return NamedRows(rows, labels.column, names) if names else rows


class NamedRows:
    """Rows whose class numbers are replaced by the class names."""

    def __init__(self, rows: Any, column: str, names: tuple[str, ...]) -> None:
        self.rows, self.column, self.names = rows, column, names

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A row; ValueError for a number that is not a class."""
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
