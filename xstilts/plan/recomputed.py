"""Which steps a plan recomputes although an earlier run finished them, and why."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from xstilts.errors import CorruptError
from xstilts.input_files import InvalidDocument, parse_yaml
from xstilts.plan.expansion import Expansion
from xstilts.step import RECIPE_CHANGES, Step, canonical_json

#: Maximum length of a value in a reason, in characters.
_MAX_QUOTED = 60


class RunStore(Protocol):
    """The part of the store that this module reads."""

    def finished(self, kind: str, fingerprints: Collection[str]) -> set[str]: ...
    def written(self, prefix: str) -> dict[str, tuple[int, float]]: ...
    def get_json(self, key: str) -> Any | None: ...
    def get_bytes_at(self, key: str) -> bytes | None: ...


@dataclass(frozen=True)
class Recomputed:
    """Steps of one kind that are recomputed for the same reasons, with their labels."""

    kind: str
    reasons: tuple[str, ...]
    labels: tuple[str, ...]


def earlier_run(
    store: RunStore, name: str, warn: Callable[[str], None]
) -> tuple[str, dict[str, Step]] | None:
    """The newest expanded run of the plan with this name and its steps by fingerprint, or None.

    A run with a corrupt document is left out: the comparison with it is not worth an error. warn:
    receives the message.
    """
    times = {
        key: time
        for key, (_, time) in store.written("runs/").items()
        if key.endswith("/expanded.json")
    }
    for key in sorted(times, key=lambda key: -times[key]):
        folder = key.removesuffix("/expanded.json")
        try:
            steps = _steps(store, folder, name)
        except CorruptError as error:
            warn(f"not compared with the run {folder.removeprefix('runs/')}: {error}")
            continue
        if steps is not None:
            return folder.removeprefix("runs/"), steps
    return None


def _steps(store: RunStore, folder: str, name: str) -> dict[str, Step] | None:
    """The steps of a run by fingerprint; None if it is a run of another plan, or deleted. The
    expanded plan is large, so the plan's file is read first.
    """
    key = f"{folder}/plan.yaml"
    try:
        plan = parse_yaml(store.get_bytes_at(key) or b"")
    except InvalidDocument as error:
        raise CorruptError(f"{key}: corrupt: {error}") from error
    if not isinstance(plan, dict) or plan.get("name") != name:
        return None
    expanded = f"{folder}/expanded.json"
    document = store.get_json(expanded)
    if document is None:  # deleted since the listing
        return None
    return {
        fingerprint: Step.from_json(step, expanded)
        for fingerprint, step in document["steps"].items()
    }


def recomputed(
    expansion: Expansion, earlier: Mapping[str, Step], store: RunStore
) -> list[Recomputed]:
    """The unfinished steps that an earlier run finished under the same label.

    Grouped by kind and reasons.
    """
    done = {
        kind: store.finished(kind, {*fps, *(fp for fp, old in earlier.items() if old.kind == kind)})
        for kind, fps in expansion.by_kind().items()
    }
    finished: dict[tuple[str, str], list[Step]] = {}
    for fingerprint, step in earlier.items():
        if fingerprint in done.get(step.kind, ()):
            finished.setdefault(_name(step), []).append(step)
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for fingerprint, step in expansion.steps.items():
        old_steps = finished.get(_name(step), [])
        if fingerprint in done[step.kind] or fingerprint in earlier or not old_steps:
            continue
        reasons = min((tuple(_reasons(old, step)) for old in old_steps), key=len)
        groups.setdefault((step.kind, reasons), []).append(_name(step)[1])
    return [Recomputed(kind, reasons, tuple(labels)) for (kind, reasons), labels in groups.items()]


def _name(step: Step) -> tuple[str, str]:
    return step.kind, str(step.settings.get("label", ""))


def _reasons(old: Step, new: Step) -> Iterator[str]:
    """Differences between two steps with the same label: recipe version, spec keys, or inputs."""
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
    before, after = (dict(_flat(step.spec)) for step in (old, new))
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            changed = True
            yield f"{key}: {_quoted(before.get(key))} → {_quoted(after.get(key))}"
    roles = sorted(old.parents.keys() ^ new.parents.keys())
    if roles and not changed:
        changed = True
        yield f"different input steps: {', '.join(roles)}"
    if not changed:
        inputs = sorted(
            role.partition(":")[0] for role in new.parents if old.parents[role] != new.parents[role]
        )
        yield f"recomputed input steps: {', '.join(dict.fromkeys(inputs))}"


def _quoted(value: str | None) -> str:
    if value is None:
        return "not set"
    return value if len(value) <= _MAX_QUOTED else f"{value[: _MAX_QUOTED - 1]}…"


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, JSON text) of every value in a JSON object."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and any(isinstance(item, Mapping) for item in value)
    ):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{index}]")
    else:
        yield path, canonical_json(value)
