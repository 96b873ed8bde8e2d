"""An expanded plan: its steps, what reads what, and how the work is dealt out. JSON in and out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xstilts.step import Step

Json = dict[str, Any]


@dataclass(frozen=True)
class Expansion:
    """What a plan comes to. docs/plan.md shows the JSON of each part.

    plan: the plan in its plain shape.  environment: versions that the results depend on. steps:
    fingerprint → Step, parents before children. sources, builds, encodings: batches {id, steps};
    those of one list may run side by side. groups: {id, backbone, finetune, score}, fingerprints in
    the order in which they run. cells: {id, backbone, arm, seed, seed_intermediate, seed_target,
    trained_target, chain, scores}. not_applicable: {backbone, arm, reason, partly: the arm's other
    tasks are trained}.  skipped_languages: {evaluation, language, reason}. contrasts: {name, arm,
    reference, implicit, allow_unmatched, differences}. overlaps: {arm, trained_target, overlap}.
    budgets: {backbone, arm, tasks, objective, examples, updates, epochs, supervised_tokens,
    examples_per_step}. overrides: what the plan changes of the shipped tables.  identities: every
    source with its identity. exposures: {backbone, arm, exposure: seen | unseen | unknown, why}.
    intermediates: {backbone, arm, seed, task, objective, score: a step or null, split, metrics; or
    reason}. order: {backbones, arms, evaluations}: their names as the plan has them, since the keys
    of a stored object are sorted.
    """

    name: str
    plan: Json
    environment: Json
    steps: Mapping[str, Step]
    sources: Sequence[Json]
    builds: Sequence[Json]
    encodings: Sequence[Json]
    groups: Sequence[Json]
    cells: Sequence[Json]
    not_applicable: Sequence[Json]
    skipped_languages: Sequence[Json]
    contrasts: Sequence[Json]
    headline: str | None
    controls: Json
    overlaps: Sequence[Json]
    budgets: Sequence[Json]
    overrides: Sequence[Json]
    identities: Sequence[Json]
    exposures: Sequence[Json] = ()
    intermediates: Sequence[Json] = ()
    order: Json = field(default_factory=dict)

    def to_json(self) -> Json:
        """A JSON object that from_json reads back."""
        value: Json = {name: getattr(self, name) for name in self.__dataclass_fields__}
        value["steps"] = {fingerprint: step.to_json() for fingerprint, step in self.steps.items()}
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Expansion":
        """Inverse of to_json; raises ValueError when a step's fingerprint is not that of its
        content.
        """
        steps = {fingerprint: Step.from_json(step) for fingerprint, step in value["steps"].items()}
        return cls(**{**value, "steps": steps})

    @property
    def task_files(self) -> dict[str, str]:
        """path → text of the plan's private task files."""
        files: Json = self.plan.get("tasks", {})
        return {path: file["source"] for path, file in files.items()}

    def by_kind(self) -> dict[str, list[str]]:
        """kind → fingerprints, in order."""
        found: dict[str, list[str]] = {}
        for fingerprint, step in self.steps.items():
            found.setdefault(step.kind, []).append(fingerprint)
        return found
