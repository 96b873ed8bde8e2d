"""Checks every source of every task on the hub or in a mirror: does it exist, can the task read its
rows, are they those of hub.lock? Can write hub.lock.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from tarfile import TarError
from typing import Any

from xstilts.data.records import read_rows
from xstilts.errors import DataError, PlanError
from xstilts.input_files import check_type, read_object
from xstilts.mirror.first_rows import decompressed, first_rows, rows_hash
from xstilts.sources import ccgbank, conllu_rows, hub
from xstilts.sources.class_names import NamedRows, declared_classes
from xstilts.sources.loader import load_rows
from xstilts.sources.mirrors import Mirror, open_mirror
from xstilts.sources.shard_names import kind_of
from xstilts.sources.source_files import identity, missing_reason, open_first_file
from xstilts.tasks.languages import INVENTED
from xstilts.tasks.registry import TASKS
from xstilts.tasks.registry import task as task_named
from xstilts.tasks.task import Source, Task

LOCK = Path(str(files("xstilts.tasks"))) / "hub.lock"
#: How many rows of a split are checked.
ROWS = 20


@dataclass(frozen=True)
class Query:
    """One split of a task in one language."""

    task: Task
    split: str
    source: Source
    language: str


def probe(
    mirror: str,
    lock: Path = LOCK,
    names: Sequence[str] = (),
    rows: int = ROWS,
    tasks: Mapping[str, Task] = TASKS,
) -> list[dict[str, Any]]:
    """One row per task, split and language, about the first source that exists.

    `status` is ok, missing, changed, or licensed (the user's copy is not set), with a `reason`.
    `verified`: whether hub.lock has a verified entry. `found`: revision, columns that the task
    reads with their types, hash of the first rows.

    Args:
        mirror: `hub` or the address of a mirror.
        lock: the hub.lock to compare with.
        names: of tasks; all if empty.
        rows: how many rows of each split to check.
        tasks: the shipped tasks, or private ones as well (xstilts.tasks.private).
    """
    opened, entries = open_mirror(mirror), read_lock(lock)
    chosen = [task_named(name, tasks) for name in names] or tasks.values()
    return [_row(opened, query, entries, rows) for query in _queries(chosen)]


def _queries(tasks: Iterable[Task]) -> Iterator[Query]:
    for task in tasks:
        for split, source in task.splits.items():
            for language in task.languages if split == "test" or source.each else ("en",):
                if language not in INVENTED:
                    yield Query(task, split, source, language)


def read_lock(path: Path) -> Mapping[str, Any]:
    """The entries of a hub.lock: data set → {revision, verified, splits: {"config/split": {columns,
    rows}}}. Before a probe has passed, the revision is null and `verified` is false.
    """
    entries: Any = read_object(path).get("sources") if path.is_file() else {}
    check_type(entries, dict, f"{path}: sources")
    lock: Mapping[str, Any] = entries
    return lock


def _row(mirror: Mirror, query: Query, lock: Mapping[str, Any], rows: int) -> dict[str, Any]:
    head = {"task": query.task.name, "split": query.split, "language": query.language}
    reasons = []
    for source in _alternatives(query.source):
        part = part_of(source, query.language)
        about = {**head, "path": source.path, "part": part, "verified": False}
        try:
            reason = _fix_newest(mirror, source) or missing_reason(mirror, source, query.language)
        except DataError as error:  # an incomplete split
            return {**about, "status": "changed", "reason": str(error), "found": None}
        if reason is not None:
            reasons.append(reason)
            continue
        entry = lock.get(source.path, {})
        about["verified"] = bool(entry.get("verified"))
        try:
            observed, problems = _observe(mirror, query, source, rows)
        except DataError as error:
            return {**about, "status": "changed", "reason": str(error), "found": None}
        problems += _differences(entry, part, observed)
        reason = "; ".join([*problems, *observed["notes"]]) or None
        status = "changed" if problems else "ok"
        return {**about, "status": status, "reason": reason, "found": observed}
    return {
        **head,
        "path": query.source.path,
        "part": part_of(query.source, query.language),
        "verified": False,
        "status": "licensed" if query.task.licensed else "missing",
        "reason": "; ".join(dict.fromkeys(reasons)),
        "found": None,
    }


def _fix_newest(mirror: Mirror, source: Source) -> str | None:
    """Makes a mirror read the newest commit of a data set on the hub, whatever hub.lock says.
    Returns why that is not possible, or None.
    """
    if mirror.kind != "hub" or source.path in (ccgbank.PATH, conllu_rows.PATH) or source.files:
        return None
    assert isinstance(mirror.revisions, dict)
    for part in (source, *source.plus, *([source.pictures] if source.pictures else [])):
        try:
            mirror.revisions[part.path] = mirror.revisions.get(part.path) or hub.data_revision(
                part.path
            )
        except DataError as error:
            return str(error)
    return None


def _alternatives(source: Source) -> Iterator[Source]:
    yield replace(source, alternatives=())
    for alternative in source.alternatives:
        yield from _alternatives(alternative)


def part_of(source: Source, language: str) -> str:
    """`config/split` of a source with the language filled in, and `/language` for files of many
    languages.
    """
    within = f"/{language}" if source.id_prefixes else ""
    return f"{source.config_for(language) or ''}/{source.split_for(language)}{within}"


def _observe(
    mirror: Mirror, query: Query, source: Source, count: int
) -> tuple[dict[str, Any], list[str]]:
    """(what a source contains, problems)."""
    rows, columns = _head(mirror, source, query.language, count)
    named, notes = _with_class_names(mirror, query, source, rows)
    read: set[str] = set()
    tracked = [_TrackedRow(row, read) for row in named]
    examples, bad, dropped = read_rows(
        query.task, tracked, range(len(tracked)), query.language, None
    )
    problems = []
    if bad and len(bad) == len(tracked):
        problems.append(
            f"{query.task.name} cannot read any row ({bad[0]['reason']}); its columns: "
            f"{', '.join(columns)}"
        )
    elif not examples and not dropped:
        problems.append("no rows")
    source_identity = identity(mirror, source, query.language)
    observed = {
        "revision": source_identity.get("revision"),
        "identity": source_identity,
        "bad_rows": len(bad),
        "columns": {name: columns[name] for name in sorted(read) if name in columns},
        "rows": rows_hash(rows),
        "count": len(rows),
        "notes": notes,
    }
    return observed, problems


def _with_class_names(
    mirror: Mirror, query: Query, source: Source, rows: list[Any]
) -> tuple[list[Any], list[str]]:
    """(rows with class names, notes on these names). DataError for unknown names."""
    labels = query.task.label_column
    if labels is None or source.path in (ccgbank.PATH, conllu_rows.PATH) or source.files:
        return rows, []
    name, stream = open_first_file(mirror, source, query.language)
    with stream:
        names = declared_classes(stream).get(labels.column) if kind_of(name) == "parquet" else None
    if not names:
        return rows, []
    labels.check(names, f"{source.path}/{name}")
    notes = []
    if labels.is_reordered(names):
        notes = [
            f"the classes of column {labels.column} are in the order {', '.join(names)}; they are "
            "read by name"
        ]
    named = NamedRows(rows, labels.column, names)
    return [named[index] for index in range(len(named))], notes


def _head(
    mirror: Mirror, source: Source, language: str, count: int
) -> tuple[list[Any], dict[str, str]]:
    """(the first rows, column → type)."""
    if source.path == ccgbank.PATH:
        rows = ccgbank.read_derivations(ccgbank.auto_files(source.split)[:1])[:count]
        return rows, {"tokens": "list<string>", "tags": "list<string>"}
    if source.path == conllu_rows.PATH:
        rows = load_rows(mirror, source, language)[:count]
        return rows, {"tokens": "list<string>", "pos_tags": "list<string>"}
    if source.files:
        rows = load_rows(mirror, source, language)[:count]
        return rows, {"part": "string", "id": "string", "text": "string", "answers": "list<string>"}
    name, stream = open_first_file(mirror, source, language)
    with stream:
        try:
            data = decompressed(stream, name)
            rows, columns = first_rows(data, kind_of(name), count, source.field)
        except (DataError, TarError) as error:
            raise DataError(f"{source.path}/{name}: {error}") from error
    if source.pictures:
        images, image_columns = _head(mirror, source.pictures, language, 1)
        image = images[0]["image"] if images else None
        rows = [{**row, "image": image} for row in rows]
        columns = {**columns, "image": image_columns.get("image", "absent")}
    return rows, columns


class _TrackedRow(dict[str, Any]):
    """A row that records which of its columns are read."""

    def __init__(self, row: Mapping[str, Any], read: set[str]) -> None:
        super().__init__(row)
        self.read = read

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)


def _differences(entry: Mapping[str, Any], part: str, observed: Mapping[str, Any]) -> list[str]:
    """How a source differs from a verified entry of hub.lock."""
    if not entry.get("verified"):
        return []
    problems = []
    revision, locked_revision = observed["revision"], entry["revision"]
    if locked_revision and revision and locked_revision != revision:
        problems.append(f"revision {revision[:12]}, hub.lock has {locked_revision[:12]}")
    locked = entry.get("splits", {}).get(part)
    if locked is None:
        return problems
    for name, kind in locked["columns"].items():
        if observed["columns"].get(name) != kind:
            problems.append(
                f"column {name} is {observed['columns'].get(name, 'missing')}, hub.lock has {kind}"
            )
    if locked["rows"] != observed["rows"]:
        problems.append(f"the hash of its first {observed['count']} rows differs from hub.lock")
    return problems


def write_lock(rows: Sequence[Mapping[str, Any]], path: Path = LOCK) -> int:
    """Writes what a probe observed at commits of the hub. Returns the number of data sets.

    Data sets that were not observed keep their entry. PlanError if no source has a commit (a folder
    that was not pulled): its rows may not be those of the hub.
    """
    observed = [row for row in rows if row["found"] and row["found"]["revision"]]
    if not observed:
        raise PlanError(
            "--lock records commits of the hub, and no source has one; probe the hub or a mirror "
            "of `xstilts mirror pull`"
        )
    sources: dict[str, Any] = {name: dict(_unseen()) for name in sorted(_paths())}
    sources |= {name: dict(entry) for name, entry in read_lock(path).items()}
    names = {row["path"] for row in observed}
    for name in names:
        of_set = [row for row in observed if row["path"] == name]
        revision = of_set[0]["found"]["revision"]
        kept = sources[name]["splits"] if sources[name]["revision"] == revision else {}
        splits = {
            row["part"]: {key: row["found"][key] for key in ("columns", "rows")} for row in of_set
        }
        sources[name] = {
            "revision": revision,
            "verified": all(row["found"]["bad_rows"] < row["found"]["count"] for row in of_set),
            "splits": dict(sorted({**kept, **splits}.items())),
        }
    path.write_text(lock_text(sources), encoding="utf-8")
    return len(names)


def lock_text(sources: Mapping[str, Any]) -> str:
    """The text of hub.lock."""
    return (
        json.dumps({"sources": dict(sorted(sources.items()))}, indent=1, ensure_ascii=False) + "\n"
    )


def _unseen() -> dict[str, Any]:
    return {"revision": None, "verified": False, "splits": {}}


def _paths() -> set[str]:
    """All data sets of the tasks that can be on the hub."""
    paths = set()
    for task in TASKS.values():
        queue = list(task.splits.values())
        while queue:
            source = queue.pop()
            queue += [*source.alternatives, *source.plus]
            queue += [source.pictures] if source.pictures else []
            if not source.files:
                paths.add(source.path)
    return {
        path
        for path in paths
        if path not in (ccgbank.PATH, conllu_rows.PATH) and not path.startswith("xstilts/")
    }


def unseen_lock() -> str:
    """A hub.lock in which no data set has been probed."""
    return lock_text({path: _unseen() for path in _paths()})
