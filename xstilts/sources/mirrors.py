"""Where data sets and models are read from: the hub, or a mirror in a folder or an s3:// prefix."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from xstilts.errors import DataError, PlanError
from xstilts.input_files import read_object, resolved
from xstilts.sources import hub
from xstilts.sources.provenance import RECORD, Record
from xstilts.store.private_files import cache_folder
from xstilts.store.store import Store, file_sha256


@dataclass(frozen=True, eq=False)
class S3Listing:
    """The files under an s3:// mirror, listed once. Files are downloaded when they are read."""

    store: Store
    names: frozenset[str]

    def contains(self, name: str) -> bool:
        return name in self.names

    def download(self, name: str, path: Path) -> None:
        """Downloads a file unless it exists. The file gets its name only once it is complete."""
        if path.is_file():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=path.parent) as scratch:
            os.replace(self.store.get_file(name, Path(scratch) / "file"), path)

    def files_in(self, folder: str) -> list[str]:
        """Names of the files directly in a folder."""
        prefix = f"{folder}/"
        return [
            name[len(prefix) :]
            for name in self.names
            if name.startswith(prefix) and "/" not in name[len(prefix) :]
        ]


@dataclass(frozen=True)
class Mirror:
    """The hub or a mirror of it.

    kind: `hub` or `folder`. An s3:// mirror is a folder that is filled on demand from `listing`.
    revisions: data set → the hub's commit to read, for those that are not read at the newest.
    """

    kind: str
    folder: Path | None = None
    address: str = "hub"
    revisions: Mapping[str, str] = field(default_factory=dict)
    listing: S3Listing | None = None

    def at(self, identities: Any) -> "Mirror":
        """This mirror at the commits of the identities in a JSON value, at any depth."""
        return replace(self, revisions={**self.revisions, **dict(_commits(identities))})

    def revision(self, path: str) -> str:
        """The hub's commit at which to read a data set: as fixed, else the newest."""
        return self.revisions.get(path) or _hub_revision(path)

    def record(self, path: str) -> Record | None:
        """The record of `mirror pull` for a data set (`org/name`) or a model (`models/…`), or
        None.
        """
        assert self.folder is not None
        file = self.folder / path / RECORD
        if self.listing is not None and self.listing.contains(f"{path}/{RECORD}"):
            self.listing.download(f"{path}/{RECORD}", file)
        return Record.from_json(read_object(file), str(file)) if os.path.lexists(file) else None


def _commits(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        if "hub" in value and "revision" in value:
            yield str(value["hub"]), str(value["revision"])
        value = list(value.values())
    for item in value if isinstance(value, list | tuple) else ():
        yield from _commits(item)


def open_mirror(address: str, option: str = "--mirror") -> Mirror:
    """Opens `hub`, a folder, or s3://bucket/prefix (cached locally). PlanError if the folder does
    not exist. option: what errors call the address.
    """
    if address == "hub":
        return Mirror("hub")
    if address.startswith("s3://"):
        return _open_s3(address, option)
    folder = resolved(address)
    if not folder.is_dir():
        # `miniature` is a folder by now, unless the option does not make one.
        made = "" if address == "miniature" else "miniature, "
        raise PlanError(
            f"{option} {address!r}: no such folder; allowed: hub, {made}a folder, or "
            "s3://bucket/prefix"
        )
    return Mirror("folder", folder, str(folder))


def _open_s3(uri: str, option: str) -> Mirror:
    """The cache folder is named after the listing with its ETags, so a changed mirror gets a new
    one.
    """
    store = Store.open(uri, option=option)
    listing = store.listing("")
    name = hashlib.sha256(json.dumps([uri, sorted(listing.items())]).encode()).hexdigest()[:16]
    folder = cache_folder() / f"mirror-{name}"
    return Mirror("folder", folder, uri, listing=S3Listing(store, frozenset(listing)))


def hub_lock() -> Mapping[str, Any]:
    """The entries of the shipped hub.lock, by data set. Only revisions that `xstilts tasks probe
    --lock` verified are in it.
    """
    lock: Mapping[str, Any] = json.loads((files("xstilts.tasks") / "hub.lock").read_text())[
        "sources"
    ]
    return lock


@cache
def _hub_revision(path: str) -> str:
    entry = hub_lock().get(path, {})
    if entry.get("verified") and entry["revision"]:
        return str(entry["revision"])
    return hub.data_revision(path)


def verify_file(file: Path, sha256: str) -> None:
    """DataError unless a file has the SHA-256 that `mirror pull` recorded."""
    if not file.is_file():
        raise DataError(f"{file}: missing, although `mirror pull` recorded it; pull it again")
    if file_sha256(file) != sha256:
        raise DataError(
            f"{file}: corrupt: its SHA-256 is not the one that `mirror pull` recorded; pull it "
            "again"
        )


def model_revision(mirror: Mirror, name: str) -> str | None:
    """The commit at which a mirror has a model of the hub, or None if it does not have it."""
    record = mirror.record(f"models/{name}") if mirror.kind == "folder" else None
    revisions = {file.revision for file in record.files.values()} if record else set()
    return revisions.pop() if len(revisions) == 1 else None


def added_model(mirror: Mirror, name: str) -> Path | None:
    """The folder of a model that is in a mirror without a recorded commit, such as one that was
    copied there by hand, or None. From an S3 mirror all its files are downloaded.
    """
    if mirror.kind != "folder" or model_revision(mirror, name) is not None:
        return None
    assert mirror.folder is not None
    relative = f"models/{name}"
    folder = mirror.folder / relative
    if mirror.listing is not None:
        for file in mirror.listing.names:
            if file.startswith(f"{relative}/"):
                mirror.listing.download(file, mirror.folder / file)
    return folder if (folder / "config.json").is_file() else None


def model_folder(mirror: Mirror, name: str, revision: str) -> Path:
    """The folder of a model in a mirror, with all files verified. DataError if the mirror has
    another commit.
    """
    if model_revision(mirror, name) != revision:
        raise DataError(
            f"models/{name}: the mirror {mirror.address} does not have it at {revision}; pull it "
            "again"
        )
    record = mirror.record(f"models/{name}")
    assert mirror.folder is not None
    assert record is not None  # it has a revision
    folder = mirror.folder / "models" / name
    for file, recorded in record.files.items():
        if mirror.listing is not None:
            mirror.listing.download(f"models/{name}/{file}", folder / file)
        verify_file(folder / file, recorded.sha256)
    return folder
