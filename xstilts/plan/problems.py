"""Mistakes in a plan: how they are worded, and how a plan with some is read so that the others
are found as well.
"""

import copy
import difflib
from collections.abc import Iterable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from xstilts.errors import PlanError

M = TypeVar("M", bound=BaseModel)
Loc = tuple[int | str, ...]


class InvalidPlan(PlanError):
    """A plan with mistakes. `problems` holds them all, each with its key path and what is
    allowed.
    """

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        count = len(self.problems)
        head = f"{source}: {count} mistake{'s' if count != 1 else ''}; nothing was started"
        super().__init__("\n".join([head, *(f"  - {problem}" for problem in self.problems)]))


def not_one_of(value: object, allowed: Iterable[str]) -> str:
    """`'sqad' is not one of …; did you mean 'squad'?`: long lists are cut, the close match is
    always named.
    """
    names = list(dict.fromkeys(allowed))
    close = difflib.get_close_matches(str(value), names, n=1)
    shown = ", ".join(names[:40]) + (f", … ({len(names)} in all)" if len(names) > 40 else "")
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{value!r} is unknown; {hint}allowed: {shown or 'none'}"


def validate(model: type[M], raw: Mapping[str, Any]) -> tuple[M, list[str], set[Loc]]:
    """(a model, problems, places that were cut). Bad values are cut out and the rest is read
    again until it holds; the model is whole only when there are no problems. Every field of
    `model` needs a default.
    """
    data: Any = copy.deepcopy(dict(raw))
    problems: list[str] = []
    cut: set[Loc] = set()
    while True:
        try:
            return model.model_validate(data), problems, cut
        except ValidationError as error:
            found = error.errors(include_url=False)
        for item in found:
            loc = item["loc"]
            # What is said of a thing from which something was cut may only follow from the cut.
            if not any(old[: len(loc)] == loc for old in cut):
                problems.append(_worded(model, loc, item))
        before = len(cut)
        cut |= {gone for item in found if (gone := _cut(data, item["loc"])) is not None}
        if len(cut) == before:  # nothing left to cut: the whole is unreadable
            return model(), problems, cut


def key_path(loc: Loc) -> str:
    """`('arms', 'x', 'mixture', 0)` → `arms.x.mixture[0]`. Parts that only the plain shape has
    are left out.
    """
    parts = list(loc)
    if parts[:1] == ["rows"] and parts[1:2] in (["default"], ["tasks"]):
        del parts[1]
    text = ""
    for part in parts:
        if part == "[key]":
            continue
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the plan"


def _worded(model: type[BaseModel], loc: Loc, item: Mapping[str, Any]) -> str:
    path, kind, given = key_path(loc), item["type"], item.get("input")
    if kind == "extra_forbidden":
        fields = _fields(_annotation(model, loc[:-1]))
        return (
            f"{key_path(loc[:-1]) + ': ' if len(loc) > 1 else ''}key {not_one_of(loc[-1], fields)}"
        )
    if kind == "missing":
        return f"{path}: is required"
    if kind == "literal_error":
        allowed = [str(value) for value in _literals(_annotation(model, loc))]
        return (
            f"{path}: {not_one_of(given, allowed)}"
            if allowed
            else f"{path}: {given!r}; {item['msg']}"
        )
    if kind == "value_error":
        return f"{path}: {item['ctx']['error']}"
    if kind == "string_pattern_mismatch":
        return f"{path}: {given!r} cannot be a name; allowed: up to 63 letters, digits, '.', '_', '-', no leading sign"
    if kind in ("too_short", "too_long"):
        return f"{path}: {item['msg'].lower()}"
    message = str(item["msg"]).removeprefix("Input ")
    return f"{path}: {given!r} {message[0].lower() + message[1:]}"


def _cut(data: Any, loc: Loc) -> Loc | None:
    """Removes what stands at loc, or the nearest thing around it that exists. Returns the loc of
    what was removed.
    """
    holder: Any = None
    here: Any = data
    at: list[int | str] = []
    for part in loc:
        if part == "[key]":
            continue
        if not isinstance(here, dict) or part not in here:
            break  # a missing key, or a place inside a list: what lacks it goes as a whole
        holder, here = here, here[part]
        at.append(part)
    if holder is None:
        return None
    del holder[at[-1]]
    return tuple(at)


def _annotation(model: type[BaseModel], loc: Sequence[int | str]) -> Any:
    """The type that a place in a plan has, or None."""
    here: Any = model
    for part in loc:
        here = _unwrapped(here)
        if isinstance(here, type) and issubclass(here, BaseModel):
            fields = {field.alias or name: field for name, field in here.model_fields.items()}
            field = fields.get(str(part))
            if field is None:
                return None
            here = field.annotation
        else:
            arguments = [a for a in get_args(here) if a is not Ellipsis]
            here = arguments[-1] if arguments else None
    return _unwrapped(here)


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
