"""The intervals hold on simulated runs, and the simulation is strict enough to see the formulas that do not."""

import json

import numpy as np
import pytest
from scipy import stats

from pipelines.cli import main
from xstilts.analysis.calibrate import DESIGNS, FAMILIES, RATIOS, Result, calibrated, settings, simulated
from xstilts.analysis.layout import Layout
from xstilts.analysis.variance import Array, Moments

TRIALS = 200


@pytest.mark.parametrize("name", DESIGNS)
def test_rejection_and_coverage_hold_unless_the_label_says_otherwise(name: str) -> None:
    for family in FAMILIES:
        for seeds in RATIOS:
            result = calibrated(DESIGNS[name], family, seeds, TRIALS)
            assert not result.suspicious, result


def independent(effects: Array, influence: Array, shape: Layout) -> Moments:
    """Pairs as if none of them shared a seed, and all noise of examples added to that of seeds."""
    count, clusters = influence.shape[-2:]
    seeds = effects.var(-1, ddof=1) / count
    examples = (influence.mean(-2) ** 2).sum(-1) * clusters / (clusters - 1)
    freedom = (seeds + examples) ** 2 / (seeds**2 / (count - 1) + examples**2 / (clusters - 1))
    return Moments(effects.mean(-1), seeds + examples, freedom, examples)


@pytest.mark.parametrize(
    "name", ["one reference cell, 5 of the arm", "crossed 5 × 2, a cell missing", "crossed 5 × 5, a cell missing"]
)
def test_pairs_that_share_seeds_are_not_independent(name: str) -> None:
    """What the formula for independent pairs does to these layouts is seen in as few trials."""
    result = calibrated(DESIGNS[name], "accuracy", 3.0, TRIALS, formula=independent)
    assert result.rejected > 0.1
    assert stats.binomtest(round(result.rejected * TRIALS), TRIALS, 0.05).pvalue < 0.001


def test_noise_counted_twice_is_seen() -> None:
    result = calibrated(DESIGNS["pairs 10"], "span F1", 0.3, 2000, formula=independent)
    assert result.rejected < 0.03


def test_the_simulation_has_the_spread_that_it_says() -> None:
    """Seeds as much as examples: over many pairs, the variance is twice that of examples."""
    draws = np.random.default_rng(0)
    effects, influence = simulated(DESIGNS["pairs 10"], "accuracy", 1.0, 2000, draws, planted=False)
    examples = (influence**2).sum(-1).mean()
    assert effects.var() / examples == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_planted_effect_is_in_the_data(family: str) -> None:
    draws = np.random.default_rng(0)
    effects, _ = simulated(DESIGNS["pairs 10"], family, 1.0, 4000, draws, planted=True)
    assert settings(family, 1.0)[1] > 0
    assert effects.mean() == pytest.approx(3.0, abs=0.15)


@pytest.mark.parametrize(
    ("rejected", "covered", "label", "suspicious"),
    [(0.05, 0.95, "", False), (0.12, 0.95, "", True), (0.05, 0.88, "", True), (0.12, 0.95, "conditional", False)],
)
def test_a_rate_is_suspicious_without_a_label(rejected: float, covered: float, label: str, suspicious: bool) -> None:
    assert Result("d", "f", 1.0, 1000, rejected, covered, 0.5, label).suspicious == suspicious


def test_the_command_prints_every_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--trials", "20", "--json"]) in (0, 5)
    lines = json.loads(capfd.readouterr().out)
    assert len(lines) == len(DESIGNS) * len(FAMILIES) * len(RATIOS)
