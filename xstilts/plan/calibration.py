"""Scales an estimate by the time that finished steps took: of the plan, or of another run."""

from collections import defaultdict
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
#: Parts of a step's time with the same weight in all kinds of steps.
_SHARED = ("compute", "languages", "search")


class Manifests(Protocol):
    """The part of the store that this module reads."""

    def manifest(self, kind: str, fingerprint: str) -> Any: ...


#: Of each part of a step's time, in the order of `Parts`.
Weights = tuple[float, ...]


class Measured(NamedTuple):
    """The estimate of a finished step, and the hours that it took."""

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
    pairs: dict[tuple[str, str], list[Measured]] = defaultdict(list)
    for fingerprint in seconds.keys() & backbones.keys():
        measured = Measured(costs[fingerprint], seconds[fingerprint] / 3600)
        for backbone in (backbones[fingerprint], ""):
            pairs[backbone, expansion.steps[fingerprint].kind].append(measured)
    if not pairs:
        return Calibration()
    weights = {
        backbone: _weights({kind: of for (name, kind), of in pairs.items() if name == backbone})
        for backbone, _ in pairs
    }
    rules = {
        (backbone, kind): _rule(of, weights[backbone].get(kind), weights[""].get(kind))
        for (backbone, kind), of in pairs.items()
    }
    of_all = [each for (backbone, _), of in pairs.items() if not backbone for each in of]
    return Calibration({**rules, ("", ""): _rule(of_all)}, len(of_all))


def _rule(
    pairs: Sequence[Measured], own: Weights | None = None, pooled: Weights | None = None
) -> Rule:
    """The rule of measured steps of one kind.

    Args:
        pairs: The steps.
        own: Weights from the steps of the same backbone.
        pooled: Weights from the steps of all backbones, used at the level of these without others.
    """
    factor = _factor(pairs)
    predicted = sum(Rule(weights=pooled).hours(each.cost) for each in pairs) if pooled else 0.0
    if own or not pooled or not predicted:
        return Rule(factor, own)
    level = sum(each.hours for each in pairs) / predicted
    return Rule(factor, tuple(level * weight for weight in pooled))


def _factor(pairs: Sequence[Measured]) -> float:
    """Measured over estimated time."""
    return sum(each.hours for each in pairs) / sum(each.cost.hours for each in pairs)


def _weights(measured: Mapping[str, Sequence[Measured]]) -> dict[str, Weights]:
    """Kind → weight of each part of a step's time; empty if there are too few different steps.

    Non-negative least squares of relative errors over the steps of all kinds. Some parts have one
    weight for all kinds: in scoring, launches and FLOPs grow together, and which of the two takes
    the time is only seen in training.
    """
    steps = [(kind, each) for kind, of in measured.items() for each in of]
    columns = sorted({_column(kind, part) for kind in measured for part in Parts._fields})
    rows = np.zeros((len(steps), len(columns)))
    for row, (kind, each) in zip(rows, steps, strict=True):
        for part, hours in each.cost.parts._asdict().items():
            row[columns.index(_column(kind, part))] = hours / each.hours
    different = {(kind, *(round(part, 12) for part in each.cost.parts)) for kind, each in steps}
    seen = rows.any(axis=0)
    if len(different) <= np.count_nonzero(seen):
        return {}
    best, _ = nnls(rows, np.ones(len(rows)))
    best[~seen] = _factor([each for _, each in steps])  # steps of another plan may have the part
    weights = dict(zip(columns, map(float, best), strict=True))
    return {
        kind: tuple(weights[_column(kind, part)] for part in Parts._fields) for kind in measured
    }


def _column(kind: str, part: str) -> tuple[str, str]:
    """What a weight belongs to: a part of a step's time, and a kind of steps or all of them."""
    return part, "" if part in _SHARED else kind


def _backbones(expansion: Expansion) -> dict[str, str]:
    """Fingerprint → backbone of every finetune and score step."""
    return {
        fingerprint: group["backbone"]
        for group in expansion.groups
        for fingerprint in (*group["finetune"], *group["score"])
    }
