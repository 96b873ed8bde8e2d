"""How much error each look may spend."""

import numpy as np
import pytest
from scipy import stats

from xstilts.analysis.alpha_spending import Rule, Spending, confidence_at
from xstilts.analysis.calibrate import against_none, simulated
from xstilts.analysis.variance import moments
from xstilts.plan.seed_layout import layout

LOOKS = range(5, 16)


@pytest.mark.parametrize("rule", ["obrien_fleming", "pocock"])
@pytest.mark.parametrize("confidence", [0.95, 0.9])
def test_all_looks_together_spend_alpha(rule: Rule, confidence: float) -> None:
    levels = [
        confidence_at(Spending(looks=11, rule=rule), look, 5, 1, confidence) for look in range(11)
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


def test_repeated_looks_err_more_often_and_spending_stops_that() -> None:
    """A/A, looked at with 5, 6, … 15 seeds: the share of runs in which any look rejects."""
    pairs = [(s, s) for s in range(15)]
    effects, influence = simulated(
        against_none("looks", pairs), "accuracy", 1.0, 1000, np.random.default_rng(1), False
    )
    ever = {"each at 95 %": np.zeros(1000, bool), "spending": np.zeros(1000, bool)}
    for look, count in enumerate(LOOKS):
        shape = layout(pairs[:count], pairs[:count], [(None, t) for _, t in pairs[:count]])
        found = moments(effects[:, :count], influence[:, :count], shape)
        ratio = np.abs(found.effect) / found.variance**0.5
        for name, level in (
            ("each at 95 %", 0.95),
            ("spending", confidence_at(Spending(looks=11), look, 5, 1)),
        ):
            ever[name] |= ratio > stats.t.ppf(0.5 + level / 2, found.freedom)
    assert ever["each at 95 %"].mean() > 0.12
    assert ever["spending"].mean() <= 0.05
