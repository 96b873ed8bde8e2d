"""Intervals of small tables that can be computed by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from xstilts.analysis.variance import Array, interval, moments
from xstilts.plan.seed_layout import Pair, SeedLayout, layout

PAIRED: list[Pair] = [(s, s) for s in range(6)]


def paired(count: int) -> SeedLayout:
    return layout(PAIRED[:count], PAIRED[:count], [(None, t) for _, t in PAIRED[:count]])


def flat(pairs: int, clusters: int = 50, size: float = 1e-6) -> Array:
    """Influences that are equal in every pair and close to zero."""
    return np.tile(np.resize([size, -size], clusters), (pairs, 1))


def test_without_noise_of_examples_the_interval_is_students() -> None:
    result = interval(np.array([1.0, 2.0, 3.0]), flat(3), paired(3))
    half = stats.t.ppf(0.975, 2) / math.sqrt(3)
    assert (result.effect, result.low, result.high) == pytest.approx((2.0, 2.0 - half, 2.0 + half))
    assert result.p == pytest.approx(stats.ttest_1samp([1.0, 2.0, 3.0], 0).pvalue)


def test_the_minimum_detectable_effect_is_found_at_80_per_cent() -> None:
    result = interval(np.array([1.0, 2.0, 3.0]), flat(3), paired(3))
    assert result.mde == pytest.approx((stats.t.ppf(0.975, 2) + stats.t.ppf(0.8, 2)) / math.sqrt(3))


def test_one_pair_has_an_interval_over_examples_and_no_test() -> None:
    result = interval(np.array([2.0]), flat(1, 101, 0.2), paired(1))
    variance = 101 * 0.2**2 * 101 / 100
    assert result.high - result.effect == pytest.approx(
        stats.t.ppf(0.975, 100) * math.sqrt(variance)
    )
    assert (result.p, result.mde) == (None, None)
    assert "conditional on the seed" in result.method


def test_variance_of_examples_that_all_seeds_share_is_added() -> None:
    """The influences are equal in all pairs, so none of them is noise of seed × example."""
    estimate = moments(np.array([1.0, 2.0, 3.0]), flat(3, 50, 0.1), paired(3))
    assert estimate.variance == pytest.approx(1 / 3 + 50 * 0.01 * 50 / 49)


def test_noise_of_seed_and_example_is_counted_once() -> None:
    """Influences that cancel over pairs are already part of the spread over pairs."""
    influence = np.outer([1, -1, 0], np.resize([0.1, -0.1], 50))
    estimate = moments(np.array([1.0, 2.0, 3.0]), influence, paired(3))
    assert estimate.variance == pytest.approx(1 / 3)


def test_the_only_cell_of_one_side_adds_its_seed_variance() -> None:
    pairs: list[Pair] = [(0, 0), (1, 0), (2, 0)]
    seeds = layout(pairs, pairs, [(None, 0)] * 3)
    assert moments(np.array([1.0, 2.0, 3.0]), flat(3), seeds).variance == pytest.approx(
        1 / 3 + 1, abs=1e-6
    )


def test_crossed_seeds_add_rows_and_columns_and_subtract_their_common_part() -> None:
    pairs: list[Pair] = [(i, t) for i in range(3) for t in range(3)]
    table = np.array([[0.0, 3.0, 1.0], [5.0, 9.0, 6.0], [9.0, 14.0, 12.0]])
    estimate = moments(table.ravel(), flat(9), layout(pairs, pairs, [(None, t) for _, t in pairs]))
    rows, columns = table.mean(1), table.mean(0)
    rest = table - rows[:, None] - columns + table.mean()
    expected = rows.var(ddof=1) / 3 + columns.var(ddof=1) / 3 - (rest**2).sum() / 4 / 9
    assert estimate.variance == pytest.approx(expected)


def test_units_of_several_targets_count_by_their_means() -> None:
    pairs: list[Pair] = [(0, 0), (0, 1), (1, 2), (1, 3)]
    estimate = moments(
        np.array([0.0, 2.0, 4.0, 6.0]), flat(4), layout(pairs, pairs, [(None, t) for _, t in pairs])
    )
    assert (estimate.effect, estimate.variance, estimate.freedom) == pytest.approx(
        (3.0, 4.0, 1.0), abs=1e-6
    )


@pytest.mark.parametrize(
    ("effect", "clusters", "low", "high"),
    [
        (100.0, 1, -95.0, 100.0),
        (-100.0, 1, -100.0, 95.0),
        (100.0, 100, 92.7567, 100.0),
        (0.0, 100, -3.6217, 3.6217),
    ],
)
def test_without_any_variance_the_interval_allows_for_unseen_clusters(
    effect: float, clusters: int, low: float, high: float
) -> None:
    """All correct against all wrong: one example excludes almost nothing; with 100, up to 3.6% may
    behave differently.
    """
    for count in (1, 3):
        result = interval(np.full(count, effect), np.zeros((count, clusters)), paired(count))
        assert (result.low, result.high) == pytest.approx((low, high), abs=1e-3)
        assert result.p is None
        assert result.method.startswith("rule of three, no variance over")


def test_many_tables_at_once_give_the_same_as_each_alone() -> None:
    draws = np.random.default_rng(0)
    effects, influence = draws.normal(size=(4, 6)), draws.normal(size=(4, 6, 20))
    for pairs in (PAIRED, [(i, t) for i in range(3) for t in range(2)]):
        seeds = layout(pairs, pairs, pairs)
        together = moments(effects, influence, seeds)
        for k in range(4):
            alone = moments(effects[k], influence[k], seeds)
            assert (together.variance[k], together.freedom[k]) == pytest.approx(
                (alone.variance, alone.freedom)
            )


LAYOUTS: dict[str, list[Pair]] = {
    **{f"{count} pairs": [(s, s) for s in range(count)] for count in range(2, 7)},
    **{
        f"{a} × {b}": [(i, t) for i in range(a) for t in range(b)]
        for a in range(2, 5)
        for b in range(2, 5)
    },
    "4 × 3, a cell missing": [(i, t) for i in range(4) for t in range(3)][:-1],
    "one reference cell": [(i, 0) for i in range(3)],
    "two targets per intermediate": [(0, 0), (0, 1), (1, 2), (1, 3)],
}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_variance_is_positive_if_an_example_moves_a_pair(name: str, ties: bool) -> None:
    """Small tables of answers that became correct, stayed, or became wrong. With ties, all pairs
    have the same effect.
    """
    draws, pairs = np.random.default_rng(3), LAYOUTS[name]
    seeds = layout(pairs, pairs, [(None, t) for _, t in pairs])
    used = [index for group in seeds.members for index in group]
    moving = 0
    for _ in range(200):
        clusters = int(draws.integers(2, 9))
        change = draws.integers(-1, 2, size=clusters)
        rows = [
            draws.permutation(change) if ties else draws.integers(-1, 2, size=clusters)
            for _ in pairs
        ]
        effects = 100.0 * np.mean(rows, axis=1)
        influence = (100.0 * np.array(rows) - effects[:, None]) / clusters
        if not influence[used].any():
            continue
        moving += 1
        result = interval(effects, influence, seeds)
        assert float(moments(effects, influence, seeds).variance) > 1e-3
        assert -100 <= result.low <= result.effect <= result.high <= 100
        assert result.low < result.high
        assert result.p is not None
        assert result.mde is not None
        assert result.mde > 0
    assert moving > 100


def test_the_smallest_variance_is_a_share_of_the_examples_part() -> None:
    """Two seeds of equal effect whose noise cancels: the estimate alone would be zero."""
    influence = np.outer([1.0, -1.0], np.resize([0.1, -0.1], 50))
    estimate = moments(np.zeros(2), influence, paired(2))
    independent = 2 * 50 * 0.01 * 50 / 49 / 4
    assert (estimate.variance, estimate.examples) == pytest.approx(
        (0.05 * independent, independent)
    )
    assert estimate.freedom == 1


@pytest.mark.parametrize(("bound", "low", "high"), [(100.0, -100.0, 100.0), (200.0, -200.0, 200.0)])
def test_no_interval_extends_beyond_the_metric(bound: float, low: float, high: float) -> None:
    result = interval(np.array([90.0, -90.0]), flat(2), paired(2), bound=bound)
    assert (result.low, result.high) == (low, high)
