"""Reads a plan file: YAML, the plain shape, the schema, and the checks that need more than one
key.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from xstilts.errors import PlanError
from xstilts.plan.checks import check
from xstilts.plan.normalize import plain_shape
from xstilts.plan.problems import InvalidPlan, validate
from xstilts.plan.schema import Plan
from xstilts.plan.tables import Tables


def load_plan(plan: Path | str, tables: Tables | None = None) -> Plan:
    """Reads a plan from a file, or from YAML text (a str with a line break). Raises InvalidPlan,
    a PlanError: every mistake with its key path and what is allowed.
    """
    tables = tables or Tables.shipped()
    text, source = (
        (plan, "the plan") if isinstance(plan, str) and "\n" in plan else _read(Path(plan))
    )
    try:
        raw = yaml.load(text, Loader=_Strict)
    except yaml.YAMLError as error:
        raise InvalidPlan(source, [f"is not YAML: {error}"]) from error
    if not isinstance(raw, Mapping):
        raise InvalidPlan(
            source, [f"must be a mapping with the keys {', '.join(Plan.model_fields)}"]
        )
    shaped, problems = plain_shape(raw)
    # What a mistake made unreadable is left out, so that the rest is still checked; names as given
    # stay known.
    parsed, more, cut = validate(Plan, shaped)
    problems += [*more, *check(parsed, shaped, cut, tables)]
    if problems:
        raise InvalidPlan(source, problems)
    return parsed


def _read(path: Path) -> tuple[str, str]:
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except OSError as error:
        raise PlanError(f"{path}: cannot read the plan: {error.strerror}") from error


class _Strict(yaml.SafeLoader):
    """YAML in which a key that stands twice is a mistake."""


def _mapping(loader: _Strict, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if str(key.value) in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key.value!r} stands twice", key.start_mark
            )
        seen.add(str(key.value))
    return loader.construct_mapping(node, deep=True)


_Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
