"""Loads a plan: parses the YAML, normalizes it, validates it against the schema, checks it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from xstilts.errors import PlanError
from xstilts.plan.checks import check
from xstilts.plan.normalize import normalize
from xstilts.plan.plan_errors import InvalidPlan, validate
from xstilts.plan.schema import Plan
from xstilts.plan.tables import Tables
from xstilts.tasks.private import read_task_files


def load_plan(
    plan: Path | str,
    tables: Tables | None = None,
    *,
    more_tasks: Sequence[str | Path] = (),
    task_files: Mapping[str, str] | None = None,
    folder: Path | None = None,
    source: str = "the plan",
) -> Plan:
    """Loads a plan from a file, or from YAML text (a str with a line break).

    Args:
        plan: the file, or the text.
        tables: what plans are checked against; None: the shipped tables.
        more_tasks: private task files besides those under `tasks`, relative to the current folder.
        task_files: path → text of the plan's private task files, where they were read before: a
            text has no folder that paths could start at.
        folder: where the relative paths of a text start.
        source: what errors call a text.

    Raises:
        InvalidPlan: a PlanError that lists every error with its key path and allowed values.
    """
    tables = tables or Tables.shipped()
    is_text = isinstance(plan, str) and "\n" in plan
    text, source = (str(plan), source) if is_text else _read(Path(plan))
    raw = parse_plan(text, source)
    folder = folder if is_text else Path(plan).parent
    files, problems = _task_files(raw.get("tasks"), folder, more_tasks, task_files)
    shaped, further = normalize({**raw, "tasks": files} if files else raw)
    problems += further
    # Invalid values are cut, so that the rest can still be checked. The raw plan keeps their names.
    parsed, more, cut = validate(Plan, shaped)
    try:
        tables = tables.with_tasks(parsed.private_tasks)
    except PlanError as error:
        raise InvalidPlan(source, [*problems, *more, f"tasks: {error}"]) from error
    problems += [*more, *check(parsed, shaped, cut, tables)]
    if problems:
        raise InvalidPlan(source, problems)
    return parsed


def parse_plan(text: str, source: str) -> dict[Any, Any]:
    """The mapping in the YAML text of a plan. Raises InvalidPlan if it has none."""
    try:
        raw = yaml.load(text, Loader=_Strict)
    except yaml.YAMLError as error:
        raise InvalidPlan(source, [_yaml_problem(error)]) from error
    if not isinstance(raw, dict):
        raise InvalidPlan(
            source, [f"must be a mapping; allowed keys: {', '.join(Plan.model_fields)}"]
        )
    return raw


def _task_files(
    value: Any,
    folder: Path | None,
    more: Sequence[str | Path],
    known: Mapping[str, str] | None,
) -> tuple[Any, list[str]]:
    """(the key `tasks` with the texts in place of the paths, problems). A value of another shape
    is left to the schema.
    """
    if value is not None and not (
        isinstance(value, list) and all(isinstance(p, str) for p in value)
    ):
        return value, []
    sources, problems = dict(known or {}), []
    for path, origin in [*((path, folder) for path in value or ()), *((p, Path()) for p in more)]:
        if known is not None:
            if str(path) not in known:
                problems.append(f"tasks: {path}: the run has no such task file; start a new run")
        elif origin is None:
            problems.append(f"tasks: {path}: a plan given as text has no folder; give its file")
        else:
            try:
                sources |= read_task_files([path], origin)
            except PlanError as error:
                problems.append(f"tasks: {error}")
    return {path: {"source": source} for path, source in sources.items()}, problems


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
