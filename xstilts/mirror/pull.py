"""Copies exactly what a plan needs from the hub, or from another mirror, to a folder or an S3
prefix.

Each file is fetched under another name, held against the origin's digest, given its own name, and
then recorded with its SHA-256 and commit: what is recorded is whole, and is not fetched again.
"""

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from xstilts.data.records import source_of
from xstilts.errors import DataError, PlanError
from xstilts.mirror.target import Place
from xstilts.plan.expansion import Expansion
from xstilts.sources import ccgbank, hub
from xstilts.sources.loader import Mirror, data_files
from xstilts.sources.provenance import RECORD, Record, RecordedFile
from xstilts.sources.shard_names import KINDS
from xstilts.store.store import file_sha256
from xstilts.tasks.task import Source

THREADS = 4
#: Beside the data: what says under which terms it may be used.
_CARDS = re.compile(r"(readme|licen[sc]es?|copying|notice)(\.md|\.txt|\.tsv)?", re.IGNORECASE)


@dataclass(frozen=True)
class Wanted:
    """One file of a set, `folder` being the set's in the mirror. sha256: where the origin states
    it. fetch(part) leaves the file there, verified, and returns its SHA-256.
    """

    kind: str
    set: str
    folder: str
    name: str
    size: int
    sha256: str | None
    revision: str | None
    origin: str
    fetch: Callable[[Path], str]


@dataclass(frozen=True)
class Pulled:
    """files: of the plan's. fetched, kept: how many were copied now, were there before. records:
    the sets' records.
    """

    fetched: int
    kept: int
    bytes: int
    records: Sequence[Record]
    left_out: Sequence[str]


def pull(expansion: Expansion, origin: Mirror, target: Place, say: Callable[[str], None]) -> Pulled:
    """Copies what a plan expands to on `origin`. Started again, goes on where it stopped.
    DataError or InfrastructureError where a file cannot be had; what has arrived stays recorded.
    """
    wanted, left_out = needs(expansion, origin)
    book = _Book(target)
    todo = [one for one in wanted if not book.holds(one)]
    target.room_for(sum(one.size for one in todo))
    total = sum(one.size for one in todo)
    say(
        f"{len(wanted)} files, {len(wanted) - len(todo)} there already; to fetch: {len(todo)}, {total / 1e6:.1f} MB"
    )
    done = 0
    with ThreadPoolExecutor(THREADS) as pool:
        running = {pool.submit(_one, one, target, book): one for one in todo}
        try:
            for future in as_completed(running):
                future.result()
                done += running[future].size
                say(
                    f"{done / 1e6:.1f} of {total / 1e6:.1f} MB  {running[future].folder}/{running[future].name}"
                )
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    for folder in dict.fromkeys(one.folder for one in wanted):
        book.licensed(folder)
    records = [book.records[folder] for folder in dict.fromkeys(one.folder for one in wanted)]
    return Pulled(len(todo), len(wanted) - len(todo), total, records, left_out)


def _one(wanted: Wanted, target: Place, book: "_Book") -> None:
    name = f"{wanted.folder}/{wanted.name}"
    part = target.part(name)
    sha256 = wanted.fetch(part)
    target.put(name, part)
    book.add(wanted, RecordedFile(wanted.size, sha256, wanted.revision, wanted.origin))


class _Book:
    """The records of the sets in a mirror, each written again when one of its files has come."""

    def __init__(self, target: Place) -> None:
        self.target, self.lock = target, threading.Lock()
        self.records: dict[str, Record] = {}

    def record(self, wanted: Wanted) -> Record:
        if wanted.folder not in self.records:
            self.records[wanted.folder] = self.target.record(wanted.folder) or Record(
                wanted.kind, wanted.set
            )
        return self.records[wanted.folder]

    def holds(self, wanted: Wanted) -> bool:
        """Whether a file is there, whole, in the origin's version. The same bytes at a newer
        commit are noted as such.
        """
        known = self.record(wanted).files.get(wanted.name)
        if known is None or not known.size == wanted.size == self.target.size(
            f"{wanted.folder}/{wanted.name}"
        ):
            return False
        same = (
            known.sha256 == wanted.sha256
            if wanted.sha256
            else known.revision == wanted.revision is not None
        )
        if same and known.revision != wanted.revision:
            self.add(wanted, replace(known, revision=wanted.revision, origin=wanted.origin))
        return same

    def add(self, wanted: Wanted, file: RecordedFile) -> None:
        with self.lock:
            self._put(wanted.folder, self.record(wanted).with_file(wanted.name, file))

    def licensed(self, folder: str) -> None:
        """Notes the licence that a set's card states."""
        card = self.target.read(f"{folder}/README.md")
        licence = card_licence(card.decode("utf-8", "replace")) if card else None
        if licence != self.records[folder].licence:
            self._put(folder, replace(self.records[folder], licence=licence))

    def _put(self, folder: str, record: Record) -> None:
        self.records[folder] = record
        self.target.put_json(f"{folder}/{RECORD}", record.to_json())


# ---- what a plan needs ----


def needs(expansion: Expansion, origin: Mirror) -> tuple[list[Wanted], list[str]]:
    """(every file that the expansion's steps read, what is left out and why)."""
    sources: dict[tuple[str, str | None, str], tuple[Source, str]] = {}
    models: dict[str, str] = {}
    left_out = []
    for step in expansion.steps.values():
        if step.kind == "records":
            beside = [source_of(step.spec["captions"])] if step.spec.get("captions") else []
            for one in (*_parts(source_of(step.spec["source"])), *beside):
                if one.path == ccgbank.PATH:
                    left_out.append(
                        f"{one.path}: licensed (LDC2005T13), never copied; set {ccgbank.VARIABLE} where it is read"
                    )
                else:
                    sources[(one.path, one.config, one.split)] = (one, step.spec["language"])
        for given in (step.spec.get("backbone"), step.spec.get("processor")):
            if isinstance(given, Mapping) and "hub" in given:
                models[given["hub"]] = given["revision"]
            elif isinstance(given, Mapping) and "path" in given:
                left_out.append(f"{given['path']}: a folder of this machine, not copied")
    at = origin.at(list(expansion.identities))
    found: dict[tuple[str, str], Wanted] = {}
    for source, language in sources.values():
        listed = _of_hub(at, source) if at.kind == "hub" else _of_folder(at, source, language)
        found |= {(one.folder, one.name): one for one in listed}
    for name, revision in models.items():
        found |= {(one.folder, one.name): one for one in _model(at, name, revision)}
    return list(found.values()), list(dict.fromkeys(left_out))


def _parts(source: Source) -> Iterator[Source]:
    """A source without what stands beside it, then that."""
    yield replace(source, plus=(), pictures=None)
    for one in (*source.plus, *([source.pictures] if source.pictures else [])):
        yield from _parts(one)


def _of_hub(mirror: Mirror, source: Source) -> Iterator[Wanted]:
    """Files of the hub under the names that a mirror gives them:
    `<config>/<split>-00000-of-00001.<end>`.
    """
    held = hub.repo("dataset", source.path, mirror.revision(source.path))
    for split, files in hub.split_files(
        source.path, held.revision, source.config, source.split
    ).items():
        for number, file in enumerate(files):
            end = next((end for end in KINDS if file.name.endswith(end)), None)
            if end is None:
                raise DataError(
                    f"{source.path}: {file.name} is none of {', '.join(KINDS)}, so a mirror cannot hold it"
                )
            below = f"{source.config}/" if source.config else ""
            name = f"{below}{split}-{number:05d}-of-{len(files):05d}{end}"
            yield _hub_file(held, file, source.path, name)
    yield from (
        _hub_file(held, held.files[name], source.path, name)
        for name in held.files
        if _is_card(name)
    )


def _hub_file(held: hub.Repo, file: hub.RemoteFile, folder: str, name: str) -> Wanted:
    fetch = partial(hub.fetch, held, file)
    return Wanted(
        held.kind, held.name, folder, name, file.size, file.sha256, held.revision, file.name, fetch
    )


def _is_card(name: str) -> bool:
    return _CARDS.fullmatch(name) is not None


def _of_folder(mirror: Mirror, source: Source, language: str) -> Iterator[Wanted]:
    assert mirror.folder is not None
    yield from _copies(
        mirror, source.path, "dataset", source.path, data_files(mirror, source, language)
    )


def _copies(
    mirror: Mirror, folder: str, kind: str, name: str, paths: Iterable[Path]
) -> Iterator[Wanted]:
    """Files of another mirror, with the commits that it recorded; and the cards beside them."""
    assert mirror.folder is not None
    record, base = mirror.record(folder), mirror.folder / folder
    there = (
        mirror.keys.below(folder)
        if mirror.keys
        else [path.name for path in base.iterdir() if path.is_file()]
    )
    cards = [base / one for one in there if _is_card(one)]
    for path in (*paths, *cards):
        relative = path.relative_to(base).as_posix()
        if mirror.keys is not None:
            mirror.keys.fetch(f"{folder}/{relative}", path)
        known = record.files.get(relative) if record else None
        sha256, revision = file_sha256(path), None
        if known is not None and known.size == path.stat().st_size:
            if known.sha256 != sha256:
                raise DataError(
                    f"{path}: its bytes are not those that its mirror recorded; pull that mirror again"
                )
            revision = known.revision
        fetch = partial(_copy, path, sha256)
        yield Wanted(
            kind, name, folder, relative, path.stat().st_size, sha256, revision, relative, fetch
        )


def _copy(path: Path, sha256: str, part: Path) -> str:
    shutil.copyfile(path, part)
    if file_sha256(part) != sha256:
        part.unlink()
        raise DataError(
            f"{path}: other bytes arrived than were read before; is the file being written, or the disk failing?"
        )
    return sha256


def _model(mirror: Mirror, name: str, revision: str) -> Iterator[Wanted]:
    folder = f"models/{name}"
    record = mirror.record(folder) if mirror.kind == "folder" else None
    if record is not None:
        assert mirror.folder is not None
        paths = [mirror.folder / folder / one for one in record.files if not _is_card(one)]
        yield from _copies(mirror, folder, "model", name, paths)
        return
    held = hub.repo("model", name, revision)
    cards = [held.files[one] for one in held.files if _is_card(one)]
    wanted = {file.name: file for file in (*hub.model_files(held), *cards)}
    yield from (_hub_file(held, file, folder, file.name) for file in wanted.values())


# ---- licences ----


def card_licence(card: str) -> str | None:
    """The licence that a card's front matter states, with its name or address where it is
    `other`; None without one.
    """
    import yaml

    if not card.startswith("---"):
        return None
    try:
        head = yaml.safe_load(card.split("\n---", 1)[0].removeprefix("---"))
    except yaml.YAMLError:
        return None
    stated = head.get("license") if isinstance(head, dict) else None
    names = stated if isinstance(stated, list) else [stated] if stated else []
    further = (
        [str(head[key]) for key in ("license_name", "license_link") if head.get(key)]
        if names
        else []
    )
    return ", ".join(str(one) for one in (*names, *further)) or None


def licence_rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """A row a set: its name, commits, files, bytes, the card's licence, the registry's, and what
    to heed: `unknown`, `research or non-commercial only`, `own terms`, or nothing.
    """
    from xstilts.tasks.registry import TASKS

    rows = []
    for record in records:
        stated = dict.fromkeys(
            task.licence
            for task in TASKS.values()
            for source in task.splits.values()
            if task.licence and record.name in {one.path for one in _with_alternatives(source)}
        )
        registry = "; ".join(stated)
        revisions = sorted({one.revision for one in record.files.values() if one.revision})
        rows.append(
            {
                "set": record.name,
                "kind": record.kind,
                "revisions": revisions,
                "files": len(record.files),
                "bytes": sum(one.size for one in record.files.values()),
                "licence": record.licence,
                "registry": registry or None,
                "heed": heed(f"{record.licence or ''} {registry}"),
            }
        )
    return rows


def _with_alternatives(source: Source) -> Iterator[Source]:
    for one in _parts(source):
        yield one
        for other in one.alternatives:
            yield from _with_alternatives(other)


def heed(licence: str) -> str:
    """What a licence asks to be heeded, in a few words."""
    text = licence.lower()
    if any(word in text for word in ("-nc", "non-commercial", "noncommercial", "research")):
        return "research or non-commercial only"
    if not text.strip() or "unknown" in text or "unstated" in text:
        return "unknown"
    return (
        "own terms"
        if any(word in text for word in ("other", "terms", "its own", "llama", "gemma"))
        else ""
    )


def verify(target: Place) -> tuple[int, list[str]]:
    """(files that were looked at, what is wrong): every recorded file's bytes are held against
    its SHA-256.
    """
    folders = target.recorded()
    if not folders:
        raise PlanError(
            f"{target.address}: no set in it was recorded; it was not made by `xstilts mirror pull`"
        )
    count, problems = 0, []
    for folder in folders:
        record = target.record(folder)
        for name, file in sorted(record.files.items() if record else ()):
            count += 1
            found = target.sha256(f"{folder}/{name}")
            if found != file.sha256:
                problems.append(
                    f"{folder}/{name}: {'missing' if found is None else 'other bytes than were recorded'}"
                )
    return count, problems


def forget(target: Place, problems: Iterable[str]) -> None:
    """Strikes spoilt files from their records, so that the next pull fetches them."""
    for problem in problems:
        path = problem.rpartition(": ")[0]
        for folder in target.recorded():
            record = target.record(folder)
            name = os.path.relpath(path, folder)
            if record and name in record.files:
                files = {one: file for one, file in record.files.items() if one != name}
                target.put_json(f"{folder}/{RECORD}", replace(record, files=files).to_json())
