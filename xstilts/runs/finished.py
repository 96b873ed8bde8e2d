"""Whether a task of a run is done, judged by its outputs in the store.

The runner's own status is not enough: a container that fails before its code is imported can be
reported as succeeded.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xstilts.step import canonical_json
from xstilts.store.store import Store, file_sha256


def record(store: Store, folder: str, task: str, files: Mapping[str, Any]) -> None:
    """Writes the manifest of a task that has no step, with the SHA-256 of its outputs.

    `files`: name in the run's folder → the uploaded path or JSON value. Call this after all
    uploads.
    """
    hashes = {
        name: file_sha256(value)
        if isinstance(value, Path)
        else hashlib.sha256(canonical_json(value).encode()).hexdigest()
        for name, value in files.items()
    }
    store.put_json(_key(folder, task), {"task": task, "files": hashes})


def forget(store: Store, folder: str) -> None:
    """Removes the manifests of an earlier attempt, before a run is started again."""
    store.delete(f"{folder}/tasks/")


def _key(folder: str, task: str) -> str:
    return f"{folder}/tasks/{task}.json"


def _manifest(store: Store, folder: str, task: str) -> list[str]:
    manifest = store.get_json(_key(folder, task))
    if manifest is None:
        return [f"{task}: no manifest"]
    problems = []
    for name, sha256 in manifest["files"].items():
        data = store.get_bytes_at(f"{folder}/{name}")
        if data is None or hashlib.sha256(data).hexdigest() != sha256:
            problems.append(f"{task}: {name} is missing or does not match its SHA-256")
    return problems


def _batches(*lists: str) -> Callable[[Store, str, str], list[str]]:
    """Checks that every step of the batches is done."""

    def check(store: Store, folder: str, task: str) -> list[str]:
        expanded = store.get_json(f"{folder}/expanded.json") or {}
        steps = {fp for kind in lists for batch in expanded.get(kind, ()) for fp in batch["steps"]}
        kinds = {step["kind"] for fp, step in expanded.get("steps", {}).items() if fp in steps}
        undone = steps - set[str]().union(*(store.finished(kind, steps) for kind in kinds))
        return [f"{task}: {_label(expanded, fp)} is not done" for fp in sorted(undone)]

    return check


def _groups(store: Store, folder: str, task: str) -> list[str]:
    """Checks that every step of the groups is done or has its failure recorded, which the report
    lists.
    """
    from xstilts.runs.folder import failure_key

    expanded = store.get_json(f"{folder}/expanded.json") or {}
    steps = {fp for group in expanded.get("groups", ()) for fp in group[task]}
    undone = steps - store.finished(task, steps)
    failed = set(store.list(f"{folder}/failures/"))
    return [
        f"{task}: {_label(expanded, fp)} is neither done nor failed"
        for fp in sorted(undone)
        if failure_key(folder, task, fp) not in failed
    ]


def _label(expanded: Mapping[str, Any], fingerprint: str) -> str:
    step = expanded["steps"].get(fingerprint, {"kind": "a step that expanded.json lacks"})
    return str(step.get("settings", {}).get("label", f"{step['kind']}/{fingerprint[:12]}"))


def _nothing(store: Store, folder: str, task: str) -> list[str]:
    return []


#: task → its check. `verdict` has no outputs: it repeats the report's status, which the command
#: line reads itself.
CHECKS: Mapping[str, Callable[[Store, str, str], list[str]]] = {
    "plan": _manifest,
    "stage": _batches("sources", "encodings"),
    "build": _batches("builds"),
    "finetune": _groups,
    "score": _groups,
    "report": _manifest,
    "verdict": _nothing,
}


def lacking(store: Store, folder: str, task: str) -> list[str]:
    """What is missing of a task, one line per output; empty if the task is done.

    Raises:
        KeyError: the task has no check.
    """
    return CHECKS[task](store, folder, task)
