"""The heat map: which effect, color or reason each of its cells has."""

from typing import Any

import pandas as pd

from xstilts.analysis.heat_map import heat_map
from xstilts.analysis.inputs import ReportInput


def report(**expanded: Any) -> ReportInput:
    scores = {"xnli": "1", "xquad": "2"}
    plan = {
        "order": {"backbones": ["llava"], "arms": ["none", "x"]},
        "not_applicable": [],
        "cells": [{"backbone": "llava", "arm": arm, "scores": scores} for arm in ("none", "x")],
        "contrasts": [],
    }
    metrics = {"xnli": ("accuracy",), "xquad": ("qa",)}
    return ReportInput({**plan, **expanded}, [], metrics, [], [], [], "", "runs/r")


def effects(*rows: dict[str, Any]) -> pd.DataFrame:
    default = {
        "contrast": "x minus none", "backbone": "llava", "arm": "x", "reference": "none",
        "evaluation": "xnli", "effect": 2.0, "ci_low": 1.0, "ci_high": 3.0, "p_adjusted": 0.01,
        "same_data": False,
    }  # fmt: skip
    return pd.DataFrame([default | row for row in rows])


def entries(table: pd.DataFrame, **expanded: Any) -> list[dict[str, Any]]:
    """The entries of the only line."""
    ((line,),) = [each["lines"] for each in heat_map(report(**expanded), table)]
    return list(line["entries"])


def test_the_cells_of_a_small_table() -> None:
    table = effects(
        {},
        {
            "evaluation": "xquad", "effect": -1.0, "ci_low": -3.0, "ci_high": 1.0,
            "p_adjusted": 0.4, "same_data": True,
        },
    )  # fmt: skip
    assert heat_map(report(), table) == [
        {
            "backbone": "llava",
            "evaluations": ["xnli", "xquad"],
            "lines": [
                {
                    "arm": "x",
                    "entries": [
                        {
                            "effect": 2.0, "low": 1.0, "high": 3.0, "same_data": False,
                            "strength": 100, "clear": True,
                        },
                        {
                            "effect": -1.0, "low": -3.0, "high": 1.0, "same_data": True,
                            "strength": -100, "clear": False,
                        },
                    ],
                }
            ],
        }
    ]  # fmt: skip


def test_without_any_effect_each_score_is_missing() -> None:
    assert entries(effects({})[:0]) == [{"without": "missing"}, {"without": "missing"}]


def test_an_effect_against_another_arm_is_not_in_it() -> None:
    assert entries(effects({"reference": "y"}))[0] == {"without": "missing"}


def test_an_evaluation_that_no_cell_of_the_arm_has_is_not_in_the_plan() -> None:
    cells = [{"backbone": "llava", "arm": "x", "scores": {"xnli": "1"}}]
    assert entries(effects({}), cells=cells)[1] == {"without": "not in the plan"}


def test_an_arm_that_a_backbone_cannot_have_is_not_applicable() -> None:
    reason = {"backbone": "llava", "arm": "x", "reason": "it sees no images"}
    table = effects({})[:0]
    assert entries(table, not_applicable=[reason], cells=[]) == [{"without": "not applicable"}] * 2


def test_an_arm_that_is_trained_on_a_part_of_its_tasks_is_applicable() -> None:
    partly = {"backbone": "llava", "arm": "x", "reason": "no images", "partly": True}
    assert entries(effects({}), not_applicable=[partly])[1] == {"without": "missing"}


def test_of_two_contrasts_of_an_arm_with_none_the_first_is_shown() -> None:
    again = {"contrast": "again", "p_adjusted": 0.5}
    assert entries(effects({}, again))[0]["clear"] is True


def test_each_evaluation_has_its_own_scale_over_all_backbones() -> None:
    table = effects(
        {"effect": 1.0},
        {"evaluation": "xquad", "effect": -8.0},
        {"backbone": "qwen", "effect": -4.0},
    )
    order = {"backbones": ["llava", "qwen"], "arms": ["none", "x"]}
    first, second = heat_map(report(order=order), table)
    assert [entry["strength"] for entry in first["lines"][0]["entries"]] == [25, -100]
    assert second["lines"][0]["entries"][0]["strength"] == -100


def test_effects_of_zero_have_no_color() -> None:
    assert entries(effects({"effect": 0.0}))[0]["strength"] == 0


def test_the_plans_confidence_decides_what_is_bold() -> None:
    table = effects({"p_adjusted": 0.08})
    assert entries(table)[0]["clear"] is False
    assert entries(table, plan={"confidence": 0.9})[0]["clear"] is True
