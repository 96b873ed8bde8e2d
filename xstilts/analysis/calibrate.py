"""Checks whether the intervals have their nominal coverage on simulated contrasts.

A/A: both arms are draws from the same distribution, so every rejection is false. Coverage: the arm
is better by PLANTED points, which an interval should contain.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from xstilts.analysis.simulation import (
    DESIGNS,
    FAMILIES,
    PLANTED,
    TOLERANCE,
    Design,
    against_none,
    simulated,
)
from xstilts.analysis.variance import Array, Moments, moments
from xstilts.plan.seed_layout import SeedLayout

Formula = Callable[[Array, Array, SeedLayout], Moments]

LEVEL = 0.95
#: A deviation with a smaller binomial p-value is not chance.
ALARM = 0.001
RATIOS = (0.3, 1.0, 3.0)
#: Simulated tables at a time: about 100 MB.
CHUNK = 250


@dataclass(frozen=True)
class Result:
    """One row of the table.

    rejected: share of A/A trials that reject zero. covered: share of trials with a planted effect
    whose interval contains it. detected: share of those whose interval is above zero. label: the
    notes of the interval. tolerance, ceiling: from the simulated layout.
    """

    design: str
    family: str
    seeds: float
    trials: int
    rejected: float
    covered: float
    detected: float
    label: str
    tolerance: float = TOLERANCE
    ceiling: float | None = None

    @property
    def is_nominal(self) -> bool:
        """Whether both rates are within two points of the nominal ones."""
        return all(abs(error - (1 - LEVEL)) <= TOLERANCE for error in self._errors)

    @property
    def suspicious(self) -> bool:
        """Whether an error rate differs from the nominal one by more than its tolerance
        and by more than chance (binomial p < 0.001). With a ceiling: whether a rate is
        above it. A label does not excuse a rate.
        """
        return any(self._deviates(error) for error in self._errors)

    @property
    def _errors(self) -> tuple[float, float]:
        return self.rejected, 1 - self.covered

    def _deviates(self, error: float) -> bool:
        count = round(error * self.trials)
        if self.ceiling is not None:
            return bool(stats.binomtest(count, self.trials, self.ceiling, "greater").pvalue < ALARM)
        nominal = 1 - LEVEL
        return abs(error - nominal) > self.tolerance and bool(
            stats.binomtest(count, self.trials, nominal).pvalue < ALARM
        )


def calibrated(
    design: Design,
    family: str,
    seeds: float,
    trials: int,
    seed: int = 0,
    formula: Formula = moments,
) -> Result:
    """Rejection and coverage of one design.

    A variance of zero or NaN counts as a false rejection and as an interval that misses.

    Args:
        design: the layout of seeds.
        family: the family of metrics.
        seeds: standard deviation over seeds, divided by that over examples.
        trials: number of simulated contrasts, with and without an effect.
        seed: of the simulation.
        formula: gives effect, variance and degrees of freedom.
    """
    draws = np.random.default_rng(
        [seed, *design.name.encode(), *family.encode(), round(seeds * 10)]
    )
    rejected = covered = positive = 0
    for start in range(0, trials, CHUNK):
        size = min(CHUNK, trials - start)
        for planted in (False, True):
            result = formula(*simulated(design, family, seeds, size, draws, planted), design.layout)
            # Examples always vary here, so an interval without width is an error.
            valid = result.variance > 0
            half = (
                stats.t.ppf(0.5 + LEVEL / 2, result.freedom)
                * np.where(valid, result.variance, 0.0) ** 0.5
            )
            if planted:
                covered += int((valid & (np.abs(result.effect - PLANTED) <= half)).sum())
                positive += int((valid & (result.effect > half)).sum())
            else:
                rejected += int((~valid | (np.abs(result.effect) > half)).sum())
    label = ", ".join(design.layout.notes)
    return Result(
        design.name,
        family,
        seeds,
        trials,
        rejected / trials,
        covered / trials,
        positive / trials,
        label,
        design.tolerance,
        design.ceiling,
    )


def table(trials: int, seed: int = 0) -> Iterator[Result]:
    """One result per design, ratio of seeds to examples, and family of metrics."""
    for design in DESIGNS.values():
        for seeds in RATIOS:
            for family in FAMILIES:
                yield calibrated(design, family, seeds, trials, seed)


#: A plan as `answered` simulates it: number of evaluations, and examples in each.
EVALUATIONS, LARGE = 5, 1000


def answered(
    name: str, pairs: Sequence[tuple[int, int]], against: bool, trials: int, seed: int = 0
) -> dict[str, float | str]:
    """How often the test of the pooled headline rejects zero with a plan's seeds, in pure noise and
    with PLANTED points.

    The variance over seeds equals that over examples; EVALUATIONS evaluations have LARGE examples
    each; p-values are not corrected. `against`: whether the reference is `none`. `seed`: of the
    simulation.
    """
    design = (
        against_none(name, pairs)
        if against
        else Design(name, tuple(pairs), tuple(pairs), tuple(pairs))
    )
    shape = design.layout
    rates = {}
    for planted in (False, True):
        draws, claimed = np.random.default_rng([len(pairs), planted, seed]), 0
        for start in range(0, trials, CHUNK // EVALUATIONS):
            size = min(CHUNK // EVALUATIONS, trials - start)
            parts = [
                simulated(design, "accuracy", 1.0, size, draws, planted, LARGE)
                for _ in range(EVALUATIONS)
            ]
            effects = np.mean([effect for effect, _ in parts], axis=0)
            pooled = moments(
                effects, np.concatenate([moved for _, moved in parts], axis=-1) / EVALUATIONS, shape
            )
            half = stats.t.ppf(0.5 + LEVEL / 2, pooled.freedom) * pooled.variance**0.5
            claimed += 0 if shape.kind == "single" else int((np.abs(pooled.effect) > half).sum())
        rates["planted" if planted else "noise"] = claimed / trials
    return {"plan": name, "seeds": shape.replicates, "label": ", ".join(shape.notes), **rates}


def markdown(results: Sequence[Result]) -> str:
    """The table of docs/methods.md: one line per design and ratio, percentages per family."""
    families = list(dict.fromkeys(result.family for result in results))
    head = "".join(f" {family}: A/A | coverage | +{PLANTED:g} detected |" for family in families)
    lines = [f"| seeds | r |{head} label |", "| --- | --- |" + " --- |" * (3 * len(families) + 1)]
    for design, seeds in dict.fromkeys((result.design, result.seeds) for result in results):
        row = [result for result in results if (result.design, result.seeds) == (design, seeds)]
        cells = "".join(
            f" {100 * r.rejected:.1f}{'' if r.is_nominal else ' !'} | {100 * r.covered:.1f} |"
            f" {100 * r.detected:.0f} |"
            for r in row
        )
        lines.append(f"| {design} | {seeds:g} |{cells} {row[0].label} |")
    return "\n".join(lines)
