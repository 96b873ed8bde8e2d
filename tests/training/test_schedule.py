"""Learning-rate factors."""

import pytest

from xstilts.training.schedule import factor


def test_linear_rises_over_the_warm_up_and_falls_to_zero() -> None:
    values = [factor(u, 10, 0.2, "linear") for u in range(10)]
    assert values == pytest.approx([0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])


def test_warm_up_may_be_a_number_of_updates() -> None:
    assert factor(249, 1000, 500, "constant") == pytest.approx(0.5)
    assert factor(999, 1000, 500, "constant") == 1.0


def test_an_unknown_schedule_is_named() -> None:
    with pytest.raises(ValueError, match="cosine"):
        factor(5, 10, 0, "cosine")
