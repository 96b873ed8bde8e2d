"""The mean effect of a contrast, its standard error and degrees of freedom, for every layout of
seeds.

The table of paired differences has three random factors: intermediate seeds, target seeds and
clusters of examples. The variance of its grand mean comes from the expected mean squares of a
random-effects analysis of variance (Cornfield and Tukey 1956). It is the seeds' part, which
includes the noise of seed × example, plus the examples' part in excess of that noise; adding both
parts in full would count the noise twice. Negative parts are set to zero. Degrees of freedom are
Satterthwaite's (1946). For them alone, a seeds' part that is by chance smaller than the noise it
includes is set to that noise. A total that is by chance close to zero while examples vary is set to
LEAST of the examples' part.

Examples enter by their influence on the metric (delta method), so corpus metrics such as F1 need no
special case. All functions broadcast over leading dimensions: `calibrate` passes thousands of
simulated tables at once. docs/methods.md has the error rates that it measures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from xstilts.plan.seed_layout import SeedLayout

Array = npt.NDArray[np.float64]

#: A variance over examples below this, in squared points, is a rounding error.
TINY = 1e-18
#: The smallest variance, as a share of the examples' part: with few seeds or few examples, all
#: pairs can agree by chance.
LEAST = 0.05
#: Power of the minimum detectable effect.
POWER = 0.8


@dataclass(frozen=True)
class Moments:
    """An effect, the variance and degrees of freedom of its estimate, and the examples' part of the
    variance; each [...].

    `examples` and `variance` are positive wherever an example moves any pair.
    """

    effect: Array
    variance: Array
    freedom: Array
    examples: Array


@dataclass(frozen=True)
class Interval:
    """An effect with its interval, in the metric's units.

    p: None if no test is possible. mde: the smallest effect that a test at this level detects with
    probability POWER; None without a test.
    """

    effect: float
    low: float
    high: float
    method: str
    p: float | None
    mde: float | None = None


def moments(
    effects: Array, influence: Array, layout: SeedLayout, clusters: int | None = None
) -> Moments:
    """The estimate of the mean effect.

    Args:
        effects: [..., pairs], the difference of each pair.
        influence: [..., pairs, clusters], how much each cluster moves that difference (to first
            order; each row sums to zero). Or any matrix with the same products of rows.
        layout: which seeds the pairs share.
        clusters: their number; None if it is the last dimension of `influence`.
    """
    clusters = influence.shape[-1] if clusters is None else clusters
    if layout.kind == "grid":
        return _grid(effects, influence, layout, clusters)
    units = np.stack([effects[..., list(group)].mean(-1) for group in layout.members], -1)
    moved = np.stack([influence[..., list(group), :].mean(-2) for group in layout.members], -2)
    count = moved.shape[-2]
    center = moved.mean(-2)
    examples = _scaled(center, clusters, 1)
    if count == 1:
        return Moments(
            units[..., 0], examples, np.full_like(examples, max(1, clusters - 1)), examples
        )
    used = influence[..., [index for group in layout.members for index in group], :]
    # If all pairs share one cell, its seed variance is that of a single unit, not of their mean.
    times = 1 + count if layout.shared else 1
    seeds = times * units.var(-1, ddof=1) / count
    noise = times * _scaled(moved - center[..., None, :], clusters, (count - 1) * count)
    residual = np.maximum(0, examples - noise)
    freedom = _freedom([(np.maximum(seeds, noise), count - 1), (residual, clusters - 1)], count - 1)
    raw = Moments(units.mean(-1), seeds + residual, freedom, examples)
    return _bounded(raw, used, clusters, count - 1)


def _grid(effects: Array, influence: Array, layout: SeedLayout, clusters: int) -> Moments:
    """The estimate for every intermediate seed crossed with every target seed."""
    order = [index for group in layout.members for index in group]
    first, second, width = len(layout.members), len(layout.members[0]), influence.shape[-1]
    table = effects[..., order].reshape(*effects.shape[:-1], first, second)
    moved = influence[..., order, :].reshape(*effects.shape[:-1], first, second, width)
    rows, columns, mean = table.mean(-1), table.mean(-2), table.mean((-1, -2))
    rest = table - rows[..., :, None] - columns[..., None, :] + mean[..., None, None]
    size = (first - 1) * (second - 1) * first * second
    both = (rest**2).sum((-1, -2)) / size
    by_row, by_column = (
        np.maximum(rows.var(-1, ddof=1) / first, both),
        np.maximum(columns.var(-1, ddof=1) / second, both),
    )
    over_rows, over_columns = moved.mean(-2), moved.mean(-3)
    center = over_rows.mean(-2)
    inner = (
        moved
        - over_rows[..., :, None, :]
        - over_columns[..., None, :, :]
        + center[..., None, None, :]
    )
    examples = _scaled(center, clusters, 1)
    noise = [
        _scaled(over_rows - center[..., None, :], clusters, (first - 1) * first),
        _scaled(over_columns - center[..., None, :], clusters, (second - 1) * second),
    ]
    inside = _scaled(inner.reshape(*inner.shape[:-3], first * second, width), clusters, size)
    residual = np.maximum(0, examples - noise[0] - noise[1] + inside)
    parts = [
        (np.maximum(by_row, noise[0]), first - 1),
        (np.maximum(by_column, noise[1]), second - 1),
        (residual, clusters - 1),
    ]
    variance = by_row + by_column - both + residual
    flat = moved.reshape(*moved.shape[:-3], first * second, width)
    least = min(first, second) - 1
    return _bounded(
        Moments(mean, variance, _freedom(parts, least), examples), flat, clusters, least
    )


def _bounded(raw: Moments, influence: Array, clusters: int, least: int) -> Moments:
    """The moments with a variance of at least LEAST of the examples' part; where it is raised,
    freedom is `least`.

    influence: [..., pairs, clusters]. Where influences cancel over pairs, the examples' part is
    that of independent pairs.
    """
    pairs = influence.shape[-2]
    examples = np.maximum(raw.examples, _scaled(influence, clusters, pairs**2))
    floor = LEAST * examples
    freedom: Array = np.where(raw.variance < floor, float(least), raw.freedom)[()]
    return Moments(raw.effect, np.maximum(raw.variance, floor), freedom, examples)


def _scaled(moved: Array, clusters: int, size: int) -> Array:
    """The sum of squared influences as a variance of the effect over clusters; 0 for a single
    cluster. moved: [..., clusters] with size 1, else [..., rows, clusters].
    """
    axes = -1 if size == 1 else (-1, -2)
    value: Array = (moved**2).sum(axes) * clusters / (max(1, clusters - 1) * size)
    return value if clusters > 1 else np.zeros_like(value)


def _freedom(parts: Sequence[tuple[Array, int]], least: int) -> Array:
    """Satterthwaite's degrees of freedom for a sum of variances, at least `least`."""
    total = np.sum([value for value, _ in parts], axis=0)
    bottom = np.sum([value**2 / max(1, freedom) for value, freedom in parts], axis=0)
    freedom = np.divide(total**2, bottom, out=np.full_like(total, least), where=bottom > 0)
    return np.maximum(freedom, least)


def interval(
    effects: Array,
    influence: Array,
    layout: SeedLayout,
    level: float = 0.95,
    bound: float = 100.0,
    clusters: int | None = None,
) -> Interval:
    """The mean effect of one contrast with its t interval.

    If the examples show no variance (a single cluster, or all alike), the t interval would claim
    certainty. Then there is no test, and the interval allows for the share of clusters that could
    behave differently and be unseen, at worst by the whole range (Clopper and Pearson's bound for
    none of n, the exact rule of three).

    Args:
        effects: [pairs].
        influence: [pairs, clusters].
        layout: which seeds the pairs share.
        level: coverage of the interval.
        bound: the largest possible effect; no interval extends beyond it.
        clusters: their number; None if it is the last dimension of `influence`.
    """
    clusters = influence.shape[-1] if clusters is None else clusters
    estimate = moments(effects, influence, layout, clusters)
    effect, variance, freedom = (
        float(estimate.effect),
        float(estimate.variance),
        float(estimate.freedom),
    )
    tested, notes = layout.kind != "single", list(layout.notes)
    # stats.t has the same values, in a hundred times the time.
    half = float(special.stdtrit(freedom, 0.5 + level / 2)) * variance**0.5
    if not float(estimate.examples) > TINY:
        unseen = 1 - (0.5 - level / 2) ** (1 / clusters)
        low, high = (
            effect - half - unseen * (bound + effect),
            effect + half + unseen * (bound - effect),
        )
        label = f"rule of three, no variance over {clusters} cluster{'s' * (clusters != 1)}"
        return Interval(
            effect, max(low, -bound), min(high, bound), ", ".join([label, *notes]), None
        )
    p = float(2 * special.stdtr(freedom, -abs(effect) / variance**0.5)) if tested else None
    quantiles = float(special.stdtrit(freedom, [0.5 + level / 2, POWER]).sum())
    method = ", ".join([f"t, Satterthwaite df {freedom:.1f}", *notes])
    low, high = max(effect - half, -bound), min(effect + half, bound)
    return Interval(effect, low, high, method, p, quantiles * variance**0.5 if tested else None)
