"""A step: one unit of work, identified by the SHA-256 of everything that can change its result."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xstilts.document_shape import fault
from xstilts.errors import CorruptError, PlanError
from xstilts.stored_documents import STEP

#: Bump a kind by hand when its steps compute something else. Golden tests catch a missing bump.
RECIPE_VERSION: Mapping[str, int] = {
    "build": 2,
    "records": 4,
    "encode": 4,
    "finetune": 4,
    "score": 4,
    "report": 1,
}
#: The kinds that a run computes, in the order of its phases.
STEP_KINDS = ("records", "build", "encode", "finetune", "score")
#: kind → version → what that version changed. `xstilts plan` shows it for recomputed steps.
RECIPE_CHANGES: Mapping[str, Mapping[int, str]] = {
    "records": {
        4: (
            "rows are identified by position; bad images and answer offsets are bad rows; labels "
            "are mapped by name; all image conditions share their rows; sentence breaks and "
            "Mewsli-X queries are the official ones"
        )
    },
    "encode": {
        4: (
            "length limits count text, not image tokens; every word has exactly one tag; question "
            "answering windows advance by the official step; special tokens in data are plain text"
        )
    },
    "finetune": {4: "training keeps windows without the answer; dropout is keyed by row position"},
    "score": {
        4: (
            "predictions are joined by row position; retrieval ranks in float32; the answer limit "
            "is the same in all languages; an answer keeps its trailing combining characters"
        )
    },
}


def canonical_json(value: Any) -> str:
    """The canonical JSON text of a value: sorted keys, no spaces.

    Raises ValueError for NaN and infinity.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(value: Any) -> str:
    """Hex SHA-256 of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@dataclass(frozen=True)
class Step:
    """A unit of work.

    Attributes:
        kind: A key of RECIPE_VERSION.
        spec: JSON object with everything that can change the result, including parents'
            fingerprints and the numeric environment.
        parents: Role → fingerprint of the steps whose outputs this step reads. Fingerprinted.
        settings: JSON object with everything that cannot change the result: worker count,
            micro-batch budget, device, label for people, paths. Recorded in the manifest, never
            fingerprinted.
        version: Recipe version, part of the fingerprint. 0 means the current version.
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
    def from_json(cls, value: Any, where: str = "a step") -> "Step":
        """Inverse of to_json, for steps of any recipe version.

        If the JSON has no version, the version that matches the fingerprint is used. CorruptError,
        with `where` in the message, if the content has another shape or another fingerprint than
        the stored one.
        """
        if (problem := fault(value, STEP)) is not None:
            raise CorruptError(f"{where}: corrupt: {problem}; run the plan again")
        versions = (
            [value["version"]]
            if "version" in value
            else range(RECIPE_VERSION.get(value["kind"], 0), 0, -1)
        )
        for version in versions:
            step = cls(value["kind"], value["spec"], value["parents"], value["settings"], version)
            if step.fingerprint == value["fingerprint"]:
                return step
        raise CorruptError(
            f"{where}: {value['kind']}/{value['fingerprint'][:12]}: fingerprint mismatch: the "
            "content has changed; run the plan again"
        )


def require_current(step: Step) -> None:
    """Raises PlanError if this program computes another version of the step's recipe.

    Its result would be stored under the wrong fingerprint.
    """
    if step.version != RECIPE_VERSION[step.kind]:
        raise PlanError(
            f"{step.settings.get('label', step.kind)} was planned with version {step.version} of "
            f"the {step.kind} recipe, but this program computes version "
            f"{RECIPE_VERSION[step.kind]}; run the plan again"
        )


def training_role(task: str, translated: Sequence[str] | None) -> str:
    """The role of a task's training rows among the parents of a finetune step."""
    return f"{task}@{'+'.join(translated)}" if translated else task
