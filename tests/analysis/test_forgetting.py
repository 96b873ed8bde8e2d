"""Forgetting: scores on the intermediate task before and after a target."""

from typing import Any

import pytest

from xstilts.analysis.forgetting import forgetting, of_arms


def row(value: float | None, seed: int = 0, **after: Any) -> dict[str, Any]:
    head = {"backbone": "b", "arm": "x", "seed": seed, "task": "vqa", "objective": "head", **after}
    return (
        {**head, "reason": "no dev rows"}
        if value is None
        else {**head, "metric": "accuracy", "value": value}
    )


def after(
    value: float, seed: int = 0, target: str = "squad", seed_target: int = 0
) -> dict[str, Any]:
    return row(value, seed, target=target, seed_target=seed_target)


def test_the_change_is_the_score_after_minus_the_score_before_over_seeds() -> None:
    rows = [
        row(60.0, 0),
        row(62.0, 1),
        after(50.0, 0),
        after(54.0, 0, seed_target=1),
        after(58.0, 1),
    ]
    (line,) = forgetting(rows)
    assert (line["task"], line["target"], line["seeds"]) == ("vqa", "squad", 2)
    assert (line["before"], line["after"], line["change"]) == (61.0, 55.0, -6.0)
    assert line["standard_error"] == pytest.approx(2.0)  # changes −8 and −4


def test_a_seed_without_both_scores_does_not_count() -> None:
    (line,) = forgetting([row(60.0, 0), row(10.0, 2), after(50.0, 0), after(99.0, 1)])
    assert (line["change"], line["seeds"], line["standard_error"]) == (-10.0, 1, None)
    assert forgetting([after(50.0)]) == []


def test_each_target_has_its_line_and_reasons_are_no_scores() -> None:
    rows = [row(60.0), row(None), after(50.0), after(55.0, target="mnli")]
    assert [line["target"] for line in forgetting(rows)] == ["squad", "mnli"]
    assert of_arms(rows) == rows[:2]


def test_a_task_and_its_translations_have_a_line_each() -> None:
    """They have a head each, in one mixture."""
    german = {"translated": "de"}
    rows = [
        row(60.0),
        row(40.0, **german),
        after(50.0),
        row(10.0, **german, target="squad", seed_target=0),
    ]
    lines = [(line["translated"], line["before"], line["after"]) for line in forgetting(rows)]
    assert lines == [(None, 60.0, 50.0), ("de", 40.0, 10.0)]
