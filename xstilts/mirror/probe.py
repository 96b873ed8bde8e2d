"""Asks the hub, or a mirror, for every source of every task: is it there, are its rows what the
task reads, are they those that hub.lock names. Writes hub.lock where it is asked to.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from tarfile import TarError
from typing import Any

from xstilts.data.records import read_rows
from xstilts.errors import DataError, PlanError
from xstilts.mirror.head import first_rows, rows_hash, unpacked
from xstilts.sources import ccgbank, conllu_rows, hub
from xstilts.sources.class_names import NamedRows, declared
from xstilts.sources.loader import (
    Mirror,
    identity,
    kind_of,
    load_rows,
    missing_reason,
    open_head,
    open_mirror,
)
from xstilts.tasks.languages import INVENTED
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Source, Task

LOCK = Path(str(files("xstilts.tasks"))) / "hub.lock"
#: How many rows of a split are looked at.
ROWS = 20


@dataclass(frozen=True)
class Asked:
    """One split of a task in one language."""

    task: Task
    split: str
    source: Source
    language: str


def probe(
    mirror: str, lock: Path = LOCK, names: Sequence[str] = (), rows: int = ROWS
) -> list[dict[str, Any]]:
    """A row for each task (of `names`, or all), split and language: its first source that is
    there, and `status`: ok | missing | changed | licensed (no copy of one's own is named), with
    `reason`. `verified`: whether hub.lock knew what to expect. `found` is what was seen:
    revision, columns that the task reads with their types, hash of the first rows.
    """
    opened, locked = open_mirror(mirror), read_lock(lock)
    return [
        _row(opened, asked, locked, rows)
        for asked in _asked([TASKS[name] for name in names] or TASKS.values())
    ]


def _asked(tasks: Any) -> Iterator[Asked]:
    for task in tasks:
        for split, source in task.splits.items():
            for language in task.languages if split == "test" or source.each else ("en",):
                if language not in INVENTED:
                    yield Asked(task, split, source, language)


def read_lock(path: Path) -> Mapping[str, Any]:
    """hub.lock: data set → {revision, verified, splits: {"config/split": {columns, rows}}}. What
    nobody has seen is null, and `verified` is false until a probe has passed.
    """
    lock: Mapping[str, Any] = json.loads(path.read_text())["sources"] if path.is_file() else {}
    return lock


def _row(mirror: Mirror, asked: Asked, lock: Mapping[str, Any], rows: int) -> dict[str, Any]:
    head = {"task": asked.task.name, "split": asked.split, "language": asked.language}
    reasons = []
    for one in _in_turn(asked.source):
        try:
            reason = _newest(mirror, one) or missing_reason(mirror, one, asked.language)
        except DataError as error:  # an incomplete split
            part = part_of(one, asked.language)
            said = {**head, "path": one.path, "part": part, "verified": False}
            return {**said, "status": "changed", "reason": str(error), "found": None}
        if reason is not None:
            reasons.append(reason)
            continue
        known = lock.get(one.path, {})
        part = part_of(one, asked.language)
        said = {**head, "path": one.path, "part": part, "verified": bool(known.get("verified"))}
        try:
            found, wrong = _seen(mirror, asked, one, rows)
        except DataError as error:
            return {**said, "status": "changed", "reason": str(error), "found": None}
        wrong += _differences(known, part, found)
        reason = "; ".join([*wrong, *found["notes"]]) or None
        return {**said, "status": "changed" if wrong else "ok", "reason": reason, "found": found}
    status = "licensed" if asked.task.licensed else "missing"
    said = {
        "path": asked.source.path,
        "part": part_of(asked.source, asked.language),
        "verified": False,
    }
    return {
        **head,
        **said,
        "status": status,
        "reason": "; ".join(dict.fromkeys(reasons)),
        "found": None,
    }


def _newest(mirror: Mirror, source: Source) -> str | None:
    """Has a mirror of the hub look at a data set's newest commit, whatever hub.lock names; or
    why there is none.
    """
    if mirror.kind != "hub" or source.path in (ccgbank.PATH, conllu_rows.PATH) or source.files:
        return None
    assert isinstance(mirror.revisions, dict)  # filled as data sets are met
    for one in (source, *source.plus, *([source.pictures] if source.pictures else [])):
        try:
            mirror.revisions[one.path] = mirror.revisions.get(one.path) or hub.data_revision(
                one.path
            )
        except DataError as error:
            return str(error)
    return None


def _in_turn(source: Source) -> Iterator[Source]:
    yield replace(source, alternatives=())
    for other in source.alternatives:
        yield from _in_turn(other)


def part_of(source: Source, language: str) -> str:
    """`config/split` of a source, the language filled in; of a file of many languages, the
    language behind it.
    """
    within = f"/{language}" if source.id_prefixes else ""
    return f"{source.config_for(language) or ''}/{source.split_for(language)}{within}"


def _seen(
    mirror: Mirror, asked: Asked, source: Source, count: int
) -> tuple[dict[str, Any], list[str]]:
    """(what is there, what is wrong with it)."""
    given, columns = _head(mirror, source, asked.language, count)
    named, notes = _by_name(mirror, asked, source, given)
    read: set[str] = set()
    noted = [_Noting(row, read) for row in named]
    examples, bad, dropped = read_rows(asked.task, noted, range(len(noted)), asked.language, None)
    wrong = []
    if bad and len(bad) == len(noted):
        wrong.append(
            f"no row is one that {asked.task.name} reads ({bad[0]['reason']}); its columns: {', '.join(columns)}"
        )
    elif not examples and not dropped:
        wrong.append("it has no rows")
    given_identity = identity(mirror, source, asked.language)
    found = {
        "revision": given_identity.get("revision"),
        "identity": given_identity,
        "bad_rows": len(bad),
        "columns": {name: columns[name] for name in sorted(read) if name in columns},
        "rows": rows_hash(given),
        "count": len(given),
        "notes": notes,
    }
    return found, wrong


def _by_name(
    mirror: Mirror, asked: Asked, source: Source, rows: list[Any]
) -> tuple[list[Any], list[str]]:
    """(the rows with the names of their classes, what is worth saying of those names). DataError
    for unknown names.
    """
    labels = asked.task.label_column
    if labels is None or source.path in (ccgbank.PATH, conllu_rows.PATH) or source.files:
        return rows, []
    name, stream = open_head(mirror, source, asked.language)
    with stream:
        names = declared(stream).get(labels.column) if kind_of(name) == "parquet" else None
    if not names:
        return rows, []
    labels.check(names, f"{source.path}/{name}")
    notes = []
    if labels.is_reordered(names):
        notes = [
            f"the column {labels.column} has its classes in the order {', '.join(names)}; they are read by name"
        ]
    named = NamedRows(rows, labels.column, names)
    return [named[place] for place in range(len(named))], notes


def _head(
    mirror: Mirror, source: Source, language: str, count: int
) -> tuple[list[Any], dict[str, str]]:
    if source.path == ccgbank.PATH:
        rows = ccgbank.rows(ccgbank.files(source.split)[:1])[:count]
        return rows, {"tokens": "list<string>", "tags": "list<string>"}
    if source.path == conllu_rows.PATH:
        rows = load_rows(mirror, source, language)[:count]
        return rows, {"tokens": "list<string>", "pos_tags": "list<string>"}
    if source.files:
        rows = load_rows(mirror, source, language)[:count]
        return rows, {"part": "string", "id": "string", "text": "string", "answers": "list<string>"}
    name, stream = open_head(mirror, source, language)
    with stream:
        try:
            rows, columns = first_rows(unpacked(stream, name), kind_of(name), count, source.field)
        except (DataError, TarError) as error:
            raise DataError(f"{source.path}/{name}: {error}") from error
    if source.pictures:  # its own rows name a picture that stands elsewhere
        beside, more = _head(mirror, source.pictures, language, 1)
        picture = beside[0]["image"] if beside else None
        rows, columns = (
            [{**row, "image": picture} for row in rows],
            {**columns, "image": more.get("image", "absent")},
        )
    return rows, columns


class _Noting(dict[str, Any]):
    """A row that notes which of its columns are read."""

    def __init__(self, row: Mapping[str, Any], read: set[str]) -> None:
        super().__init__(row)
        self.read = read

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)


def _differences(known: Mapping[str, Any], part: str, found: Mapping[str, Any]) -> list[str]:
    """In what a source differs from what a verified entry of hub.lock says of it."""
    if not known.get("verified"):
        return []
    wrong = []
    if known["revision"] and found["revision"] and known["revision"] != found["revision"]:
        wrong.append(f"revision {found['revision'][:12]}, hub.lock has {known['revision'][:12]}")
    of_part = known.get("splits", {}).get(part)
    if of_part is None:
        return wrong
    for name, kind in of_part["columns"].items():
        if found["columns"].get(name) != kind:
            wrong.append(
                f"column {name} is {found['columns'].get(name, 'not there')}, hub.lock has {kind}"
            )
    if of_part["rows"] != found["rows"]:
        wrong.append(f"its first {found['count']} rows have another hash than in hub.lock")
    return wrong


def write_lock(rows: Sequence[Mapping[str, Any]], path: Path = LOCK) -> int:
    """Writes what a probe saw of the hub's own commits, and returns how many data sets that
    were. Sources of which nothing was seen keep their entry, unverified if they had none.
    PlanError where no source has a commit (a folder that was not pulled): rows of a slice are
    not those of the hub.
    """
    seen = [row for row in rows if row["found"] and row["found"]["revision"]]
    if not seen:
        raise PlanError(
            "--lock writes commits of the hub, and no source here has one: probe the hub, or a pulled mirror"
        )
    sources: dict[str, Any] = {one: dict(_unseen()) for one in sorted(_paths())}
    sources |= {name: dict(entry) for name, entry in read_lock(path).items()}
    for name in {row["path"] for row in seen}:
        mine = [row for row in seen if row["path"] == name]
        kept = (
            {}
            if sources[name]["revision"] != mine[0]["found"]["revision"]
            else sources[name]["splits"]
        )
        splits = {
            row["part"]: {key: row["found"][key] for key in ("columns", "rows")} for row in mine
        }
        sources[name] = {
            "revision": mine[0]["found"]["revision"],
            "verified": all(row["found"]["bad_rows"] < row["found"]["count"] for row in mine),
            "splits": dict(sorted({**kept, **splits}.items())),
        }
    path.write_text(lock_text(sources), encoding="utf-8")
    return len({row["path"] for row in seen})


def lock_text(sources: Mapping[str, Any]) -> str:
    """The text of hub.lock."""
    return (
        json.dumps({"sources": dict(sorted(sources.items()))}, indent=1, ensure_ascii=False) + "\n"
    )


def _unseen() -> dict[str, Any]:
    return {"revision": None, "verified": False, "splits": {}}


def _paths() -> set[str]:
    """Every data set that a task names, but those that no hub holds."""
    found = set()
    for task in TASKS.values():
        left = list(task.splits.values())
        while left:
            source = left.pop()
            left += [
                *source.alternatives,
                *source.plus,
                *([source.pictures] if source.pictures else []),
            ]
            if not source.files:
                found.add(source.path)
    return {
        path
        for path in found
        if path not in (ccgbank.PATH, conllu_rows.PATH) and not path.startswith("xstilts/")
    }


def unseen_lock() -> str:
    """A hub.lock of which nothing has been seen: every data set by name, no revision,
    unverified.
    """
    return lock_text({path: _unseen() for path in _paths()})
