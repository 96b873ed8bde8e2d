"""What docs/plan.md says of each key, worked out from the schema: type, allowed values, default."""

import re
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, StringConstraints
from pydantic.fields import FieldInfo

from xstilts.models import families
from xstilts.plan import arm_plan, backbone_plan, placement, resources, schema

#: Heading of docs/plan.md → the part of the schema that its table lists.
SECTIONS: Mapping[str, type[BaseModel]] = {
    "Top-level keys": schema.Plan,
    "backbones.NAME": backbone_plan.BackbonePlan,
    "backbones.NAME.build": backbone_plan.Build,
    "backbones.NAME.build.tokenizer": backbone_plan.Tokenizer,
    "backbones.NAME.tuning": backbone_plan.Tuning,
    "arms.NAME": arm_plan.Arm,
    "arms.NAME.mixture": arm_plan.MixtureTask,
    "evaluations.NAME": schema.EvaluationPlan,
    "rows": schema.Caps,
    "budget": schema.Budget,
    "override.TASK": backbone_plan.Override,
    "override.TASK.answer_limit": backbone_plan.AnswerLength,
    "splits.TASK": schema.SplitPlan,
    "splits.TASK.SPLIT": schema.SplitChoice,
    "contrasts.NAME": schema.Contrast,
    "controls": schema.Controls,
    "controls.positive": schema.Control,
    "controls.negative": schema.NegativeControl,
    "report": schema.ReportPlan,
    "report.regression": schema.Regression,
    "resources": resources.Resources,
    "resources.cluster": placement.Cluster,
    "resources.cluster.tolerations": placement.Toleration,
}
#: Keys that a plan cannot leave out although the schema has a default for them: checks.py asks.
REQUIRED = {(schema.Plan, "name"), (schema.Plan, "backbones"), (schema.Plan, "evaluations")}
#: Keys whose form in a plan is shorter than in the schema (xstilts/plan/normalize.py).
SHORT_FORMS = {"rows": "[keys](#rows)", "tasks": "list of files"}
#: Values that a function of the schema checks, by the function's name.
CHECKED = {"_selection": "`last`, or an integer ≥ 1", "_token_budget": "`auto`, or an integer ≥ 1"}
CHECKED |= {"_key": "label key", "_value": "label value"}
CHECKED |= {"_object": "object name", "_distinct": "pairs of seeds, all different"}
CHECKED["_gpus"] = "integer ≥ 0, or a part of one GPU, ≥ 0.0001"
CHECKED["_family"] = ", ".join(f"`{name}`" for name in getattr(families, "FAMILIES", ()))
NAMES = {str: "text", int: "integer", float: "number", bool: "`true`, `false`"}
_ROW = re.compile(r"^\|\s*`(\w+)`\s*\|\s*([^|]*?)\s*\|\s*([^|]*?)\s*\|\s*(.*?)\s*\|$")


class Key(NamedTuple):
    name: str
    values: str
    default: str


def keys(part: type[BaseModel]) -> list[Key]:
    return [
        Key(field.alias or name, _values(part, name, field), _default(part, name, field))
        for name, field in part.model_fields.items()
    ]


def documented(page: str, heading: str) -> dict[Key, str]:
    """Key → meaning, of the table below a heading."""
    rows = [_ROW.match(line) for line in _table(page, heading).splitlines()]
    return {Key(row[1], row[2], row[3]): row[4] for row in rows if row}


def renewed(page: str) -> str:
    """The page with the first three columns of every table as the schema has them; a new key has an
    empty meaning, for a person to write.
    """
    for heading, part in SECTIONS.items():
        meanings = {key.name: meaning for key, meaning in documented(page, heading).items()}
        rows = [
            f"| `{key.name}` | {key.values} | {key.default} | {meanings.get(key.name, '')} |"
            for key in keys(part)
        ]
        start = page.index(f"# {heading}\n")
        table = _table(page, heading)
        head = "\n".join(table.splitlines()[:2])
        page = page[:start] + page[start:].replace(table, "\n".join([head, *rows]), 1)
    return page


def _table(page: str, heading: str) -> str:
    match = re.search(
        rf"^#+ {re.escape(heading)}\n(?:(?!#).*\n)*?((?:\| key \| values .*\n)(?:\|.*\n?)*)",
        page,
        re.M,
    )
    assert match, f"docs/plan.md has no table of keys below '{heading}'"
    return match[1].rstrip("\n")


def _default(part: type[BaseModel], name: str, field: FieldInfo) -> str:
    if field.is_required() or (part, name) in REQUIRED:
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel) or value in ({}, ()):
        return "empty"
    if name == "seeds":
        return "`1`"
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`"


def _values(part: type[BaseModel], name: str, field: FieldInfo) -> str:
    if part is schema.Plan and name in SHORT_FORMS:
        return SHORT_FORMS[name]
    return _described(field.annotation, field.metadata)


def _described(annotation: Any, metadata: Any = ()) -> str:
    for item in metadata:
        if isinstance(item, AfterValidator):
            described = CHECKED.get(item.func.__name__)
            if described:
                return described
        if isinstance(item, StringConstraints):
            return "name"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _described(arguments[0], _flat(arguments[1:]))
    if origin in (Union, types.UnionType):
        return _described(next(one for one in arguments if one is not type(None)), metadata)
    if origin is Literal:
        return ", ".join(
            f"`{str(one).lower() if isinstance(one, bool) else one}`" for one in arguments
        )
    if origin is tuple:
        return f"list of {_described(arguments[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"{_described(arguments[0])} → {_described(arguments[1])}"
    if annotation is Any:
        return "any"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        heading = next(name for name, part in SECTIONS.items() if part is annotation)
        return f"[keys](#{_anchor(heading)})"
    return NAMES[annotation] + "".join(_bounds(metadata))


def _flat(metadata: Any) -> list[Any]:
    return [
        part
        for item in metadata
        for part in (item.metadata if isinstance(item, FieldInfo) else [item])
    ]


def _bounds(metadata: Any) -> Iterator[str]:
    """All but the bound of every integer, which the page names once."""
    signs = (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
    found = [
        f"{sign} {getattr(item, name)}"
        for item in metadata
        for name, sign in signs
        if getattr(item, name, None) not in (None, 2**63)
    ]
    if found:
        yield " " + ", ".join(found)


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-"))
