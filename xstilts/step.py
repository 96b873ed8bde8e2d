"""A step: one unit of work, named by the SHA-256 of everything that can change its result."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xstilts.errors import PlanError

#: Bumped by hand whenever a step of that kind would compute something else; golden tests guard it.
RECIPE_VERSION: Mapping[str, int] = {
    "build": 2,
    "records": 4,
    "encode": 4,
    "finetune": 4,
    "score": 4,
    "report": 1,
}
#: kind → version → why steps of that kind compute something else from this version on: what
#: `xstilts plan` says.
RECIPE_CHANGES: Mapping[str, Mapping[int, str]] = {
    "records": {
        4: (
            "rows are identified by their position, bad images and answer offsets are bad rows, labels are mapped by name, all "
            "image conditions share their rows, sentence breaks and Mewsli-X queries are the official ones"
        )
    },
    "encode": {
        4: (
            "length limits count text and not image tokens, every word has exactly one tag, windows of question answering "
            "advance by the official step, special tokens written in data are text"
        )
    },
    "finetune": {
        4: "training keeps windows without the answer, dropout is keyed by the position of the row"
    },
    "score": {
        4: (
            "predictions are joined by the position of the row, retrieval ranks in float32, the answer limit is the same in "
            "all languages, an answer keeps the combining characters at its end"
        )
    },
}


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: keys sorted, no spaces, no NaN. Raises ValueError for NaN or
    infinity.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@dataclass(frozen=True)
class Step:
    """A unit of work.

    kind: one of RECIPE_VERSION's keys. spec: JSON object of all that can change the result
    (parents' fingerprints and the numeric environment included). settings: JSON object of what
    cannot (worker count, micro-batch budget, device, label for people, paths); it is
        recorded in the manifest and never fingerprinted.
    parents: role → fingerprint of the steps whose outputs this one reads. Part of the fingerprint.
    version: of the recipe, part of the fingerprint; 0 becomes the current one.
    """

    kind: str
    spec: Mapping[str, Any]
    parents: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    version: int = 0

    def __post_init__(self) -> None:
        if not self.version:
            object.__setattr__(self, "version", RECIPE_VERSION[self.kind])

    @property
    def fingerprint(self) -> str:
        return digest(
            {"kind": self.kind, "version": self.version, "spec": self.spec, "parents": self.parents}
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "spec": dict(self.spec),
            "parents": dict(self.parents),
            "settings": dict(self.settings),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Step":
        """Inverse of to_json, for steps of any recipe version. JSON without a version has the
        one that gives its fingerprint. ValueError when the stored fingerprint is not that of the
        content.
        """
        versions = (
            [value["version"]]
            if "version" in value
            else range(RECIPE_VERSION[value["kind"]], 0, -1)
        )
        for version in versions:
            step = cls(value["kind"], value["spec"], value["parents"], value["settings"], version)
            if step.fingerprint == value["fingerprint"]:
                return step
        raise ValueError(
            f"step {value['kind']}/{value['fingerprint'][:12]}: its content has another fingerprint"
        )


def require_current(step: Step) -> None:
    """PlanError for a step of another recipe version: this program would compute something else
    under its name.
    """
    if step.version != RECIPE_VERSION[step.kind]:
        raise PlanError(
            f"{step.settings.get('label', step.kind)} was planned with version {step.version} of the {step.kind} recipe, and "
            f"this program computes version {RECIPE_VERSION[step.kind]}; run the plan again"
        )


def training_role(task: str, translated: Sequence[str] | None) -> str:
    """The name under which a finetune step's parents hold the rows of one of its tasks."""
    return f"{task}@{'+'.join(translated)}" if translated else task
