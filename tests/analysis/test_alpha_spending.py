"""Alpha spending over the interim analyses of a growing schedule."""

import numpy as np
import pytest
from scipy import stats

from xstilts.analysis.alpha_spending import Rule, Spending, confidence_at
from xstilts.analysis.simulation import against_none, simulated
from xstilts.analysis.variance import moments
from xstilts.plan.seed_layout import layout

SEEDS = range(5, 16)


@pytest.mark.parametrize("rule", ["obrien_fleming", "pocock"])
@pytest.mark.parametrize("confidence", [0.95, 0.9])
def test_all_analyses_together_spend_alpha(rule: Rule, confidence: float) -> None:
    levels = [
        confidence_at(Spending(looks=11, rule=rule), number, 5, 1, confidence)
        for number in range(11)
    ]
    assert sum(1 - level for level in levels) == pytest.approx(1 - confidence)


def test_obrien_and_fleming_at_half_the_seeds() -> None:
    """Lan and DeMets 1983: 0.0056 of 0.05."""
    assert 1 - confidence_at(Spending(looks=2), 0, 5, 5) == pytest.approx(0.0056, abs=1e-4)


def test_pocock_at_half_the_seeds() -> None:
    """0.05 · ln(1 + (e − 1)/2)."""
    assert 1 - confidence_at(Spending(looks=2, rule="pocock"), 0, 5, 5) == pytest.approx(
        0.0310, abs=1e-4
    )


def test_repeated_analyses_inflate_the_error_rate_unless_alpha_is_spent() -> None:
    """A/A at 5, 6, … 15 seeds: the share of runs in which any analysis rejects."""
    pairs = [(s, s) for s in range(15)]
    effects, influence = simulated(
        against_none("growing", pairs), "accuracy", 1.0, 1000, np.random.default_rng(1), False
    )
    rejected = {"each at 95%": np.zeros(1000, bool), "spending": np.zeros(1000, bool)}
    for number, count in enumerate(SEEDS):
        shape = layout(pairs[:count], pairs[:count], [(None, t) for _, t in pairs[:count]])
        estimate = moments(effects[:, :count], influence[:, :count], shape)
        ratio = np.abs(estimate.effect) / estimate.variance**0.5
        for name, level in (
            ("each at 95%", 0.95),
            ("spending", confidence_at(Spending(looks=11), number, 5, 1)),
        ):
            rejected[name] |= ratio > stats.t.ppf(0.5 + level / 2, estimate.freedom)
    assert rejected["each at 95%"].mean() > 0.12
    assert rejected["spending"].mean() <= 0.05
