"""Averages over evaluations, and which evaluations each of them covers."""

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


def rows_of(
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


def test_the_official_average_covers_only_the_benchmarks_tasks() -> None:
    row = rows_of({"none": list(VALUES)}, set())["none"]
    assert row["official"] == (60 + 50 + 20) / 3
    assert row["official_over"] == ["xnli", "xquad", "tatoeba"]
    assert row["official_lacks"] == [
        "udpos",
        "panx",
        "mlqa",
        "tydiqa",
        "xcopa",
        "lareqa",
        "mewslix",
    ]
    assert (row["all"], row["evaluations"]) == (52.5, 4)


def test_retrieval_is_left_out_for_every_trained_target() -> None:
    assert rows_of({"none": list(VALUES)}, set())["none"]["without_retrieval"] == (60 + 50 + 80) / 3


def test_an_evaluation_of_any_arms_own_data_is_left_out_for_every_arm() -> None:
    """With an arm on SQuAD, XQuAD and Tatoeba after SQuAD do not measure transfer; all arms are
    compared over the same evaluations.
    """
    rows = rows_of({"none": list(VALUES), "squad": list(VALUES)}, {("squad", "squad")})
    assert [rows[arm]["without_same_data"] for arm in ("none", "squad")] == [70.0, 70.0]
    assert rows["none"]["same_data"] == ["tatoeba_squad", "xquad"]


def test_an_average_over_no_evaluation_is_none() -> None:
    assert rows_of({"none": ["xquad"]}, {("squad", "squad")})["none"]["without_same_data"] is None


def test_another_benchmark_has_its_own_official_average() -> None:
    row = rows_of({"none": list(VALUES)}, set(), "xtreme")["none"]
    assert (row["benchmark"], row["official"]) == ("xtreme", (60 + 50 + 80) / 3)
    assert row["official_over"] == ["xnli", "xquad", "pawsx"]
    assert row["official_lacks"] == ["udpos", "panx", "mlqa", "tydiqa", "tatoeba", "bucc2018"]
