"""Loads a plan: parses the YAML, normalizes it, validates it against the schema, checks it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from xstilts.errors import PlanError
from xstilts.plan.checks import check
from xstilts.plan.normalize import normalize
from xstilts.plan.problems import InvalidPlan, validate
from xstilts.plan.schema import Plan
from xstilts.plan.tables import Tables


def load_plan(plan: Path | str, tables: Tables | None = None) -> Plan:
    """Loads a plan from a file, or from YAML text (a str with a line break).

    Raises InvalidPlan, a PlanError that lists every error with its key path and allowed values.
    """
    tables = tables or Tables.shipped()
    text, source = (
        (plan, "the plan") if isinstance(plan, str) and "\n" in plan else _read(Path(plan))
    )
    try:
        raw = yaml.load(text, Loader=_Strict)
    except yaml.YAMLError as error:
        raise InvalidPlan(source, [_yaml_problem(error)]) from error
    if not isinstance(raw, Mapping):
        raise InvalidPlan(
            source, [f"must be a mapping; allowed keys: {', '.join(Plan.model_fields)}"]
        )
    shaped, problems = normalize(raw)
    # Invalid values are cut, so that the rest can still be checked. The raw plan keeps their names.
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
    except UnicodeDecodeError as error:
        raise PlanError(f"{path}: not UTF-8 text ({error}); save the file as UTF-8") from error


def _yaml_problem(error: yaml.YAMLError) -> str:
    """What is wrong with the YAML, and in which line."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"invalid YAML: {error}"
    kind = "" if isinstance(error, _DuplicateKeyError) else "invalid YAML: "
    context = f"{error.context}, " if error.context else ""
    return f"line {error.problem_mark.line + 1}: {kind}{context}{error.problem}"


class _DuplicateKeyError(yaml.constructor.ConstructorError):
    pass


class _Strict(yaml.SafeLoader):
    """A YAML loader that rejects duplicate keys and reports the line of every invalid value."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:  # such as the date 2024-13-45
            raise yaml.constructor.ConstructorError(
                None, None, f"invalid value {node.value!r}: {error}; quote it", node.start_mark
            ) from error


def _mapping(loader: _Strict, node: yaml.MappingNode) -> dict[Any, Any]:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name in lines:
            problem = f"duplicate key {name!r}, first used in line {lines[name]}; keep one"
            raise _DuplicateKeyError(None, None, problem, key.start_mark)
        lines[name] = line
    return loader.construct_mapping(node, deep=True)


_Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
