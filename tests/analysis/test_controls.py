"""Verdicts of the positive and negative controls."""

from typing import Any

import pandas as pd
import pytest

from xstilts.analysis.answer import control_verdicts
from xstilts.analysis.result_texts import control_text

POSITIVE = {"positive": {"arm": "x", "evaluation": "xnli"}}
NEGATIVE = {"negative": {"arm": "x", "evaluation": "xnli", "margin": 1.0}}


def effects(low: float, high: float, **more: Any) -> pd.DataFrame:
    row = {
        "contrast": "x minus none", "backbone": "llava", "arm": "x", "reference": "none",
        "evaluation": "xnli", "effect": (low + high) / 2, "ci_low": low, "ci_high": high,
    }  # fmt: skip
    return pd.DataFrame([row | more])


def verdict(controls: dict[str, Any], low: float, high: float) -> str:
    (control,) = control_verdicts(controls, effects(low, high))
    assert control["as_expected"] == (control["verdict"] == "passed")
    return str(control["verdict"])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.1, 3.0, "passed"),
        (0.0, 3.0, "inconclusive"),
        (-0.1, 3.0, "inconclusive"),
        (-3.0, -0.1, "FAILED"),
    ],
)
def test_a_positive_control_passes_if_its_interval_is_above_zero(
    low: float, high: float, expected: str
) -> None:
    assert verdict(POSITIVE, low, high) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.9, 0.8, "passed"),
        (-1.0, 1.0, "passed"),
        (0.1, 0.8, "passed"),
        (-6.0, 5.0, "inconclusive"),
        (-0.1, 1.1, "inconclusive"),
        (0.5, 5.0, "FAILED"),
        (-5.0, -0.5, "FAILED"),
    ],
)
def test_a_negative_control_passes_if_its_interval_is_within_the_margin(
    low: float, high: float, expected: str
) -> None:
    assert verdict(NEGATIVE, low, high) == expected


def test_the_plan_sets_the_margin_of_a_negative_control() -> None:
    wide = {"negative": {**NEGATIVE["negative"], "margin": 6.0}}
    assert verdict(wide, -6.0, 5.0) == "passed"


def test_every_backbone_has_its_verdict() -> None:
    rows = pd.concat([effects(1.0, 2.0), effects(-2.0, -1.0, backbone="xlm-r")])
    assert [
        (control["backbone"], control["verdict"]) for control in control_verdicts(POSITIVE, rows)
    ] == [("llava", "passed"), ("xlm-r", "FAILED")]


def test_only_the_controls_own_effect_against_none_counts() -> None:
    rows = pd.concat(
        [
            effects(1.0, 2.0),
            effects(-2.0, -1.0, arm="y"),
            effects(-2.0, -1.0, reference="y"),
            effects(-2.0, -1.0, evaluation="xquad"),
        ]
    )
    assert [control["verdict"] for control in control_verdicts(POSITIVE, rows)] == ["passed"]


def test_a_control_in_two_contrasts_has_one_verdict() -> None:
    rows = pd.concat([effects(1.0, 2.0), effects(1.0, 2.0, contrast="again")])
    assert len(control_verdicts(POSITIVE, rows)) == 1


def test_a_control_without_any_effect_is_not_computed() -> None:
    (control,) = control_verdicts(NEGATIVE, effects(0.0, 0.0, evaluation="xquad"))
    assert (control["verdict"], control["as_expected"]) == ("not computed", False)
    assert (control["arm"], control["evaluation"], control["effect"]) == ("x", "xnli", None)
    assert control_text(control) == "negative control: x on xnli: not computed"


def test_a_control_in_a_line_ends_with_its_verdict() -> None:
    (control,) = control_verdicts(POSITIVE, effects(-0.5, 2.0))
    assert control_text(control) == ("positive control, llava: x on xnli −0.5 … +2.0: inconclusive")
