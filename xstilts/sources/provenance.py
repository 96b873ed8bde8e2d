"""The record that `mirror pull` writes next to the files of a data set or model: the origin and
SHA-256 of each file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RECORD = ".xstilts.json"


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
    def from_json(cls, value: Mapping[str, Any]) -> "Record":
        files = {name: RecordedFile(**file) for name, file in value["files"].items()}
        return cls(value["kind"], value["name"], value["licence"], files)
