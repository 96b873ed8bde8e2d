"""Averages say over what they are taken."""

from typing import Any

import pandas as pd

from xstilts.analysis.averages import averages

METRICS = {
    "xnli": ("accuracy",),
    "xquad": ("qa",),
    "pawsx": ("accuracy",),
    "tatoeba_squad": ("retrieval_accuracy",),
}
TARGETS = {"xnli": "mnli", "xquad": "squad", "pawsx": "paws_en", "tatoeba_squad": "squad"}
VALUES = {"xnli": 60.0, "xquad": 50.0, "pawsx": 80.0, "tatoeba_squad": 20.0}


def found(
    arms: dict[str, list[str]], same: set[tuple[str, str]], benchmark: str = "xtreme-r"
) -> dict[str, dict[str, Any]]:
    rows = [
        {"backbone": "b", "arm": arm, "evaluation": name, "value": VALUES[name] + seed}
        for arm, names in arms.items()
        for name in names
        for seed in (-1, 1)
    ]
    return {
        row["arm"]: row for row in averages(pd.DataFrame(rows), METRICS, same, TARGETS, benchmark)
    }


def test_the_whole_is_that_of_the_official_tasks_alone() -> None:
    one = found({"none": list(VALUES)}, set())["none"]
    assert one["official"] == (60 + 50 + 20) / 3
    assert one["official_over"] == ["xnli", "xquad", "tatoeba"]
    assert one["official_lacks"] == [
        "udpos",
        "panx",
        "mlqa",
        "tydiqa",
        "xcopa",
        "lareqa",
        "mewslix",
    ]
    assert (one["all"], one["evaluations"]) == (52.5, 4)


def test_retrieval_is_left_out_whatever_it_was_trained_on() -> None:
    assert found({"none": list(VALUES)}, set())["none"]["without_retrieval"] == (60 + 50 + 80) / 3


def test_what_is_any_arms_own_data_is_left_out_for_every_arm() -> None:
    """An arm on SQuAD: XQuAD and the Tatoeba after SQuAD tell nothing of transfer, and arms are
    compared over the same.
    """
    rows = found({"none": list(VALUES), "squad": list(VALUES)}, {("squad", "squad")})
    assert [rows[arm]["without_same_data"] for arm in ("none", "squad")] == [70.0, 70.0]
    assert rows["none"]["same_data"] == ["tatoeba_squad", "xquad"]


def test_nothing_left_is_no_number() -> None:
    assert found({"none": ["xquad"]}, {("squad", "squad")})["none"]["without_same_data"] is None


def test_the_whole_of_another_benchmark_has_its_own_tasks() -> None:
    one = found({"none": list(VALUES)}, set(), "xtreme")["none"]
    assert (one["benchmark"], one["official"]) == ("xtreme", (60 + 50 + 80) / 3)
    assert one["official_over"] == ["xnli", "xquad", "pawsx"]
    assert one["official_lacks"] == ["udpos", "panx", "mlqa", "tydiqa", "tatoeba", "bucc2018"]
