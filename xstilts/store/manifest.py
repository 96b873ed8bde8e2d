"""The manifest of a finished step: its files by content, and information about them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xstilts.errors import CorruptError
from xstilts.store.documents import checked_name, checked_sha256, corrupt
from xstilts.store.object_keys import manifest_key


@dataclass(frozen=True)
class Blob:
    """Bytes by content: their SHA-256 (hex) and size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """A finished step.

    files: name → blob. step: Step.to_json(). info: counts, licenses, cost; not part of the
    fingerprint.
    """

    kind: str
    fingerprint: str
    files: Mapping[str, Blob]
    step: Mapping[str, Any]
    info: Mapping[str, Any]

    def fact(self, name: str) -> Any:
        """An entry of `info`. CorruptError if it is missing."""
        if name not in self.info:
            key = manifest_key(self.kind, self.fingerprint)
            raise corrupt(key, f"`info.{name}` is missing", "delete it and run the plan again")
        return self.info[name]

    def to_json(self) -> dict[str, Any]:
        files = {
            name: {"sha256": blob.sha256, "size": blob.size}
            for name, blob in sorted(self.files.items())
        }
        return {
            "kind": self.kind,
            "fingerprint": self.fingerprint,
            "files": files,
            "step": dict(self.step),
            "info": dict(self.info),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> "Manifest":
        """Inverse of to_json. CorruptError, with `where` in the message, for a digest, size or file
        name that is not valid: they become paths.
        """
        files = {
            checked_name(name, where): _blob(blob, f"{where}: {name}")
            for name, blob in value["files"].items()
        }
        return cls(value["kind"], value["fingerprint"], files, value["step"], value["info"])


def _blob(value: Any, where: str) -> Blob:
    if not isinstance(value, dict) or not isinstance(value.get("size"), int) or value["size"] < 0:
        raise CorruptError(f"{where}: corrupt: expected {{sha256, size}}, not {value!r:.100}")
    return Blob(checked_sha256(value.get("sha256"), where), value["size"])
