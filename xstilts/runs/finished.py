"""What each task of a run leaves in the store. A task is done when that is there, whatever the
runner says of it: a container that fails before its code is imported can be told as a success.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xstilts.step import canonical_json
from xstilts.store.store import Store, file_sha256


def leave(store: Store, folder: str, task: str, files: Mapping[str, Any]) -> None:
    """Writes the manifest of a task that has no step: name in the run's folder → SHA-256. files:
    name → the path of what was put there, or the JSON value. Called last.
    """
    hashes = {
        name: file_sha256(value)
        if isinstance(value, Path)
        else hashlib.sha256(canonical_json(value).encode()).hexdigest()
        for name, value in files.items()
    }
    store.put_json(_key(folder, task), {"task": task, "files": hashes})


def forget(store: Store, folder: str) -> None:
    """Before a run is started again: what its tasks left the last time tells nothing."""
    store.delete(f"{folder}/tasks/")


def _key(folder: str, task: str) -> str:
    return f"{folder}/tasks/{task}.json"


def _manifest(store: Store, folder: str, task: str) -> list[str]:
    manifest = store.get_json(_key(folder, task))
    if manifest is None:
        return [f"{task} left no manifest"]
    lost = []
    for name, sha256 in manifest["files"].items():
        data = store.get_bytes_at(f"{folder}/{name}")
        if data is None or hashlib.sha256(data).hexdigest() != sha256:
            lost.append(f"{task}: {name} is not what its manifest says")
    return lost


def _batches(*lists: str) -> Callable[[Store, str, str], list[str]]:
    """Every step of the batches is done."""

    def check(store: Store, folder: str, task: str) -> list[str]:
        expanded = store.get_json(f"{folder}/expanded.json") or {}
        wanted = {fp for kind in lists for batch in expanded.get(kind, ()) for fp in batch["steps"]}
        undone = wanted - set[str]().union(
            *(store.done(kind) for kind in {expanded["steps"][fp]["kind"] for fp in wanted})
        )
        return [f"{task}: {_label(expanded, fp)} is not done" for fp in sorted(undone)]

    return check


def _groups(store: Store, folder: str, task: str) -> list[str]:
    """Every step of the groups is done, or has its failure recorded: the report names those."""
    from xstilts.runs.folder import failure_key

    expanded = store.get_json(f"{folder}/expanded.json") or {}
    wanted = {fp for group in expanded.get("groups", ()) for fp in group[task]} - store.done(task)
    failed = set(store.list(f"{folder}/failures/"))
    return [
        f"{task}: {_label(expanded, fp)} is neither done nor failed"
        for fp in sorted(wanted)
        if failure_key(folder, task, fp) not in failed
    ]


def _label(expanded: Mapping[str, Any], fingerprint: str) -> str:
    step = expanded["steps"][fingerprint]
    return str(step["settings"].get("label", f"{step['kind']}/{fingerprint[:12]}"))


def _nothing(store: Store, folder: str, task: str) -> list[str]:
    return []


#: task → what a run lacks of it. `work` leaves nothing: the loop over what it returns leaves
#: something for each item. Nor does `verdict`: what it says is in the report's status, which the
#: command line reads itself.
CHECKS: Mapping[str, Callable[[Store, str, str], list[str]]] = {
    "plan": _manifest,
    "work": _nothing,
    "stage": _batches("sources", "encodings"),
    "build": _batches("builds"),
    "finetune": _groups,
    "score": _groups,
    "report": _manifest,
    "verdict": _nothing,
}


def lacking(store: Store, folder: str, task: str) -> list[str]:
    """What a run's folder and the store lack of a task: empty when it is done. KeyError for a
    task without a check.
    """
    return CHECKS[task](store, folder, task)
