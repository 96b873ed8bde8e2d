"""An expanded plan: its steps, their dependencies, and the batches and groups that run them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xstilts.document_shape import fields_in
from xstilts.step import Step

Json = dict[str, Any]


@dataclass(frozen=True)
class Expansion:
    """An expanded plan. docs/plan.md shows the JSON of each attribute.

    Attributes:
        plan: The normalized plan.
        environment: The numeric environment that the results depend on.
        steps: Fingerprint → Step, parents before children.
        sources, builds, encodings: Batches {id, steps}. Batches of one list can run in parallel.
        groups: {id, backbone, finetune, score}, fingerprints in execution order.
        cells: {id, backbone, arm, seed, seed_intermediate, seed_target, trained_target, chain,
            scores}.
        not_applicable: {backbone, arm, reason, partly}. partly: the arm's other tasks are trained.
        skipped_languages: {evaluation, language, reason}.
        contrasts: {name, arm, reference, implicit, allow_unmatched, differences}.
        headline: Name of the main contrast.
        controls: The plan's positive and negative control.
        overlaps: {arm, trained_target, overlap}.
        budgets: {backbone, arm, tasks, objective, examples, updates, epochs, supervised_tokens,
            examples_per_step}.
        overrides: Where the plan replaces values of the shipped tables.
        identities: Every source with its identity.
        exposures: {backbone, arm, exposure, why}. exposure: seen, unseen or unknown.
        intermediates: {backbone, arm, seed, task, objective, score, …}: with a score step also
            split and metrics, without one (null) the reason; after a target also target and
            seed_target; of a task that was trained in translations also translated.
        memory: {backbone, step, dtype, shards, tokens_per_micro_batch, activation_checkpointing,
            training, training_total, scoring_total, host_total}: bytes of one worker in the largest
            training step of each backbone whose shape is known.
        configs: Backbone → config.json, where it is known.
        order: {backbones, arms, evaluations}: names in plan order, since stored JSON has sorted
            keys.
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
    memory: Sequence[Json] = ()
    configs: Json = field(default_factory=dict)
    order: Json = field(default_factory=dict)

    def to_json(self) -> Json:
        """Returns a JSON object that from_json reads."""
        value: Json = {name: getattr(self, name) for name in self.__dataclass_fields__}
        value["steps"] = {fingerprint: step.to_json() for fingerprint, step in self.steps.items()}
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Expansion":
        """Inverse of to_json. CorruptError if a fingerprint does not match its content."""
        steps = {fingerprint: Step.from_json(step) for fingerprint, step in value["steps"].items()}
        return cls(**{**fields_in(value, cls), "steps": steps})

    @property
    def task_files(self) -> dict[str, str]:
        """path → text of the plan's private task files."""
        files: Json = self.plan.get("tasks", {})
        return {path: file["source"] for path, file in files.items()}

    def by_kind(self) -> dict[str, list[str]]:
        """kind → fingerprints, parents before children."""
        kinds: dict[str, list[str]] = {}
        for fingerprint, step in self.steps.items():
            kinds.setdefault(step.kind, []).append(fingerprint)
        return kinds
