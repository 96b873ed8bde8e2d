"""Whether the intervals hold: simulated contrasts whose truth is known, for each layout of seeds
that a plan can have.

Each example has a difficulty that all cells share; each cell moves all of its examples by its
seeds' effect and each example by noise of its own. The metric's counts are functions of the sum.
`seeds` is the standard deviation of a paired difference over seeds, divided by that over examples.
A/A: both arms are draws of one and the same thing, and every rejection is false. Coverage: the arm
is better by PLANTED points, and an interval should hold that.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from xstilts.analysis.variance import Array, Moments, moments
from xstilts.plan.seed_layout import Layout, Pair, layout

Floats = npt.NDArray[np.float32]
Counts = Callable[
    [npt.NDArray[np.floating]], tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]
]
Formula = Callable[[Array, Array, Layout], Moments]

LEVEL = 0.95
#: A rate with a smaller binomial p value is not chance.
ALARM = 0.001
PLANTED = 3.0
RATIOS = (0.3, 1.0, 3.0)
EXAMPLES = 150
#: Of an example's variance, the part that all cells share, and where an effect is planted the part
#: that the arm's cells share.
DIFFICULTY, LEARNT = 0.6, 0.2
#: Of a cell's seed variance where both seeds vary: the intermediate seed, the target seed, the two
#: together.
SHARES = (0.5, 0.4, 0.1)
#: Rates of a layout differ from the nominal ones by at most this; with three seeds or one reference
#: cell, TOLERANCE_OF_FEW.
TOLERANCE, TOLERANCE_OF_FEW = 0.02, 0.035
#: Error rates that layouts are known to reach: two seeds on one side; a target seed that matters,
#: in one reference cell.
TWO_SEEDS, TARGET_MATTERS = 0.11, 0.13
#: Simulated tables at a time: about 100 MB.
CHUNK = 250


def _accuracy(
    z: npt.NDArray[np.floating],
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    return (z > 0).astype(z.dtype), np.ones_like(z)


def _span_f1(
    z: npt.NDArray[np.floating],
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """No word, all words, or in between a share of them."""
    return np.clip(0.5 + z, 0, 1), np.ones_like(z)


def _seqeval_f1(
    z: npt.NDArray[np.floating],
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """2·right and predicted + gold entities of a sentence. Sentences hold one to three in turn
    (the last axis); a bad one has an entity that is none.
    """
    gold = (np.arange(z.shape[-1]) % 3 + 1).astype(z.dtype)
    right = np.zeros_like(z)
    for place, threshold in enumerate((-0.5, 0.0, 0.5)):
        right += (z > threshold) & (gold > place)
    return 2 * right, right + (z < -0.8) + gold


FAMILIES: Mapping[str, Counts] = {
    "accuracy": _accuracy,
    "span F1": _span_f1,
    "seqeval F1": _seqeval_f1,
}


@dataclass(frozen=True)
class Design:
    """A layout of seeds as a plan makes it. arms, references: the seeds of the cell on either
    side of each pair. shares: of the arm's seed variance (intermediate, target, both).
    tolerance: by how much its rates may differ from the nominal ones. ceiling: the largest error
    rate of a design whose intervals are known not to hold; None for all others.
    """

    name: str
    pairs: tuple[Pair, ...]
    arms: tuple[Pair, ...]
    references: tuple[Pair, ...]
    shares: tuple[float, float, float] = SHARES
    tolerance: float = TOLERANCE
    ceiling: float | None = None

    @property
    def layout(self) -> Layout:
        return layout(self.pairs, self.arms, self.references)


def against_none(
    name: str,
    pairs: Sequence[tuple[int, int]],
    shares: tuple[float, float, float] = SHARES,
    known: float | None = None,
) -> Design:
    """A contrast with `none`, whose cells have a target seed alone. Three seeds and one
    reference cell get TOLERANCE_OF_FEW, two seeds the ceiling of two; known: another ceiling.
    """
    sides = [len({pair[k] for pair in pairs}) for k in (0, 1)]
    fewest = min((count for count in sides if count > 1), default=1)
    ceiling = known if known is not None else TWO_SEEDS if fewest == 2 else None
    tolerance = TOLERANCE_OF_FEW if fewest == 3 or min(sides) == 1 else TOLERANCE
    return Design(
        name,
        tuple(pairs),
        tuple(pairs),
        tuple((None, t) for _, t in pairs),
        shares,
        tolerance,
        ceiling,
    )


def _designs() -> Iterator[Design]:
    for count in (2, 3, 5, 10):
        yield against_none(f"pairs {count}", [(s, s) for s in range(count)])
    for first, second in ((3, 3), (5, 2), (5, 5)):
        grid = [(i, t) for i in range(first) for t in range(second)]
        yield against_none(f"crossed {first} × {second}", grid)
        if first == 5:
            yield against_none(f"crossed {first} × {second}, a cell missing", grid[:-1])
    for count in (3, 5):
        yield against_none(
            f"one reference cell, {count} of the arm",
            [(i, 0) for i in range(count)],
            (1.0, 0.0, 0.0),
        )
    yield against_none(
        "one reference cell, 5 of the arm, the target seed matters",
        [(i, 0) for i in range(5)],
        (0.6, 0.4, 0.0),
        TARGET_MATTERS,
    )


DESIGNS: Mapping[str, Design] = {design.name: design for design in _designs()}


@dataclass(frozen=True)
class Result:
    """One line of the table. rejected: share of A/A trials. covered: share of trials with a
    planted effect whose interval holds it. found: share of those whose interval lies above zero.
    label: what the interval says of its own limits. tolerance, ceiling: those of the design.
    """

    design: str
    family: str
    seeds: float
    trials: int
    rejected: float
    covered: float
    found: float
    label: str
    tolerance: float = TOLERANCE
    ceiling: float | None = None

    @property
    def holds(self) -> bool:
        """Whether both rates are within two points of the nominal ones."""
        return all(abs(error - (1 - LEVEL)) <= TOLERANCE for error in self._errors)

    @property
    def suspicious(self) -> bool:
        """Whether a rate is off by more than the number of trials explains (binomial p < 0.001)
        and by more than the design's tolerance. Of a design with a ceiling: whether a rate is
        above it. Labels excuse nothing.
        """
        return any(self._off(error) for error in self._errors)

    @property
    def _errors(self) -> tuple[float, float]:
        return self.rejected, 1 - self.covered

    def _off(self, error: float) -> bool:
        count = round(error * self.trials)
        if self.ceiling is not None:
            return bool(stats.binomtest(count, self.trials, self.ceiling, "greater").pvalue < ALARM)
        nominal = 1 - LEVEL
        return abs(error - nominal) > self.tolerance and bool(
            stats.binomtest(count, self.trials, nominal).pvalue < ALARM
        )


@cache
def _grid_points() -> tuple[Array, Array]:
    points = np.linspace(-6, 6, 2401)
    weights = stats.norm.pdf(points)
    return points, weights / weights.sum()


def _metric(family: str, shift: float) -> float:
    """The metric, 0..100, of infinitely many examples that are moved by `shift`."""
    points, weights = _grid_points()
    top, bottom = FAMILIES[family](np.repeat(points[:, None] + shift, 3, axis=1))
    return float(100 * (weights @ top).sum() / (weights @ bottom).sum())


def _truth(family: str, shift: float, deviation: float) -> float:
    """The metric's mean over seeds of that standard deviation."""
    points, weights = np.polynomial.hermite_e.hermegauss(21)
    values = [_metric(family, shift + deviation * point) for point in points]
    return float(np.average(values, weights=weights))


@cache
def settings(family: str, seeds: float, examples: int = EXAMPLES) -> tuple[float, float]:
    """(standard deviation of a cell's seed effect on the latent scale, shift of the arm that
    gains PLANTED points).
    """
    draws = np.random.default_rng(1)
    one, other = _latent(draws, np.zeros((1, 2)), 30_000)[0]
    spread = float(
        np.std(_influence(family, one[None])[1] - _influence(family, other[None])[1]) * 30_000
    )
    slope = (_metric(family, 0.05) - _metric(family, -0.05)) / 0.1
    deviation = seeds * spread / examples**0.5 / 2**0.5 / slope
    base = _truth(family, 0.0, deviation)
    return deviation, float(
        optimize.brentq(lambda x: _truth(family, x, deviation) - base - PLANTED, 0, 3, xtol=1e-4)
    )


def _latent(draws: np.random.Generator, shifts: Array, examples: int, learnt: int = 0) -> Floats:
    """[trials, cells, examples] of variance 1. shifts: [trials, cells]. learnt: so many cells,
    the first, have LEARNT in common.
    """
    trials, cells = shifts.shape
    z = draws.standard_normal((trials, cells, examples), dtype=np.float32)
    z[:, learnt:] *= np.float32((1 - DIFFICULTY) ** 0.5)
    if learnt:
        z[:, :learnt] *= np.float32((1 - DIFFICULTY - LEARNT) ** 0.5)
        z[:, :learnt] += np.float32(LEARNT**0.5) * draws.standard_normal(
            (trials, 1, examples), dtype=np.float32
        )
    z += np.float32(DIFFICULTY**0.5) * draws.standard_normal(
        (trials, 1, examples), dtype=np.float32
    )
    z += shifts[..., None].astype(np.float32)
    return z


def _influence(family: str, z: Floats) -> tuple[Array, Array]:
    """(metric, influence of each example on it), in points, over the last axis."""
    top, bottom = FAMILIES[family](z)
    total = bottom.sum(-1, keepdims=True)
    value = top.sum(-1, keepdims=True) / total
    return 100.0 * value[..., 0].astype(np.float64), 100.0 * (top - value * bottom) / total


def simulated(
    design: Design,
    family: str,
    seeds: float,
    trials: int,
    draws: np.random.Generator,
    planted: bool,
    examples: int = EXAMPLES,
) -> tuple[Array, Array]:
    """(effects [trials, pairs], influences [trials, pairs, examples]) of a contrast."""
    deviation, shift = settings(family, seeds, examples)
    arms, references = (list(dict.fromkeys(cells)) for cells in (design.arms, design.references))
    firsts, seconds = (list(dict.fromkeys(pair[k] for pair in design.pairs)) for k in (0, 1))
    by = [
        draws.standard_normal((trials, count)) for count in (len(firsts), len(seconds), len(arms))
    ]
    parts = (
        by[0][:, [firsts.index(i) for i, _ in arms]],
        by[1][:, [seconds.index(t) for _, t in arms]],
        by[2],
    )
    moved = sum(share**0.5 * part for share, part in zip(design.shares, parts, strict=True))
    other = draws.standard_normal((trials, len(references)))
    shifts = deviation * np.concatenate([np.asarray(moved), other], axis=1)
    shifts[:, : len(arms)] += shift if planted else 0.0
    values, influence = _influence(
        family, _latent(draws, shifts, examples, len(arms) if planted else 0)
    )
    a = [arms.index(cell) for cell in design.arms]
    r = [len(arms) + references.index(cell) for cell in design.references]
    return values[:, a] - values[:, r], influence[:, a] - influence[:, r]


def calibrated(
    design: Design,
    family: str,
    seeds: float,
    trials: int,
    seed: int = 0,
    formula: Formula = moments,
) -> Result:
    """Rejection and coverage of one design. formula: what gives the variance. A variance that is
    zero or NaN counts as a false rejection, and as an interval that misses.
    """
    draws = np.random.default_rng(
        [seed, *design.name.encode(), *family.encode(), round(seeds * 10)]
    )
    rejected = covered = positive = 0
    for start in range(0, trials, CHUNK):
        size = min(CHUNK, trials - start)
        for planted in (False, True):
            result = formula(*simulated(design, family, seeds, size, draws, planted), design.layout)
            valid = (
                result.variance > 0
            )  # examples always vary here: an interval of no width, or none at all, is an error
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
    """Every design, ratio of seeds to examples, and family of metrics."""
    for design in DESIGNS.values():
        for seeds in RATIOS:
            for family in FAMILIES:
                yield calibrated(design, family, seeds, trials, seed)


#: What `answered` simulates: evaluations of a plan, and examples in each.
EVALUATIONS, LARGE = 5, 1000


def answered(
    name: str, pairs: Sequence[tuple[int, int]], against: bool, trials: int
) -> dict[str, float | str]:
    """How often the test of the pooled headline rejects zero with a plan's seeds: in pure noise,
    and with PLANTED points. against: whether the reference is `none`. Seeds as much as examples,
    EVALUATIONS of LARGE examples, before correction.
    """
    design = (
        against_none(name, pairs)
        if against
        else Design(name, tuple(pairs), tuple(pairs), tuple(pairs))
    )
    shape = design.layout
    rates = {}
    for planted in (False, True):
        draws, claimed = np.random.default_rng([len(pairs), planted]), 0
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
    """The table of docs/methods.md: a line for each design and ratio, percentages for each
    family.
    """
    families = list(dict.fromkeys(result.family for result in results))
    head = "".join(f" {family}: A/A | coverage | +{PLANTED:g} found |" for family in families)
    lines = [f"| seeds | r |{head} label |", "| --- | --- |" + " --- |" * (3 * len(families) + 1)]
    for design, seeds in dict.fromkeys((result.design, result.seeds) for result in results):
        row = [result for result in results if (result.design, result.seeds) == (design, seeds)]
        cells = "".join(
            f" {100 * r.rejected:.1f}{'' if r.holds else ' !'} | {100 * r.covered:.1f} | {100 * r.found:.0f} |"
            for r in row
        )
        lines.append(f"| {design} | {seeds:g} |{cells} {row[0].label} |")
    return "\n".join(lines)
