"""Asks the hub, or a mirror, for every source of every task; writes the hub's revisions where it is reached."""

import json
from pathlib import Path
from typing import Any

from xstilts.data.source import Mirror, identity, missing_reason, open_mirror
from xstilts.errors import DataError, PlanError
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Source

LOCK = Path(__file__).with_name("hub.lock")


def probe(mirror: str, lock: bool = False) -> list[dict[str, Any]]:
    """One row for each task, split and language: where its first source that is there lies, or why none is.

    lock: also writes hub.lock with the revisions that the hub gave (PlanError for a mirror, which has none to give).
    """
    if lock and mirror != "hub":
        raise PlanError("--lock writes revisions of the hub; leave out --mirror")
    opened = open_mirror(mirror)
    rows = [
        _row(opened, task.name, split, source, language)
        for task in TASKS.values()
        for split, source in task.splits.items()
        for language in (task.languages if split == "test" else ("en",))
    ]
    if lock:
        found = {row["path"]: row["identity"]["revision"] for row in rows if row["identity"]}
        sources = {path: {"revision": revision, "verified": True} for path, revision in sorted(found.items())}
        LOCK.write_text(json.dumps({"sources": sources}, indent=2) + "\n")
    return rows


def _row(mirror: Mirror, task: str, split: str, source: Source, language: str) -> dict[str, Any]:
    row: dict[str, Any] = {"task": task, "split": split, "language": language, "path": source.path, "identity": None}
    reasons = []
    for one in (source, *source.alternatives):
        reason = missing_reason(mirror, one, language)
        if reason is None:
            try:
                return {**row, "path": one.path, "identity": identity(mirror, one, language), "reason": None}
            except DataError as error:
                reason = str(error)
        reasons.append(reason)
    return {**row, "reason": "; ".join(reasons)}
