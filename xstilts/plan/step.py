"""A step: one unit of work, named by the SHA-256 of everything that can change its result."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Bumped by hand whenever a step of that kind would compute something else; golden tests guard it.
RECIPE_VERSION: Mapping[str, int] = {"build": 2, "records": 3, "encode": 3, "finetune": 3, "score": 3, "report": 1}


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: keys sorted, no spaces, no NaN. Raises ValueError for NaN or infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@dataclass(frozen=True)
class Step:
    """A unit of work.

    kind: one of RECIPE_VERSION's keys.
    spec: JSON object of all that can change the result (parents' fingerprints and the numeric environment included).
    settings: JSON object of what cannot (worker count, micro-batch budget, device, label for people, paths); it is
        recorded in the manifest and never fingerprinted.
    parents: role → fingerprint of the steps whose outputs this one reads. Part of the fingerprint.
    """

    kind: str
    spec: Mapping[str, Any]
    parents: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        return digest(
            {"kind": self.kind, "version": RECIPE_VERSION[self.kind], "spec": self.spec, "parents": self.parents}
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "fingerprint": self.fingerprint, "spec": dict(self.spec),
            "parents": dict(self.parents), "settings": dict(self.settings),
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Step":
        """Inverse of to_json; raises ValueError when the stored fingerprint is not that of the content."""
        step = cls(value["kind"], value["spec"], value["parents"], value["settings"])
        if step.fingerprint != value["fingerprint"]:
            raise ValueError(f"step {value['kind']}/{value['fingerprint'][:12]}: its content has another fingerprint")
        return step


def training_role(task: str, translated: Sequence[str] | None) -> str:
    """The name under which a finetune step's parents hold the rows of one of its tasks."""
    return f"{task}@{'+'.join(translated)}" if translated else task
