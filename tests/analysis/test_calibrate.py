"""The intervals have their nominal coverage on simulated runs, and the simulation is strict enough
to detect wrong formulas.
"""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipelines.cli import main
from xstilts.analysis.calibrate import RATIOS, Formula, Result, calibrated
from xstilts.analysis.simulation import DESIGNS, FAMILIES, settings, simulated
from xstilts.analysis.variance import Array, Moments, moments
from xstilts.plan.seed_layout import SeedLayout

TRIALS = 200


@pytest.mark.parametrize("name", DESIGNS)
def test_rejection_and_coverage_hold(name: str) -> None:
    for family in FAMILIES:
        for seeds in RATIOS:
            result = calibrated(DESIGNS[name], family, seeds, TRIALS)
            assert not result.suspicious, result


def independent(effects: Array, influence: Array, layout: SeedLayout) -> Moments:
    """Wrong: no pairs share a seed, and the noise of examples is added in full."""
    count, clusters = influence.shape[-2:]
    seeds = effects.var(-1, ddof=1) / count
    examples = (influence.mean(-2) ** 2).sum(-1) * clusters / (clusters - 1)
    freedom = (seeds + examples) ** 2 / (seeds**2 / (count - 1) + examples**2 / (clusters - 1))
    return Moments(effects.mean(-1), seeds + examples, freedom, examples)


def no_seed_variance_on_one_side(effects: Array, influence: Array, layout: SeedLayout) -> Moments:
    """Wrong: the only cell of one side has no seed variance."""
    return moments(effects, influence, replace(layout, shared=False))


def only_intermediate_seeds(effects: Array, influence: Array, layout: SeedLayout) -> Moments:
    """Wrong: a grid as independent intermediate seeds, without the target seeds' part."""
    return moments(effects, influence, SeedLayout("units", layout.members))


def no_variance(effects: Array, influence: Array, layout: SeedLayout) -> Moments:
    """Wrong: no variance at all."""
    estimate = moments(effects, influence, layout)
    return replace(
        estimate, effect=np.zeros_like(estimate.effect), variance=np.zeros_like(estimate.variance)
    )


@pytest.mark.parametrize(
    ("formula", "name"),
    [
        (no_seed_variance_on_one_side, "one reference cell, 3 of the arm"),
        (no_seed_variance_on_one_side, "one reference cell, 5 of the arm"),
        (only_intermediate_seeds, "crossed 3 × 3"),
        (only_intermediate_seeds, "crossed 5 × 2"),
        (only_intermediate_seeds, "crossed 5 × 2, a cell missing"),
        (only_intermediate_seeds, "crossed 5 × 5"),
        (only_intermediate_seeds, "crossed 5 × 5, a cell missing"),
        (independent, "one reference cell, 5 of the arm"),
        (independent, "crossed 5 × 2, a cell missing"),
        (independent, "crossed 5 × 5, a cell missing"),
        (no_variance, "pairs 2"),
        (no_variance, "pairs 5"),
    ],
)
def test_a_wrong_formula_is_suspicious_despite_its_label(formula: Formula, name: str) -> None:
    assert any(
        calibrated(DESIGNS[name], "accuracy", seeds, TRIALS, formula=formula).suspicious
        for seeds in RATIOS
    )


def test_only_designs_known_to_be_too_short_have_a_ceiling() -> None:
    assert {name for name, design in DESIGNS.items() if design.ceiling is not None} == {
        "pairs 2", "crossed 5 × 2", "crossed 5 × 2, a cell missing",
        "one reference cell, 5 of the arm, the target seed matters",
    }  # fmt: skip
    assert max(design.ceiling or 0 for design in DESIGNS.values()) <= 0.13


def test_noise_counted_twice_is_detected() -> None:
    result = calibrated(DESIGNS["pairs 10"], "span F1", 0.3, 2000, formula=independent)
    assert result.rejected < 0.03


def test_the_simulation_has_the_requested_spread() -> None:
    """With equal parts of seeds and examples, the variance over pairs is twice that of examples."""
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
def test_a_rate_is_judged_by_the_design_and_not_by_the_label(
    rejected: float, covered: float, ceiling: float | None, suspicious: bool
) -> None:
    for label in ("", "conditional on the target seed"):
        result = Result("d", "f", 1.0, 1000, rejected, covered, 0.5, label, ceiling=ceiling)
        assert result.suspicious == suspicious


def test_the_command_prints_every_result(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--trials", "20", "--json"]) in (0, 5)
    lines = json.loads(capfd.readouterr().out)
    assert len(lines) == len(DESIGNS) * len(FAMILIES) * len(RATIOS)


def calibrated_plans(capfd: pytest.CaptureFixture[str], *options: str) -> Any:
    """The document that the command prints."""
    assert main(["calibrate", "--plan", "demo", "--trials", "40", "--json", *options]) == 0
    return json.loads(capfd.readouterr().out)


def test_the_rates_of_plans_are_one_document(capfd: pytest.CaptureFixture[str]) -> None:
    rows = calibrated_plans(capfd, "--plan", "kind")
    assert [row["plan"] for row in rows] == ["demo", "kind"]


def test_the_rates_of_a_plan_follow_from_the_seed(capfd: pytest.CaptureFixture[str]) -> None:
    first, again, other = (
        calibrated_plans(capfd, "--seed", seed)[0]["planted"] for seed in ("1", "1", "999")
    )
    assert first == again != other
