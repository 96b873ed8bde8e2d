"""The numbers of docs/real-transfer.md: the page has those of real-transfer.json, and they are of the
shipped plan.
"""

import json
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.docs.pages import ROOT
from xstilts.plan.load import load_plan
from xstilts.tasks.registry import TASKS

PLAN = load_plan(ROOT / "pipelines" / "plans" / "real-transfer.yaml")
CONTENT = json.loads((ROOT / "docs" / "real-transfer.json").read_text(encoding="utf-8"))
SCORES = CONTENT["scores"]
RECORDED = sorted({row["evaluation"] for row in SCORES})


@pytest.fixture(scope="module")
def script() -> Any:
    spec = spec_from_file_location("real_transfer", ROOT / "docs" / "real_transfer.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_the_page_are_made_from_the_recorded_numbers(script: Any) -> None:
    page = (ROOT / "docs" / "real-transfer.md").read_text(encoding="utf-8")
    assert page.count("<!-- table: ") == len(script.tables(CONTENT)) == 7
    assert script.with_tables(page, script.tables(CONTENT)) == page


def test_scores_are_percentages_within_their_intervals() -> None:
    for row in SCORES:
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 100, row


@pytest.mark.parametrize("name", RECORDED)
def test_an_evaluation_has_the_languages_and_rows_of_the_plan(name: str) -> None:
    rows = [row for row in SCORES if row["evaluation"] == name and row["arm"] == "none"]
    own = PLAN.rows.tasks.get(name)
    cap = own.test if own and own.test else PLAN.rows.default.test
    sizes = {row["language"]: row["n"] for row in rows if row["language"] != "non_en"}
    assert set(sizes) <= set(TASKS[name].languages)
    assert len(sizes) >= len(TASKS[name].languages) - 1  # the slices lack Thai WikiANN
    assert max(sizes.values()) == cap


def test_means_are_those_of_the_languages_other_than_english() -> None:
    kinds = {(row["evaluation"], row["arm"], row["metric"]) for row in SCORES}
    for kind in kinds:
        rows = [row for row in SCORES if (row["evaluation"], row["arm"], row["metric"]) == kind]
        others = [row["value"] for row in rows if row["language"] not in ("en", "non_en")]
        [mean] = [row["value"] for row in rows if row["language"] == "non_en"]
        assert mean == pytest.approx(np.mean(others), abs=0.01)


def test_effects_are_differences_of_the_scores() -> None:
    accuracy = {
        (row["arm"], row["language"]): row["value"]
        for row in SCORES
        if row["metric"] == "accuracy" and row["evaluation"] == "xnli"
    }
    differences = {
        "snli minus none": ("snli", "none"),
        "snli-shuffled minus none": ("snli-shuffled", "none"),
        "learning SNLI": ("snli", "snli-shuffled"),
    }
    contrasts = {row["contrast"] for row in CONTENT["effects"]}
    assert contrasts == (set(differences) if "xnli" in RECORDED else set())
    for row in CONTENT["effects"]:
        if row["language"] != "gap":
            arm, reference = differences[row["contrast"]]
            difference = accuracy[arm, row["language"]] - accuracy[reference, row["language"]]
            assert row["effect"] == pytest.approx(difference, abs=0.02)
            assert row["ci_low"] < row["effect"] < row["ci_high"]
            assert "conditional on the seed" in row["ci_method"]


def test_the_interval_of_independent_rows_is_the_binomial_one(script: Any) -> None:
    rows = pd.DataFrame({
        "language": ["de"] * 400, "cluster": [str(i) for i in range(400)],
        "prediction": ["1"] * 300 + ["0"] * 100, "gold": ["1"] * 400,
    })  # fmt: skip
    score = script._scores(rows, "xnli", "none", "accuracy")[0]
    half = 1.96 * 100 * np.sqrt(0.75 * 0.25 / 400)
    assert score["value"] == 75.0
    assert score["low"] == pytest.approx(75 - half, abs=0.5)
    assert score["high"] == pytest.approx(75 + half, abs=0.5)


def test_translations_of_a_row_are_one_example_of_a_mean(script: Any) -> None:
    def bounds(clusters: list[list[str]]) -> float:
        rows = pd.DataFrame({
            "language": ["de"] * 100 + ["fr"] * 100, "cluster": [*clusters[0], *clusters[1]],
            "prediction": (["1"] * 50 + ["0"] * 50) * 2, "gold": ["1"] * 200,
        })  # fmt: skip
        mean = script._scores(rows, "xnli", "none", "accuracy")[-1]
        return float(mean["high"] - mean["low"])

    same = [str(i) for i in range(100)]
    apart = bounds([same, [f"fr-{i}" for i in range(100)]])
    assert bounds([same, same]) == pytest.approx(apart * np.sqrt(2), rel=0.1)
