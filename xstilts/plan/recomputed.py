"""Which steps of a plan are computed again although an earlier run of the plan has done them,
and why.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import yaml

from xstilts.plan.expansion import Expansion
from xstilts.step import RECIPE_CHANGES, Step, canonical_json

#: Longest value that a reason quotes, in characters.
_QUOTED = 60


class Runs(Protocol):
    """The part of the store that is read here."""

    def done(self, kind: str) -> set[str]: ...
    def written(self, prefix: str) -> dict[str, tuple[int, float]]: ...
    def get_json(self, key: str) -> Any | None: ...
    def get_bytes_at(self, key: str) -> bytes | None: ...


@dataclass(frozen=True)
class Recomputed:
    """Steps of one kind that are computed again for the same reasons. labels: theirs."""

    kind: str
    reasons: tuple[str, ...]
    labels: tuple[str, ...]


def earlier_run(store: Runs, name: str) -> tuple[str, dict[str, Step]] | None:
    """The newest run of the plan of this name that was expanded, and its steps by fingerprint;
    None where there is none.
    """
    expanded = {
        key: when
        for key, (_, when) in store.written("runs/").items()
        if key.endswith("/expanded.json")
    }
    for key in sorted(expanded, key=lambda key: -expanded[key]):
        folder = key.removesuffix("/expanded.json")
        text = store.get_bytes_at(f"{folder}/plan.yaml")
        plan = yaml.safe_load(text) if text else None
        document = (
            store.get_json(key) if isinstance(plan, dict) and plan.get("name") == name else None
        )
        if document is not None:
            steps = {
                fingerprint: Step.from_json(step) for fingerprint, step in document["steps"].items()
            }
            return folder.removeprefix("runs/"), steps
    return None


def recomputed(expansion: Expansion, earlier: Mapping[str, Step], store: Runs) -> list[Recomputed]:
    """The steps that are to do, but were done under the same label by an earlier run; grouped by
    kind and reasons.
    """
    done = {kind: store.done(kind) for kind in expansion.by_kind()}
    before: dict[tuple[str, str], list[Step]] = {}
    for fingerprint, step in earlier.items():
        if fingerprint in done.get(step.kind, ()):
            before.setdefault(_name(step), []).append(step)
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for fingerprint, step in expansion.steps.items():
        others = before.get(_name(step), [])
        if fingerprint in done[step.kind] or fingerprint in earlier or not others:
            continue
        reasons = min((tuple(_reasons(other, step)) for other in others), key=len)
        groups.setdefault((step.kind, reasons), []).append(_name(step)[1])
    return [Recomputed(kind, reasons, tuple(labels)) for (kind, reasons), labels in groups.items()]


def _name(step: Step) -> tuple[str, str]:
    return step.kind, str(step.settings.get("label", ""))


def _reasons(old: Step, new: Step) -> Iterator[str]:
    """Why two steps of one label are not the same: recipe version, keys of the spec, or else the
    steps that they read.
    """
    changed = False
    if old.version != new.version:
        changed = True
        why = [
            text
            for version, text in sorted(RECIPE_CHANGES.get(new.kind, {}).items())
            if old.version < version <= new.version
        ]
        yield f"recipe version {old.version} → {new.version}" + (
            f": {'; '.join(why)}" if why else ""
        )
    one, two = (dict(_flat(step.spec)) for step in (old, new))
    for key in sorted(one.keys() | two.keys()):
        if one.get(key) != two.get(key):
            changed = True
            yield f"{key}: {_quoted(one.get(key))} → {_quoted(two.get(key))}"
    roles = sorted(old.parents.keys() ^ new.parents.keys())
    if roles and not changed:
        changed = True
        yield f"other input steps: {', '.join(roles)}"
    if not changed:
        inputs = sorted(
            role.partition(":")[0] for role in new.parents if old.parents[role] != new.parents[role]
        )
        yield f"input steps are computed again: {', '.join(dict.fromkeys(inputs))}"


def _quoted(value: str | None) -> str:
    if value is None:
        return "absent"
    return value if len(value) <= _QUOTED else f"{value[: _QUOTED - 1]}…"


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, quoted value) of everything in a JSON object."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and any(isinstance(one, Mapping) for one in value)
    ):
        for place, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{place}]")
    else:
        yield path, canonical_json(value)
