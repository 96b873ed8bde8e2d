"""Scales an estimate by the time that finished steps of the plan took."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from xstilts.plan.cost import Cost
from xstilts.plan.expansion import Expansion

#: Most manifests that are read of each kind, evenly over the finished steps.
MOST = 100


class Manifests(Protocol):
    """The part of the store that this module reads."""

    def manifest(self, kind: str, fingerprint: str) -> Any: ...


@dataclass(frozen=True)
class Calibration:
    """Measured over estimated time.

    Attributes:
        factors: (backbone, kind) → factor. Backbones without finished steps have that of their
            kind, under "".
        steps: Number of measured steps.
    """

    factors: Mapping[tuple[str, str], float] = field(default_factory=dict)
    steps: int = 0

    def factor(self, backbone: str, kind: str) -> float:
        """1 if no step of the kind is finished."""
        return self.factors.get((backbone, kind), self.factors.get(("", kind), 1.0))

    def scaled(self, expansion: Expansion, costs: Mapping[str, Cost]) -> dict[str, Cost]:
        """The costs of finetune and score steps, with their hours scaled."""
        scaled = {}
        for fingerprint, backbone in _backbones(expansion).items():
            cost, kind = costs[fingerprint], expansion.steps[fingerprint].kind
            times = self.factor(backbone, kind)
            scaled[fingerprint] = replace(
                cost, hours=times * cost.hours, gpu_hours=times * cost.gpu_hours
            )
        return scaled


def measured_seconds(finished: Mapping[str, Collection[str]], store: Manifests) -> dict[str, float]:
    """Fingerprint → seconds of finished finetune and score steps."""
    seconds = {}
    for kind in ("finetune", "score"):
        done = sorted(finished.get(kind, ()))
        for fingerprint in done[:: -(-len(done) // MOST) or 1]:
            manifest = store.manifest(kind, fingerprint)
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
    measured: dict[tuple[str, str], float] = defaultdict(float)
    estimated: dict[tuple[str, str], float] = defaultdict(float)
    backbones = _backbones(expansion)
    steps = [fingerprint for fingerprint in seconds if fingerprint in backbones]
    for fingerprint in steps:
        for backbone in (backbones[fingerprint], ""):
            key = (backbone, expansion.steps[fingerprint].kind)
            measured[key] += seconds[fingerprint]
            estimated[key] += costs[fingerprint].hours * 3600
    factors = {key: measured[key] / total for key, total in estimated.items()}
    return Calibration(factors, len(steps))


def _backbones(expansion: Expansion) -> dict[str, str]:
    """Fingerprint → backbone of every finetune and score step."""
    return {
        fingerprint: group["backbone"]
        for group in expansion.groups
        for fingerprint in (*group["finetune"], *group["score"])
    }
