"""Scales an estimate by the time that finished steps took: of the plan, or of another run."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.optimize import nnls

from xstilts.plan.cost import Cost, Parts
from xstilts.plan.expansion import Expansion
from xstilts.store.threads import in_threads

#: Most manifests that are read of each kind, evenly over the finished steps.
MOST = 100
#: Fewest different steps of a backbone or kind that have weights of their own.
DISTINCT = 6


class Manifests(Protocol):
    """The part of the store that this module reads."""

    def manifest(self, kind: str, fingerprint: str) -> Any: ...


#: Of each part of a step's time, in the order of `Parts`.
Weights = tuple[float, ...]


class Measured(NamedTuple):
    """A finished step: its estimate, and the hours that it took."""

    backbone: str
    kind: str
    cost: Cost
    hours: float


@dataclass(frozen=True)
class Rule:
    """How measured time follows from an estimate.

    Attributes:
        factor: Measured over estimated time.
        weights: Of a step's parts, where enough steps are measured; else None. On other hardware,
            start, launches and FLOPs differ from their estimates by different factors.
    """

    factor: float = 1.0
    weights: Weights | None = None

    def hours(self, cost: Cost) -> float:
        if self.weights is None:
            return self.factor * cost.hours
        return sum(w * part for w, part in zip(self.weights, cost.parts, strict=True))


@dataclass(frozen=True)
class Calibration:
    """Measured over estimated time.

    Attributes:
        rules: (backbone, kind) → rule. Backbones without finished steps have that of their kind,
            under "", and kinds without finished steps the factor of all steps, under ("", "").
        steps: Number of measured steps.
    """

    rules: Mapping[tuple[str, str], Rule] = field(default_factory=dict)
    steps: int = 0

    def rule(self, backbone: str, kind: str) -> Rule:
        """The estimate itself if no step is finished."""
        keys = ((backbone, kind), ("", kind), ("", ""))
        return next((self.rules[key] for key in keys if key in self.rules), Rule())

    def factor(self, backbone: str, kind: str) -> float:
        """Measured over estimated time; 1 if no step is finished."""
        return self.rule(backbone, kind).factor

    def scaled(self, expansion: Expansion, costs: Mapping[str, Cost]) -> dict[str, Cost]:
        """The costs of finetune and score steps, with their hours as measured steps suggest."""
        scaled = {}
        for fingerprint, backbone in _backbones(expansion).items():
            cost, kind = costs[fingerprint], expansion.steps[fingerprint].kind
            hours = self.rule(backbone, kind).hours(cost)
            times = hours / cost.hours if cost.hours else 1.0
            scaled[fingerprint] = replace(cost, hours=hours, gpu_hours=times * cost.gpu_hours)
        return scaled


def measured_seconds(finished: Mapping[str, Collection[str]], store: Manifests) -> dict[str, float]:
    """Fingerprint → seconds of finished finetune and score steps."""
    seconds = {}
    for kind in ("finetune", "score"):
        done = sorted(finished.get(kind, ()))
        sample = done[:: -(-len(done) // MOST) or 1]
        manifests = in_threads(partial(store.manifest, kind), sample)
        for fingerprint, manifest in zip(sample, manifests, strict=True):
            if manifest is not None and "seconds" in manifest.info:
                seconds[fingerprint] = float(manifest.info["seconds"])
    return seconds


def calibration(
    expansion: Expansion, costs: Mapping[str, Cost], seconds: Mapping[str, float]
) -> Calibration:
    """Measured over estimated time of the steps that are in `seconds`.

    Args:
        expansion: The expanded plan.
        costs: Estimates, by fingerprint.
        seconds: Measured durations, by fingerprint.
    """
    backbones = _backbones(expansion)
    steps = [
        Measured(backbones[fp], expansion.steps[fp].kind, costs[fp], seconds[fp] / 3600)
        for fp in sorted(seconds.keys() & backbones.keys())
    ]
    if not steps:
        return Calibration()
    kinds = sorted({step.kind for step in steps})
    names = sorted({step.backbone for step in steps})
    pooled = [step._replace(backbone="") for step in steps]
    weights = {**_weights(pooled), **_weights(steps)}
    rules = {("", ""): Rule(_factor(steps))}
    for name in ("", *names):
        for kind in kinds:
            if own := [s for s in steps if s.kind == kind and name in ("", s.backbone)]:
                chosen = weights.get((name, kind), weights.get(("", kind)))
                rules[name, kind] = Rule(_factor(own), chosen)
    return Calibration(rules, len(steps))


def _factor(steps: Sequence[Measured]) -> float:
    """Measured over estimated time."""
    return sum(step.hours for step in steps) / sum(step.cost.hours for step in steps)


def _weights(steps: Sequence[Measured]) -> dict[tuple[str, str], Weights]:
    """(backbone, kind) → weight of each part of a step's time, by non-negative least squares of
    relative errors. Backbones and kinds with fewer than DISTINCT different steps are not in it.

    Start and launch have a weight for each kind, FLOPs for each backbone, in all kinds: in scoring,
    launches and FLOPs grow together, and which of the two takes the time is only seen in training.
    """
    kinds = [k for k in dict.fromkeys(s.kind for s in steps) if _varied(steps, kind=k)]
    names = [n for n in dict.fromkeys(s.backbone for s in steps) if _varied(steps, backbone=n)]
    used = [s for s in steps if s.kind in kinds and s.backbone in names]
    if not used:
        return {}

    def column(backbone: str, kind: str, part: str) -> tuple[str, str]:
        of = {"start": kind, "launch": kind, "compute": backbone}
        return part, of.get(part, "")

    columns = sorted({column(n, k, part) for n in names for k in kinds for part in Parts._fields})
    rows = np.zeros((len(used), len(columns)))
    for row, step in zip(rows, used, strict=True):
        for part, hours in step.cost.parts._asdict().items():
            row[columns.index(column(step.backbone, step.kind, part))] = hours / step.hours
    seen = rows.any(axis=0)
    best, _ = nnls(rows, np.ones(len(rows)))
    best[~seen] = _factor(used)  # steps of another plan may have the part
    weight = dict(zip(columns, map(float, best), strict=True))
    return {
        (name, kind): tuple(weight[column(name, kind, part)] for part in Parts._fields)
        for name in names
        for kind in kinds
    }


def _varied(steps: Sequence[Measured], backbone: str = "", kind: str = "") -> bool:
    """Whether a backbone or kind has enough different steps for weights of its own."""
    chosen = [s for s in steps if backbone in ("", s.backbone) and kind in ("", s.kind)]
    different = {(s.kind, *(round(part, 12) for part in s.cost.parts)) for s in chosen}
    return len(different) >= DISTINCT


def _backbones(expansion: Expansion) -> dict[str, str]:
    """Fingerprint → backbone of every finetune and score step."""
    return {
        fingerprint: group["backbone"]
        for group in expansion.groups
        for fingerprint in (*group["finetune"], *group["score"])
    }
