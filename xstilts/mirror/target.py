"""Where `mirror pull` writes: a folder or an S3 prefix. A file gets its name only once it is
complete.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from xstilts.errors import DataError, InfrastructureError, PlanError
from xstilts.input_files import InvalidDocument, check_type, parse_json, read_bytes, resolved
from xstilts.sources.provenance import RECORD, Record
from xstilts.store.private_files import cache_folder
from xstilts.store.store import Store, file_sha256


class Target(Protocol):
    """A mirror to write to. Names are relative paths with slashes."""

    address: str

    def part(self, name: str) -> Path:
        """A local path to download to, the same in each attempt."""

    def put(self, name: str, part: Path) -> None:
        """Moves a complete download to its name."""

    def size(self, name: str) -> int | None: ...

    def sha256(self, name: str) -> str | None:
        """Computed from the current bytes."""

    def read(self, name: str) -> bytes | None: ...
    def put_json(self, name: str, value: Any) -> None: ...
    def record(self, folder: str) -> Record | None: ...

    def recorded_folders(self) -> list[str]:
        """The folders that have a record."""

    def check_free_space(self, size: int) -> None:
        """InfrastructureError if the disk is too small."""


def open_target(address: str) -> Target:
    """A folder, created if necessary, or s3://bucket/prefix."""
    return S3Target(address) if address.startswith("s3://") else FolderTarget(address)


@contextmanager
def alone(address: str) -> Iterator[None]:
    """Refuses a second process of this user that writes to the mirror at an address: both would
    append to the same downloads and replace each other's records. PlanError if there is one.
    """
    name = hashlib.sha256(address.encode()).hexdigest()[:16]
    with open(cache_folder() / f"pull-{name}.lock", "ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released when this process ends
        except BlockingIOError as error:
            raise PlanError(
                f"{address}: another `xstilts mirror pull` is writing to this mirror; wait until "
                "it has ended, then run the same command again"
            ) from error
        yield


def _record(data: bytes | None, where: str) -> Record | None:
    if data is None:
        return None
    try:
        value = parse_json(data)
        check_type(value, dict, "the record")
    except (InvalidDocument, DataError) as error:
        raise DataError(f"{where}: {error}; pull again") from error
    return Record.from_json(value, where)


class FolderTarget:
    """A mirror in a local folder."""

    def __init__(self, folder: str) -> None:
        self.root = resolved(folder)
        self.address = str(self.root)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PlanError(f"{folder}: not a folder for a mirror: {error.strerror}") from error

    def part(self, name: str) -> Path:
        path = self.root / f"{name}.part"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def put(self, name: str, part: Path) -> None:
        os.replace(part, self.root / name)

    def size(self, name: str) -> int | None:
        path = self.root / name
        return path.stat().st_size if path.is_file() else None

    def sha256(self, name: str) -> str | None:
        path = self.root / name
        return file_sha256(path) if path.is_file() else None

    def read(self, name: str) -> bytes | None:
        path = self.root / name
        return read_bytes(path) if os.path.lexists(path) else None

    def put_json(self, name: str, value: Any) -> None:
        part = self.part(name)
        part.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        self.put(name, part)

    def record(self, folder: str) -> Record | None:
        data = self.read(f"{folder}/{RECORD}")
        return _record(data, f"{self.root / folder / RECORD}")

    def recorded_folders(self) -> list[str]:
        return sorted(
            path.parent.relative_to(self.root).as_posix() for path in self.root.rglob(RECORD)
        )

    def check_free_space(self, size: int) -> None:
        free = shutil.disk_usage(self.root).free
        if size > free:
            raise InfrastructureError(
                f"{self.root}: {size / 1e9:.1f} GB to download, but only {free / 1e9:.1f} GB free; "
                "free some space or choose another folder"
            )


class S3Target:
    """A mirror under an S3 prefix."""

    def __init__(self, uri: str) -> None:
        self.store, self.address = Store.open(uri, option="DIR"), uri
        self.sizes = {name: size for name, (size, _) in self.store.listing("").items()}
        name = hashlib.sha256(uri.encode()).hexdigest()[:16]
        self.parts = cache_folder() / f"pull-{name}"

    def part(self, name: str) -> Path:
        path = self.parts / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def put(self, name: str, part: Path) -> None:
        # One PUT, or a multipart upload that appears once it is complete.
        self.store.put_file(name, part)
        self.sizes[name] = part.stat().st_size
        part.unlink()

    def size(self, name: str) -> int | None:
        return self.sizes.get(name)

    def sha256(self, name: str) -> str | None:
        if name not in self.sizes:
            return None
        with tempfile.TemporaryDirectory(prefix="xstilts-verify-") as scratch:
            return self.store.download(name, Path(scratch) / "file")

    def read(self, name: str) -> bytes | None:
        return self.store.get_bytes_at(name)

    def put_json(self, name: str, value: Any) -> None:
        data = (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
        self.store.put_bytes_at(name, data)
        self.sizes[name] = len(data)

    def record(self, folder: str) -> Record | None:
        data = self.read(f"{folder}/{RECORD}")
        return _record(data, f"{self.address}/{folder}/{RECORD}")

    def recorded_folders(self) -> list[str]:
        return sorted(
            name.removesuffix(f"/{RECORD}") for name in self.sizes if name.endswith(f"/{RECORD}")
        )

    def check_free_space(self, size: int) -> None:
        """The free space of a bucket is unknown."""
