"""Error messages for invalid plans, and validation that goes past the first error."""

import copy
import difflib
from collections.abc import Iterable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from xstilts.errors import PlanError, counted

M = TypeVar("M", bound=BaseModel)
Loc = tuple[int | str, ...]


class InvalidPlan(PlanError):
    """An invalid plan. `problems` lists every error with its key path and allowed values."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        head = f"{source}: {counted(len(self.problems), 'error')}; nothing was started"
        super().__init__("\n".join([head, *(f"  - {problem}" for problem in self.problems)]))


def not_one_of(value: object, allowed: Iterable[str]) -> str:
    """`'sqad' is unknown; did you mean 'squad'? allowed: …`. Long lists are cut."""
    names = list(dict.fromkeys(allowed))
    close = difflib.get_close_matches(str(value), names, n=1)
    shown = ", ".join(names[:40]) + (f", … ({len(names)} in all)" if len(names) > 40 else "")
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{value!r} is unknown; {hint}allowed: {shown or 'none'}"


def validate(model: type[M], raw: Mapping[str, Any]) -> tuple[M, list[str], set[Loc]]:
    """Returns (a model, problems, locations that were cut).

    Invalid values are cut and the rest is validated again until it is valid, so the model is
    complete only if there are no problems. Every field of `model` needs a default.
    """
    data: Any = copy.deepcopy(dict(raw))
    problems: list[str] = []
    cut: set[Loc] = set()
    while True:
        try:
            return model.model_validate(data), problems, cut
        except ValidationError as error:
            items = error.errors(include_url=False)
        inner = {item["loc"][:end] for item in items for end in range(len(item["loc"]))}
        for item in items:
            loc = item["loc"]
            # An error may be the consequence of an invalid or cut value inside.
            if loc not in inner and not any(removed[: len(loc)] == loc for removed in cut):
                problems.append(_message(model, loc, item))
        before = len(cut)
        cut |= {removed for item in items if (removed := _cut(data, item["loc"])) is not None}
        if len(cut) == before:  # nothing left to cut: the whole plan is invalid
            return model(), problems, cut


def problems_of(model: type[BaseModel], error: ValidationError) -> list[str]:
    """The errors of another YAML document than a plan, in the same words."""
    return [_problem(model, item) for item in error.errors(include_url=False)]


def _problem(model: type[BaseModel], item: Mapping[str, Any]) -> str:
    if item["loc"]:
        return _message(model, item["loc"], item)
    if item["type"] == "value_error":  # of the whole document
        return str(item["ctx"]["error"])
    return f"must be a mapping; allowed keys: {', '.join(_fields(model))}"


#: Pydantic's error type → what the value must be, in terms of YAML.
_SHAPES: Mapping[str, str] = {
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "tuple_type": "a list",
    "string_type": "a string",
}


def key_path(loc: Loc) -> str:
    """`('arms', 'x', 'mixture', 0)` → `arms.x.mixture[0]`. Drops parts that normalization adds."""
    parts = list(loc)
    if parts[:1] == ["rows"] and parts[1:2] in (["default"], ["tasks"]):
        del parts[1]
    text = ""
    for part in parts:
        if part == "[key]":
            continue
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the plan"


def _message(model: type[BaseModel], loc: Loc, item: Mapping[str, Any]) -> str:
    path, kind, value = key_path(loc), item["type"], item.get("input")
    if kind == "extra_forbidden":
        fields = _fields(_annotation(model, loc[:-1]))
        return (
            f"{key_path(loc[:-1]) + ': ' if len(loc) > 1 else ''}key {not_one_of(loc[-1], fields)}"
        )
    if kind == "missing":
        return f"{path}: is required"
    if kind == "literal_error":
        allowed = [
            str(value).lower() if isinstance(value, bool) else str(value)
            for value in _literals(_annotation(model, loc))
        ]
        return (
            f"{path}: {not_one_of(value, allowed)}"
            if allowed
            else f"{path}: invalid value {value!r}; {item['msg']}"
        )
    if kind == "value_error":
        return f"{path}: {item['ctx']['error']}"
    if kind == "string_pattern_mismatch":
        return (
            f"{path}: invalid name {value!r}; allowed: up to 63 letters, digits, '.', '_' and '-', "
            "starting with a letter or digit"
        )
    if kind in ("too_short", "too_long"):
        return f"{path}: {item['msg'].lower()}"
    if kind in _SHAPES:
        return f"{path}: invalid value {value!r}; must be {_SHAPES[kind]}"
    message = str(item["msg"]).removeprefix("Input ")
    return f"{path}: {value!r} {message[0].lower() + message[1:]}"


def _cut(data: Any, loc: Loc) -> Loc | None:
    """Removes the value at loc, or the nearest enclosing value that exists. Returns its loc."""
    parent: Any = None
    value: Any = data
    removed: list[int | str] = []
    for part in loc:
        if part == "[key]":
            continue
        if not isinstance(value, dict) or part not in value:
            break  # a missing key, or a list item: the enclosing value is removed
        parent, value = value, value[part]
        removed.append(part)
    if parent is None:
        return None
    del parent[removed[-1]]
    return tuple(removed)


def _annotation(model: type[BaseModel], loc: Sequence[int | str]) -> Any:
    """The type of the value at a location in a plan, or None."""
    annotation: Any = model
    for part in loc:
        annotation = _unwrapped(annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            fields = {field.alias or name: field for name, field in annotation.model_fields.items()}
            field = fields.get(str(part))
            if field is None:
                return None
            annotation = field.annotation
        else:
            arguments = [a for a in get_args(annotation) if a is not Ellipsis]
            annotation = arguments[-1] if arguments else None
    return _unwrapped(annotation)


def _unwrapped(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        return _unwrapped(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        rest = [a for a in get_args(annotation) if a is not type(None)]
        return _unwrapped(rest[0]) if len(rest) == 1 else annotation
    return annotation


def _fields(annotation: Any) -> list[str]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [field.alias or name for name, field in annotation.model_fields.items()]
    return []


def _literals(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation)
