"""Labels by name: a file may number its classes in another order than the task, or write their
names.

The numbers of a plain column are the task's ids. If a file names its classes (the feature
ClassLabel of `datasets`) or contains names, the names are used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xstilts.errors import DataError

#: The id of a row without a gold label, as SNLI and hidden test sets have it.
NO_LABEL = -1


@dataclass(frozen=True)
class LabelColumn:
    """A column of labels. A decimal number is the name of the class with this id (PAWS-X names its
    classes 0 and 1).

    Attributes:
        column: the column's name.
        labels: in the order of the task's ids.
        other_names: further name → label; the label is empty for "no gold label".
    """

    column: str
    labels: tuple[str, ...]
    other_names: Mapping[str, str] = field(default_factory=dict)

    def id_of(self, value: Any) -> int | None:
        """The id of a name or a number; None for no gold label. ValueError for anything else."""
        if isinstance(value, str):
            return self._id_of_name(value)
        if value is None:
            raise ValueError(f"{self.column} is null")
        if not isinstance(value, int | float) or int(value) != value:
            raise ValueError(
                f"{self.column}: {value!r} is not a label; allowed: {', '.join(self.labels)}"
            )
        return self._in_range(int(value))

    def _id_of_name(self, name: str) -> int | None:
        names = {**{label.casefold(): label for label in self.labels}, **self.other_names}
        label = name if name in self.labels else names.get(name, names.get(name.casefold()))
        if label == "":
            return None
        if label is not None:
            return self.labels.index(label)
        if name.removeprefix("-").isdecimal():
            return self._in_range(int(name))
        raise ValueError(f"{self.column} {name!r} is not one of {', '.join(self.labels)}")

    def _in_range(self, number: int) -> int | None:
        if number == NO_LABEL:
            return None
        if not 0 <= number < len(self.labels):
            raise ValueError(f"{self.column} {number} is not between 0 and {len(self.labels) - 1}")
        return number

    def ids_of(self, values: Sequence[Any]) -> list[int]:
        """The ids of a list of labels. ValueError where one is unknown or missing."""
        ids = [self.id_of(value) for value in values]
        if None in ids:
            raise ValueError(
                f"{self.column}: the label at position {ids.index(None)} is missing "
                f"({values[ids.index(None)]!r})"
            )
        return [number for number in ids if number is not None]

    def check(self, names: Sequence[str], where: str) -> None:
        """DataError with file and column if a file has a class that the task does not have."""
        for name in names:
            try:
                self.id_of(name)
            except ValueError as error:
                raise DataError(
                    f"{where}: the column {self.column} has the class {name!r}, but the task has "
                    f"{', '.join(self.labels)}; use the data set's official file, or rename the "
                    "class in the file"
                ) from error

    def is_reordered(self, names: Sequence[str]) -> bool:
        """Whether a file's numbers differ from the task's."""
        return any(self.id_of(name) not in (number, None) for number, name in enumerate(names))
