"""Published scores beside a run's own."""

from typing import Any

import pandas as pd
import pytest

from tests.analysis.test_effects import report
from xstilts.analysis.published_scores import beside_published


def results(**arms: float) -> pd.DataFrame:
    """XNLI's average of each arm, in two seeds around the score."""
    rows = [
        {"backbone": "x", "arm": arm, "evaluation": "xnli", "metric": "accuracy", "language": "avg", "checkpoint": "selected",
         "value": score + shift}
        for arm, score in arms.items()
        for shift in (-1, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def entries(plan: dict[str, Any], table: pd.DataFrame) -> list[dict[str, Any]]:
    return beside_published(report([], plan=plan), table)


PLAN = {"recipes": "phang_2020", "backbones": {"x": {"hub": "FacebookAI/xlm-roberta-large"}}}


def test_none_is_beside_xlm_r_and_the_best_arm_beside_x_stilts() -> None:
    rows = entries(PLAN, results(none=78.0, mnli=81.0, qqp=70.0))
    assert [(row["model"], row["arm"], row["published"]) for row in rows] == [
        ("XLM-R large", "none", 79.2),
        ("X-STILTs", "mnli", 80.4),
    ]
    assert [row["difference"] for row in rows] == pytest.approx([-1.2, 0.6])
    assert all("README.md" in row["source"] and row["metric"] == "accuracy" for row in rows)


@pytest.mark.parametrize(
    "plan",
    [
        {**PLAN, "recipes": "xtreme_r"},
        {**PLAN, "backbones": {"x": {"hub": "FacebookAI/xlm-roberta-base"}}},
        {**PLAN, "backbones": {"x": {"build": {"family": "xlm_r"}}}},
        {},
    ],
    ids=["another benchmark", "another model", "a tiny model", "no plan"],
)
def test_other_plans_have_no_published_scores(plan: dict[str, Any]) -> None:
    assert entries(plan, results(none=78.0)) == []
