"""Simulated contrasts whose true effect is known, for each layout of seeds that a plan can have.

Each example has a difficulty that all cells share. Each cell moves all of its examples by its
seeds' effect, and each example by independent noise. The metric's counts are functions of the sum.
`seeds` is the standard deviation of a paired difference over seeds, divided by that over examples.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from xstilts.analysis.variance import Array
from xstilts.plan.seed_layout import Pair, SeedLayout, layout

Floats = npt.NDArray[np.float32]
Counts = Callable[
    [npt.NDArray[np.floating]], tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]
]

#: The planted effect, in points.
PLANTED = 3.0
EXAMPLES = 150
#: Parts of an example's variance: shared by all cells, and, if an effect is planted, shared by the
#: arm's cells.
DIFFICULTY, LEARNT = 0.6, 0.2
#: Parts of a cell's seed variance if both seeds vary: intermediate seed, target seed, the two
#: together.
SHARES = (0.5, 0.4, 0.1)
#: Largest difference between a layout's error rates and the nominal ones. TOLERANCE_OF_FEW: three
#: seeds, or one reference cell.
TOLERANCE, TOLERANCE_OF_FEW = 0.02, 0.035
#: Error rates that are known to be reached: with two seeds on one side; with one reference cell
#: whose target seed matters.
TWO_SEEDS, TARGET_MATTERS = 0.11, 0.13


def _accuracy(
    z: npt.NDArray[np.floating],
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    return (z > 0).astype(z.dtype), np.ones_like(z)


def _span_f1(
    z: npt.NDArray[np.floating],
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """No word, all words, or a share of them in between."""
    return np.clip(0.5 + z, 0, 1), np.ones_like(z)


def _seqeval_f1(
    z: npt.NDArray[np.floating],
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """2 · correct, and predicted + gold entities of a sentence. Sentences have one to three gold
    entities in turn (last axis); a low z adds a false positive.
    """
    gold = (np.arange(z.shape[-1]) % 3 + 1).astype(z.dtype)
    correct = np.zeros_like(z)
    for place, threshold in enumerate((-0.5, 0.0, 0.5)):
        correct += (z > threshold) & (gold > place)
    return 2 * correct, correct + (z < -0.8) + gold


FAMILIES: Mapping[str, Counts] = {
    "accuracy": _accuracy,
    "span F1": _span_f1,
    "seqeval F1": _seqeval_f1,
}


@dataclass(frozen=True)
class Design:
    """A layout of seeds that a plan can have.

    arms, references: the seeds of the two cells of each pair. shares: parts of the arm's seed
    variance (intermediate, target, both). tolerance: largest difference between its error rates and
    the nominal ones. ceiling: the largest error rate of a design whose intervals are known to be
    too short; None for all others.
    """

    name: str
    pairs: tuple[Pair, ...]
    arms: tuple[Pair, ...]
    references: tuple[Pair, ...]
    shares: tuple[float, float, float] = SHARES
    tolerance: float = TOLERANCE
    ceiling: float | None = None

    @property
    def layout(self) -> SeedLayout:
        return layout(self.pairs, self.arms, self.references)


def against_none(
    name: str,
    pairs: Sequence[tuple[int, int]],
    shares: tuple[float, float, float] = SHARES,
    ceiling: float | None = None,
) -> Design:
    """A contrast with `none`, whose cells have only a target seed.

    Three seeds and one reference cell get TOLERANCE_OF_FEW, two seeds the ceiling TWO_SEEDS.
    `ceiling` sets another one.
    """
    sides = [len({pair[k] for pair in pairs}) for k in (0, 1)]
    fewest = min((count for count in sides if count > 1), default=1)
    if ceiling is None and fewest == 2:
        ceiling = TWO_SEEDS
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


@cache
def _grid_points() -> tuple[Array, Array]:
    points = np.linspace(-6, 6, 2401)
    weights = stats.norm.pdf(points)
    return points, weights / weights.sum()


def _metric(family: str, shift: float) -> float:
    """The metric, 0..100, of infinitely many examples moved by `shift`."""
    points, weights = _grid_points()
    top, bottom = FAMILIES[family](np.repeat(points[:, None] + shift, 3, axis=1))
    return float(100 * (weights @ top).sum() / (weights @ bottom).sum())


def _truth(family: str, shift: float, deviation: float) -> float:
    """The metric's mean over seeds with standard deviation `deviation`."""
    points, weights = np.polynomial.hermite_e.hermegauss(21)
    values = [_metric(family, shift + deviation * point) for point in points]
    return float(np.average(values, weights=weights))


@cache
def settings(family: str, seeds: float, examples: int = EXAMPLES) -> tuple[float, float]:
    """(standard deviation of a cell's seed effect on the latent scale, shift that improves the arm
    by PLANTED points).
    """
    draws = np.random.default_rng(1)
    first, second = _latent(draws, np.zeros((1, 2)), 30_000)[0]
    spread = float(
        np.std(_influence(family, first[None])[1] - _influence(family, second[None])[1]) * 30_000
    )
    slope = (_metric(family, 0.05) - _metric(family, -0.05)) / 0.1
    deviation = seeds * spread / examples**0.5 / 2**0.5 / slope
    base = _truth(family, 0.0, deviation)
    return deviation, float(
        optimize.brentq(lambda x: _truth(family, x, deviation) - base - PLANTED, 0, 3, xtol=1e-4)
    )


def _latent(draws: np.random.Generator, shifts: Array, examples: int, learnt: int = 0) -> Floats:
    """[trials, cells, examples] of variance 1, plus `shifts` [trials, cells]. The first `learnt`
    cells share the part LEARNT.
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
    """(effects [trials, pairs], influences [trials, pairs, examples]) of a contrast.

    Args:
        design: the layout of seeds.
        family: the family of metrics.
        seeds: standard deviation over seeds, divided by that over examples.
        trials: number of simulated contrasts.
        draws: random generator.
        planted: whether the arm is better by PLANTED points.
        examples: number of examples.
    """
    deviation, shift = settings(family, seeds, examples)
    arms, references = (list(dict.fromkeys(cells)) for cells in (design.arms, design.references))
    firsts, seconds = (list(dict.fromkeys(pair[k] for pair in design.pairs)) for k in (0, 1))
    effects = [
        draws.standard_normal((trials, count)) for count in (len(firsts), len(seconds), len(arms))
    ]
    parts = (
        effects[0][:, [firsts.index(i) for i, _ in arms]],
        effects[1][:, [seconds.index(t) for _, t in arms]],
        effects[2],
    )
    moved = sum(share**0.5 * part for share, part in zip(design.shares, parts, strict=True))
    unmoved = draws.standard_normal((trials, len(references)))
    shifts = deviation * np.concatenate([np.asarray(moved), unmoved], axis=1)
    shifts[:, : len(arms)] += shift if planted else 0.0
    values, influence = _influence(
        family, _latent(draws, shifts, examples, len(arms) if planted else 0)
    )
    a = [arms.index(cell) for cell in design.arms]
    r = [len(arms) + references.index(cell) for cell in design.references]
    return values[:, a] - values[:, r], influence[:, a] - influence[:, r]
