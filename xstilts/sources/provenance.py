"""What `mirror pull` records of a data set or a model, beside its files: where each came from,
and its SHA-256.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RECORD = ".xstilts.json"


@dataclass(frozen=True)
class RecordedFile:
    """revision: the hub's commit, null where the file was copied from a folder that recorded
    none. origin: its name there.
    """

    size: int
    sha256: str
    revision: str | None
    origin: str


@dataclass(frozen=True)
class Record:
    """kind: dataset | model. licence: what the card states, null where it states none. files:
    name → file.
    """

    kind: str
    name: str
    licence: str | None = None
    files: Mapping[str, RecordedFile] = field(default_factory=dict)

    def revision_of(self, folder: Path, paths: Sequence[Path]) -> str | None:
        """The one commit that all of these files were recorded at; None when there is none, or a
        file has another size.
        """
        found = set()
        for path in paths:
            one = self.files.get(path.relative_to(folder).as_posix())
            found.add(one.revision if one and path.stat().st_size == one.size else None)
        return found.pop() if len(found) == 1 else None

    def with_file(self, name: str, file: RecordedFile) -> "Record":
        return Record(self.kind, self.name, self.licence, {**self.files, name: file})

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "files": {name: asdict(one) for name, one in sorted(self.files.items())},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Record":
        files = {name: RecordedFile(**one) for name, one in value["files"].items()}
        return cls(value["kind"], value["name"], value["licence"], files)
