"""`--set key=value` and `--limit N`: changes the YAML of a plan before it is checked.

The changed text is what a run's folder keeps, so fingerprints and report show the plan that ran.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from xstilts.errors import PlanError
from xstilts.input_files import InvalidDocument, parse_yaml
from xstilts.plan.load import parse_plan

#: Longest name of a plan without the end that marks a limited run.
_MOST_NAME = 63
_INDEX = re.compile(r"(.*?)\[(\d+)\]")


def overridden(text: str, source: str, overrides: Sequence[str], limit: int | None) -> str:
    """The YAML text of a plan with overrides.

    Args:
        text: YAML of the plan.
        source: what errors call the plan.
        overrides: `key=value` texts, applied in order.
        limit: the value of the key `limit`, and the end of the name: `demo` becomes
            `demo-limit-8`, so that folders and reports of limited runs are recognizable.

    Raises:
        PlanError: an override has no valid key or value.
    """
    raw = parse_plan(text, source)
    for override in overrides:
        key, value = _parsed(override)
        _set(raw, key, value, override)
    if limit is not None:
        raw["limit"] = limit
        end = f"-limit-{limit}"
        name = str(raw.get("name", ""))
        if name and not name.endswith(end):
            raw["name"] = name[: _MOST_NAME - len(end)] + end
    body = yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, width=100)
    options = [f"--set {override}" for override in overrides]
    options += [] if limit is None else [f"--limit {limit}"]
    header = "".join(f"#   {option}\n".replace("\r", " ") for option in options)
    return f"# {source} with\n{header}{body}"


def _parsed(override: str) -> tuple[str, Any]:
    key, separator, text = override.partition("=")
    key = key.strip()
    if not separator or not key:
        raise PlanError(
            f"--set {override}: expected key=value, for example seeds=1 or override.xnli.lr=1e-5"
        )
    if "\n" in override:
        raise PlanError(f"--set {key}: the value has a line break; write flow style: [a, b]")
    try:
        return key, parse_yaml(text)
    except InvalidDocument as error:
        raise PlanError(f"--set {override}: the value is not valid YAML: {error}") from error


def _set(raw: Any, key: str, value: Any, override: str) -> None:
    """Sets a value at a dotted key. Names of backbones and arms may contain dots: of the names
    that exist, the longest counts.
    """
    node, rest = raw, key
    while True:
        part, rest = _first(node, rest)
        if not rest:
            break
        child = _child(node, part, override)
        if child is None:
            child = node[part] = {}
        node = child
    if isinstance(node, list):
        _child(node, part, override)
        node[int(part)] = value
    elif isinstance(node, dict):
        node[part] = value
    else:
        raise PlanError(f"--set {override}: {node!r} has no keys; set the whole value")


def _first(node: Any, key: str) -> tuple[str, str]:
    """(the first name of a dotted key, the rest)."""
    if isinstance(node, Mapping):
        names = sorted((str(name) for name in node), key=len, reverse=True)
        for name in names:
            if key == name or key.startswith((f"{name}.", f"{name}[")):
                return name, key[len(name) :].removeprefix(".")
    indexed = _INDEX.match(key)
    if indexed and "." not in indexed[1]:
        if indexed[1]:
            return indexed[1], key[len(indexed[1]) :]
        return indexed[2], key[indexed.end() :].removeprefix(".")
    part, _, rest = key.partition(".")
    return part, rest


def _child(node: Any, part: str, override: str) -> Any:
    if isinstance(node, dict):
        return node.get(part)
    if isinstance(node, list) and part.isdigit() and int(part) < len(node):
        return node[int(part)]
    if isinstance(node, list):
        raise PlanError(
            f"--set {override}: the list has no item {part}; it has 0 to {len(node) - 1}"
        )
    raise PlanError(f"--set {override}: {node!r} has no key {part!r}; set the whole value")
