"""The hierarchical bootstrap: what it resamples, and its agreement with the t interval."""

import numpy as np
import pytest

from tests.analysis.test_effects import cell, report
from xstilts.analysis.bootstrap import FEWEST_SEEDS, bootstrap_interval
from xstilts.analysis.effects import effects_table
from xstilts.analysis.inputs import Scored
from xstilts.plan.seed_layout import layout

PAIRS = [(seed, seed) for seed in range(6)]
LAYOUT = layout(PAIRS, PAIRS, PAIRS)


def scored(right: list[int], clusters: list[str] | None = None) -> Scored:
    ids = [str(i) for i in range(len(right))]
    return Scored(ids, clusters or ids, right, [1] * len(right), "test")


def test_equal_arms_give_an_interval_of_zero_width() -> None:
    same = [{"en": scored([1, 0, 1, 1])} for _ in PAIRS]
    assert bootstrap_interval(same, same, LAYOUT, "accuracy") == (0.0, 0.0)


def test_an_effect_without_spread_has_an_interval_of_zero_width() -> None:
    arms = [{"en": scored([1] * 8)} for _ in PAIRS]
    references = [{"en": scored([0] * 8)} for _ in PAIRS]
    assert bootstrap_interval(arms, references, LAYOUT, "accuracy") == pytest.approx((100.0, 100.0))


def test_examples_of_a_cluster_are_drawn_together() -> None:
    """One cluster contains everything: no spread over examples remains, although they differ."""
    arms = [{"en": scored([1, 1, 0, 0], ["a"] * 4)} for _ in PAIRS]
    references = [{"en": scored([0, 0, 0, 0], ["a"] * 4)} for _ in PAIRS]
    assert bootstrap_interval(arms, references, LAYOUT, "accuracy") == pytest.approx((50.0, 50.0))


def test_it_agrees_with_the_t_interval_for_many_seeds_and_examples() -> None:
    """The arms differ on the same examples in every seed, with few exceptions."""
    draws = np.random.default_rng(3)
    answers = {arm: draws.random(300) < share for arm, share in (("none", 0.5), ("x", 0.6))}
    cells = [
        cell(
            arm,
            None if arm == "none" else s,
            s,
            {"en": (answers[arm] ^ (draws.random(300) < 0.03)).astype(int).tolist()},
        )
        for arm in answers
        for s in range(40)
    ]
    table = effects_table(report(cells))
    row = table[table["language"] == "avg"].iloc[0]
    assert row["bootstrap_low"] == pytest.approx(row["ci_low"], abs=0.3)
    assert row["bootstrap_high"] == pytest.approx(row["ci_high"], abs=0.3)


def test_few_seeds_have_no_bootstrap() -> None:
    cells = [
        cell(arm, None if arm == "none" else s, s, {"en": [1, 0]})
        for arm in ("none", "x")
        for s in range(FEWEST_SEEDS - 1)
    ]
    assert effects_table(report(cells))["bootstrap_low"].isna().all()
