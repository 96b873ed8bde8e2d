"""Scales an estimate by the time that finished steps took: of the plan, or of another run."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from typing import Any, Protocol

import numpy as np

from xstilts.plan.cost import Cost
from xstilts.plan.expansion import Expansion
from xstilts.store.threads import in_threads

#: Most manifests that are read of each kind, evenly over the finished steps.
MOST = 100
#: Fewest different steps from which the parts of a step's time are weighed one by one.
DISTINCT = 4


class Manifests(Protocol):
    """The part of the store that this module reads."""

    def manifest(self, kind: str, fingerprint: str) -> Any: ...


@dataclass(frozen=True)
class Rule:
    """How measured time follows from an estimate.

    Attributes:
        factor: Measured over estimated time.
        weights: Of a step's parts, where enough steps are measured; else None. On other hardware,
            start, launches and FLOPs differ from their estimates by different factors.
    """

    factor: float = 1.0
    weights: tuple[float, ...] | None = None

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
    steps = [fingerprint for fingerprint in seconds if fingerprint in backbones]
    pairs: dict[tuple[str, str], list[tuple[Cost, float]]] = defaultdict(list)
    for fingerprint in steps:
        for backbone in (backbones[fingerprint], ""):
            key = (backbone, expansion.steps[fingerprint].kind)
            pairs[key].append((costs[fingerprint], seconds[fingerprint] / 3600))
    rules = {key: _rule(of) for key, of in pairs.items()}
    for (backbone, kind), of in pairs.items():
        if rules[backbone, kind].weights is None:
            rules[backbone, kind] = _of_level(rules["", kind], rules[backbone, kind], of)
    if steps:
        of_all = [pair for (backbone, _), of in pairs.items() if not backbone for pair in of]
        rules["", ""] = Rule(_rule(of_all).factor)
    return Calibration(rules, len(steps))


def _rule(pairs: Sequence[tuple[Cost, float]]) -> Rule:
    """The rule of (estimate, measured hours)."""
    estimated, measured = sum(cost.hours for cost, _ in pairs), sum(hours for _, hours in pairs)
    factor = measured / estimated
    kinds = {tuple(round(part, 12) for part in cost.parts) for cost, _ in pairs}
    if len(kinds) < DISTINCT:
        return Rule(factor)
    return Rule(factor, _weights([(cost.parts, hours) for cost, hours in pairs], len(kinds) - 1))


def _of_level(pooled: Rule, own: Rule, pairs: Sequence[tuple[Cost, float]]) -> Rule:
    """The weights of all backbones, at the level of one that has too few different steps for
    weights of its own.
    """
    if pooled.weights is None:
        return own
    predicted = sum(pooled.hours(cost) for cost, _ in pairs)
    level = sum(hours for _, hours in pairs) / predicted
    return replace(own, weights=tuple(level * weight for weight in pooled.weights))


def _weights(pairs: Sequence[tuple[Sequence[float], float]], most: int) -> tuple[float, ...]:
    """Non-negative weights of at most `most` parts by least squares of relative errors; their sum
    over all pairs is the measured one. Of so few parts, every subset can be tried.
    """
    parts = np.array([values for values, _ in pairs])
    measured = np.array([hours for _, hours in pairs])
    best, least = np.zeros(parts.shape[1]), np.inf
    scaled, ones = parts / measured[:, None], np.ones(len(pairs))
    for size in range(1, min(parts.shape[1], most) + 1):
        for columns in map(list, combinations(range(parts.shape[1]), size)):
            values = np.linalg.lstsq(scaled[:, columns], ones, rcond=None)[0]
            error = float(np.square(scaled[:, columns] @ values - ones).sum())
            if (values >= 0).all() and error < least:
                best, least = np.zeros(parts.shape[1]), error
                best[columns] = values
    total = float((parts @ best).sum())
    return tuple(float(weight * measured.sum() / total) for weight in best)


def _backbones(expansion: Expansion) -> dict[str, str]:
    """Fingerprint → backbone of every finetune and score step."""
    return {
        fingerprint: group["backbone"]
        for group in expansion.groups
        for fingerprint in (*group["finetune"], *group["score"])
    }
