"""Learning-rate factors."""

import math
from typing import get_args

import pytest

from xstilts.plan.backbone_plan import Override
from xstilts.training.learning_rate import factor


def test_linear_rises_over_the_warm_up_and_falls_to_zero() -> None:
    values = [factor(u, 10, 0.2, "linear") for u in range(10)]
    assert values == pytest.approx([0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])


def test_warm_up_may_be_a_number_of_updates() -> None:
    assert factor(249, 1000, 500, "constant") == pytest.approx(0.5)
    assert factor(999, 1000, 500, "constant") == 1.0


def test_cosine_falls_along_half_a_wave_after_the_warm_up() -> None:
    values = [factor(u, 10, 0.2, "cosine") for u in (0, 1, 2, 6, 9)]
    assert values == pytest.approx([0.5, 1.0, 1.0, 0.5, 0.5 * (1 + math.cos(math.pi * 7 / 8))])


def test_every_schedule_that_a_plan_may_name_is_known() -> None:
    kinds, _ = get_args(Override.model_fields["schedule"].annotation)
    assert [factor(9, 10, 0, kind) <= 1.0 for kind in get_args(kinds)] == [True] * 3


def test_an_unknown_schedule_is_named() -> None:
    with pytest.raises(
        ValueError, match="unknown schedule 'square'; allowed: linear, cosine, constant"
    ):
        factor(5, 10, 0, "square")
