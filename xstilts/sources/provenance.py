"""The record that `mirror pull` writes next to the files of a data set or model: the origin and
SHA-256 of each file.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

from xstilts.errors import DataError
from xstilts.input_files import check_type
from xstilts.store.documents import is_name

RECORD = ".xstilts.json"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class RecordedFile:
    """A file of a mirror.

    revision: the hub's commit, None if the file was copied from a folder without a record.
    origin: the file's name at the origin.
    """

    size: int
    sha256: str
    revision: str | None
    origin: str


@dataclass(frozen=True)
class Record:
    """The record of a data set or model.

    kind: `dataset` or `model`. licence: as stated in the card, else None. files: name → file.
    """

    kind: str
    name: str
    licence: str | None = None
    files: Mapping[str, RecordedFile] = field(default_factory=dict)

    def revision_of(self, folder: Path, paths: Sequence[Path]) -> str | None:
        """The commit that all of these files were recorded at; None if there is no single one or a
        file has another size.
        """
        revisions = set()
        for path in paths:
            recorded = self.files.get(path.relative_to(folder).as_posix())
            same_size = recorded is not None and path.stat().st_size == recorded.size
            revisions.add(recorded.revision if recorded and same_size else None)
        return revisions.pop() if len(revisions) == 1 else None

    def with_file(self, name: str, file: RecordedFile) -> "Record":
        """The record with one file added or replaced."""
        return Record(self.kind, self.name, self.licence, {**self.files, name: file})

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "files": {name: asdict(file) for name, file in sorted(self.files.items())},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> "Record":
        """DataError, with the place, for a value that is not a record: a mirror may come from
        anywhere, and the names of its files become paths.
        """
        for key in ("kind", "name"):
            check_type(value.get(key), str, f"{where}: {key}")
        check_type(value.get("licence"), (str, NoneType), f"{where}: licence")
        check_type(value.get("files"), dict, f"{where}: files")
        files = {
            name: _recorded(name, file, f"{where}: files: {name[:80]!r}")
            for name, file in value["files"].items()
        }
        return cls(value["kind"], value["name"], value["licence"], files)


def _recorded(name: str, value: Any, where: str) -> RecordedFile:
    if not is_name(name):
        raise DataError(f"{where} is not the name of a file in the folder")
    check_type(value, dict, where)
    types: Mapping[str, Any] = {
        "size": int,
        "sha256": str,
        "revision": (str, NoneType),
        "origin": str,
    }
    for key, kind in types.items():
        check_type(value.get(key), kind, f"{where}: {key}")
    if not _SHA256.fullmatch(value["sha256"]) or value["size"] < 0:
        raise DataError(f"{where}: not a SHA-256 or a negative size")
    if further := value.keys() - types.keys():
        raise DataError(f"{where}: unknown key {min(further)!r}")
    return RecordedFile(**value)
