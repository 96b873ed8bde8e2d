"""Where `mirror pull` writes: a folder, or an S3 prefix. A file appears under its name whole or
not at all.
"""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Protocol

from xstilts.errors import InfrastructureError
from xstilts.sources.provenance import RECORD, Record
from xstilts.store.store import Store, file_sha256


class Place(Protocol):
    """Names are relative, with slashes."""

    address: str

    def part(self, name: str) -> Path: ...  # a local file to fetch into, the same each time
    def put(self, name: str, part: Path) -> None: ...  # the part takes its name
    def size(self, name: str) -> int | None: ...
    def sha256(self, name: str) -> str | None: ...  # of the bytes that are there now
    def read(self, name: str) -> bytes | None: ...
    def put_json(self, name: str, value: Any) -> None: ...
    def record(self, folder: str) -> Record | None: ...
    def recorded(self) -> list[str]: ...  # folders that hold a record
    def room_for(self, size: int) -> None: ...  # InfrastructureError where the disk is too small


def open_place(text: str) -> Place:
    """A folder (made where it is not there) or s3://bucket/prefix."""
    return S3Place(text) if text.startswith("s3://") else FolderPlace(text)


class FolderPlace:
    def __init__(self, text: str) -> None:
        self.root = Path(text).expanduser().resolve()
        self.address = str(self.root)
        self.root.mkdir(parents=True, exist_ok=True)

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
        return path.read_bytes() if path.is_file() else None

    def put_json(self, name: str, value: Any) -> None:
        part = self.part(name)
        part.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        self.put(name, part)

    def record(self, folder: str) -> Record | None:
        data = self.read(f"{folder}/{RECORD}")
        return Record.from_json(json.loads(data)) if data else None

    def recorded(self) -> list[str]:
        return sorted(
            path.parent.relative_to(self.root).as_posix() for path in self.root.rglob(RECORD)
        )

    def room_for(self, size: int) -> None:
        _room(self.root, size)


class S3Place:
    def __init__(self, uri: str) -> None:
        self.store, self.address = Store.open(uri), uri
        self.sizes = {name: size for name, (size, _) in self.store.listing("").items()}
        name = hashlib.sha256(uri.encode()).hexdigest()[:16]
        self.parts = Path(os.environ.get("XSTILTS_CACHE", tempfile.gettempdir())) / f"pull-{name}"

    def part(self, name: str) -> Path:
        path = self.parts / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def put(self, name: str, part: Path) -> None:
        self.store.put_file(
            name, part
        )  # one PUT, or a multipart upload that shows when it is complete
        self.sizes[name] = part.stat().st_size
        part.unlink()

    def size(self, name: str) -> int | None:
        return self.sizes.get(name)

    def sha256(self, name: str) -> str | None:
        if name not in self.sizes:
            return None
        with tempfile.TemporaryDirectory(prefix="xstilts-verify-") as scratch:
            return file_sha256(self.store.get_file(name, Path(scratch) / "file"))

    def read(self, name: str) -> bytes | None:
        return self.store.get_bytes_at(name)

    def put_json(self, name: str, value: Any) -> None:
        data = (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
        self.store.put_bytes_at(name, data)
        self.sizes[name] = len(data)

    def record(self, folder: str) -> Record | None:
        data = self.read(f"{folder}/{RECORD}")
        return Record.from_json(json.loads(data)) if data else None

    def recorded(self) -> list[str]:
        return sorted(
            name.removesuffix(f"/{RECORD}") for name in self.sizes if name.endswith(f"/{RECORD}")
        )

    def room_for(self, size: int) -> None:
        """A bucket's room is not ours to know."""


def _room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise InfrastructureError(
            f"{folder}: {size / 1e9:.1f} GB are to be fetched, {free / 1e9:.1f} GB are free"
        )
