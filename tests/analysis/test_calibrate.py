"""The intervals hold on simulated runs, and the simulation is strict enough to see the formulas
that do not.
"""

import json
from dataclasses import replace

import numpy as np
import pytest

from pipelines.cli import main
from xstilts.analysis.calibrate import (
    DESIGNS,
    FAMILIES,
    RATIOS,
    Formula,
    Result,
    calibrated,
    settings,
    simulated,
)
from xstilts.analysis.variance import Array, Moments, moments
from xstilts.plan.seed_layout import Layout

TRIALS = 200


@pytest.mark.parametrize("name", DESIGNS)
def test_rejection_and_coverage_hold(name: str) -> None:
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


def one_side_given(effects: Array, influence: Array, shape: Layout) -> Moments:
    """As if the only cell of one side had no seed variance."""
    return moments(effects, influence, replace(shape, shared=False))


def rows_alone(effects: Array, influence: Array, shape: Layout) -> Moments:
    """A grid as independent intermediate seeds, without the part of the target seeds."""
    return moments(effects, influence, Layout("units", shape.members))


def never_wide(effects: Array, influence: Array, shape: Layout) -> Moments:
    """No variance at all, as of seeds that agree."""
    estimate = moments(effects, influence, shape)
    return replace(
        estimate, effect=np.zeros_like(estimate.effect), variance=np.zeros_like(estimate.variance)
    )


@pytest.mark.parametrize(
    ("formula", "name"),
    [
        (one_side_given, "one reference cell, 3 of the arm"),
        (one_side_given, "one reference cell, 5 of the arm"),
        (rows_alone, "crossed 3 × 3"),
        (rows_alone, "crossed 5 × 2"),
        (rows_alone, "crossed 5 × 2, a cell missing"),
        (rows_alone, "crossed 5 × 5"),
        (rows_alone, "crossed 5 × 5, a cell missing"),
        (independent, "one reference cell, 5 of the arm"),
        (independent, "crossed 5 × 2, a cell missing"),
        (independent, "crossed 5 × 5, a cell missing"),
        (never_wide, "pairs 2"),
        (never_wide, "pairs 5"),
    ],
)
def test_a_formula_that_is_wrong_is_suspicious_whatever_the_label(
    formula: Formula, name: str
) -> None:
    assert any(
        calibrated(DESIGNS[name], "accuracy", seeds, TRIALS, formula=formula).suspicious
        for seeds in RATIOS
    )


def test_only_designs_that_are_known_not_to_hold_have_a_ceiling() -> None:
    assert {name for name, design in DESIGNS.items() if design.ceiling is not None} == {
        "pairs 2", "crossed 5 × 2", "crossed 5 × 2, a cell missing",
        "one reference cell, 5 of the arm, the target seed matters",
    }  # fmt: skip
    assert max(design.ceiling or 0 for design in DESIGNS.values()) <= 0.13


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
    ("rejected", "covered", "ceiling", "suspicious"),
    [
        (0.05, 0.95, None, False),
        (0.12, 0.95, None, True),
        (0.005, 0.95, None, True),
        (0.05, 0.88, None, True),
        (0.12, 0.88, 0.13, False),
        (0.001, 0.999, 0.13, False),
        (0.2, 0.95, 0.13, True),
        (0.05, 0.8, 0.13, True),
    ],
)
def test_a_rate_is_suspicious_by_design_and_not_by_label(
    rejected: float, covered: float, ceiling: float | None, suspicious: bool
) -> None:
    for label in ("", "conditional on the target seed"):
        result = Result("d", "f", 1.0, 1000, rejected, covered, 0.5, label, ceiling=ceiling)
        assert result.suspicious == suspicious


def test_the_command_prints_every_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--trials", "20", "--json"]) in (0, 5)
    lines = json.loads(capfd.readouterr().out)
    assert len(lines) == len(DESIGNS) * len(FAMILIES) * len(RATIOS)
