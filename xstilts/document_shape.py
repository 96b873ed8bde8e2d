"""The shape that a JSON document must have, as data, and what is wrong with a value that has
another.

A shape is a type or a tuple of types; a mapping of the members that an object must have, at least;
a list of one shape, which all its values have; a `Maybe`, a `Between`, a `Whole` or a compiled
pattern. A member whose name ends in `?` may be missing, and `*` stands for all other members.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from xstilts.errors import DataError
from xstilts.input_files import LARGEST, expected_types, named, read_json

Shape = Any


@dataclass(frozen=True)
class Maybe:
    """A shape, or null."""

    shape: Shape


@dataclass(frozen=True)
class Between:
    """A number between two, which it may equal."""

    low: float
    high: float


@dataclass(frozen=True)
class Whole:
    """An integer between two, which it may equal."""

    low: int
    high: int


NUMBER = (int, float)
#: Seconds since 1970, to the end of the year 9999.
TIME = Between(0, 253_402_300_799)


def optional(members: Mapping[str, Shape]) -> dict[str, Shape]:
    """Members that may all be missing."""
    return {f"{name.removesuffix('?')}?": shape for name, shape in members.items()}


def fields_in(document: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """The members of a document that are fields of a dataclass."""
    return {field.name: document[field.name] for field in fields(kind) if field.name in document}


def fault(value: Any, shape: Shape, place: str = "") -> str | None:
    """What is wrong with a value, with the place of the first fault in it; None if it has the
    shape. place: of the value itself, empty for a document.
    """
    if isinstance(shape, Mapping):
        return _fault_of_object(value, shape, place)
    if isinstance(shape, list):
        return _fault_of_list(value, shape[0], place)
    if isinstance(shape, Maybe):
        return None if value is None else fault(value, shape.shape, place)
    if isinstance(shape, Between):
        if fault(value, NUMBER) is None and shape.low <= value <= shape.high:
            return None
        return f"`{place}` must be a number from {shape.low:,} to {shape.high:,}"
    if isinstance(shape, Whole):
        if fault(value, int) is None and shape.low <= value <= shape.high:
            return None
        return f"`{place}` must be a whole number from {shape.low:,} to {shape.high:,}"
    if isinstance(shape, re.Pattern):
        if isinstance(value, str) and shape.fullmatch(value):
            return None
        return f"`{place}` must be text like {shape.pattern}"
    types = shape if isinstance(shape, tuple) else (shape,)
    if isinstance(value, types) and (not isinstance(value, bool) or bool in types):
        return None
    return _another(value, types, place)


def read_shaped(path: Path | str, shape: Shape, remedy: str, largest: int = LARGEST) -> Any:
    """The value of a JSON file that has a shape. DataError with the path and the remedy, which says
    what to do, otherwise.
    """
    try:
        value = read_json(path, largest)
    except DataError as error:
        raise DataError(f"{error}; {remedy}") from error
    if (problem := fault(value, shape)) is not None:
        raise DataError(f"{path}: {problem}; {remedy}")
    return value


def _another(value: Any, types: tuple[type, ...], place: str) -> str:
    if not place:
        return f"expected a JSON {expected_types(types).removeprefix('an ')}, not {named(value)}"
    return f"`{place}` must be {expected_types(types)}, not {named(value)}"


def _fault_of_object(value: Any, members: Mapping[str, Shape], place: str) -> str | None:
    if not isinstance(value, dict):
        return _another(value, (dict,), place)
    prefix = f"{place}." if place else ""
    for name, shape in members.items():
        key = name.removesuffix("?")
        if name == "*":
            others = (
                (each, inner) for each, inner in value.items() if not _is_named(each, members)
            )
            for each, inner in others:
                if (problem := fault(inner, shape, f"{prefix}{each[:80]}")) is not None:
                    return problem
        elif key in value:
            if (problem := fault(value[key], shape, f"{prefix}{key}")) is not None:
                return problem
        elif name == key:
            return f"`{prefix}{key}` is missing"
    return None


def _is_named(key: str, members: Mapping[str, Shape]) -> bool:
    return key in members or f"{key}?" in members


def _fault_of_list(value: Any, shape: Shape, place: str) -> str | None:
    if not isinstance(value, list):
        return _another(value, (list,), place)
    faults = (fault(each, shape, f"{place}[{index}]") for index, each in enumerate(value))
    return next((problem for problem in faults if problem is not None), None)
