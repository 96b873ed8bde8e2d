"""Effects on small arrays whose answers can be worked out by hand."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from xstilts.analysis.effects import effects_table, holm, interval, paired, results_table, satterthwaite, seed_variance
from xstilts.analysis.inputs import Cell, ReportInput, Scored


def scored(right: list[int]) -> Scored:
    ids = [str(i) for i in range(len(right))]
    return Scored(ids, ids, right, [1] * len(right), "test")


def cell(arm: str, seed: int | None, target: int | None, right: dict[str, list[int]]) -> Cell:
    languages = {("xnli", language): scored(values) for language, values in right.items()}
    return Cell("b", arm, target, seed, target, "mnli", languages)


def report(cells: list[Cell], **more: Any) -> ReportInput:
    contrast = {"name": "x minus none", "arm": "x", "reference": "none", "implicit": True, "differences": []}
    expanded = {"contrasts": [contrast], "overlaps": [{"arm": "x", "trained_target": "mnli", "overlap": "same-data"}]}
    return ReportInput({**expanded, **more}, cells, {"xnli": ("accuracy",)}, [], [], [], "", "runs/r")


def test_the_average_is_the_unweighted_mean_over_languages() -> None:
    table = results_table(report([cell("none", None, 0, {"en": [1, 1, 1, 1], "de": [1, 0]})]))
    values = dict(zip(table["language"], table["value"], strict=True))
    assert values == {"en": 100.0, "de": 50.0, "avg": 75.0, "gap": 50.0}


@pytest.mark.parametrize(("recipes", "average", "effect"), [("phang_2020", 75.0, 25.0), ("xtreme_r", 50.0, 50.0)])
def test_the_average_covers_the_languages_of_the_plans_benchmark(recipes: str, average: float, effect: float) -> None:
    """XQuAD has Romanian in XTREME-R alone."""

    def of(arm: str, right: dict[str, list[int]]) -> Cell:
        one = cell(arm, None, 0, right)
        return replace(one, scored={("xquad", language): values for (_, language), values in one.scored.items()})

    cells = [
        of("none", {"en": [1, 1], "de": [1, 0], "ro": [0, 0]}),
        of("x", {"en": [1, 1], "de": [1, 1], "ro": [1, 1]}),
    ]
    given_ = replace(report(cells, plan={"recipes": recipes}), metrics={"xquad": ("accuracy",)})
    table = results_table(given_)
    rows = table[(table["arm"] == "none") & (table["evaluation"] == "xquad")].set_index("language")["value"]
    assert (rows["avg"], rows["ro"]) == (pytest.approx(average), 0.0)
    effects = effects_table(given_).set_index("language")["effect"]
    assert effects["avg"] == pytest.approx(effect)


def test_an_effect_is_the_paired_difference_and_knows_its_overlap() -> None:
    cells = [cell("none", None, s, {"en": [1, 0, 0, 0]}) for s in (0, 1)]
    cells += [cell("x", s, s, {"en": [1, 1, s, 0]}) for s in (0, 1)]
    table = effects_table(report(cells))
    row = table[table["language"] == "en"].iloc[0]
    assert row["effect"] == pytest.approx(37.5)
    assert row["n_seeds"] == 2
    assert row["n_examples"] == 4
    assert bool(row["same_data"])


def test_a_reference_on_the_targets_own_data_marks_the_contrast_too() -> None:
    cells = [cell("x", 0, 0, {"en": [1, 0]}), cell("y", 0, 0, {"en": [0, 0]})]
    overlaps = [
        {"arm": "x", "trained_target": "mnli", "overlap": "unrelated"},
        {"arm": "y", "trained_target": "mnli", "overlap": "same-data"},
    ]
    contrast = {"name": "x minus y", "arm": "x", "reference": "y", "implicit": False, "differences": []}
    assert effects_table(report(cells, contrasts=[contrast], overlaps=overlaps))["same_data"].all()


def test_cells_are_paired_by_both_seeds_and_none_meets_all() -> None:
    arms = {(i, t): cell("x", i, t, {"en": [1]}) for i in (0, 1) for t in (0, 1)}
    references = {(None, t): cell("none", None, t, {"en": [1]}) for t in (0, 1)}
    pairs = paired(arms, references)
    assert {seeds: other.seed_target for seeds, (_, other) in pairs.items()} == {
        (0, 0): 0, (0, 1): 1, (1, 0): 0, (1, 1): 1,
    }  # fmt: skip


def test_without_example_noise_the_interval_is_students() -> None:
    found = interval([1.0, 2.0, 3.0], (0.0, 100), [(0, 0), (1, 1), (2, 2)])
    half = stats.t.ppf(0.975, 2) * 1.0 / math.sqrt(3)
    assert (found.effect, found.low, found.high) == pytest.approx((2.0, 2.0 - half, 2.0 + half))
    assert found.p == pytest.approx(stats.ttest_1samp([1.0, 2.0, 3.0], 0).pvalue)


def test_one_seed_is_conditional_on_it_and_has_no_p() -> None:
    found = interval([2.0], (4.0, 101), [(0, 0)])
    assert "conditional on the seed" in found.method
    assert found.p is None
    assert found.high - found.effect == pytest.approx(stats.t.ppf(0.975, 100) * 2)


def test_target_seeds_of_one_intermediate_are_conditional_on_that() -> None:
    assert seed_variance([1.0, 2.0], [(0, 0), (0, 1)])[2] == "conditional on the intermediate seed"
    assert seed_variance([1.0, 2.0], [(None, 0), (None, 1)])[2] == ""


def test_crossed_seeds_count_both() -> None:
    effects, pairs = [0.0, 2.0, 4.0, 6.0], [(0, 0), (0, 1), (1, 0), (1, 1)]
    variance, _, _ = seed_variance(effects, pairs)
    assert variance == pytest.approx(np.var([1, 5], ddof=1) / 2 + np.var([2, 4], ddof=1) / 2)


def test_parallel_examples_are_one_across_languages() -> None:
    """The same examples right in two languages carry no more evidence than in one."""
    right = [1, 0, 1, 1, 0, 1, 1, 1]
    one = effects_table(report([cell("none", None, 0, {"en": [0] * 8}), cell("x", 0, 0, {"en": right})]))
    two = effects_table(
        report([cell("none", None, 0, {"en": [0] * 8, "de": [0] * 8}), cell("x", 0, 0, {"en": right, "de": right})])
    )
    width = [(t[t["language"] == "avg"]["ci_high"] - t[t["language"] == "avg"]["ci_low"]).iloc[0] for t in (one, two)]
    assert width[0] == pytest.approx(width[1])


@given(st.lists(st.integers(0, 1), min_size=2, max_size=60))
def test_the_example_variance_of_accuracy_is_the_binomials(right: list[int]) -> None:
    moved = scored(right).influence("accuracy")
    p, n = float(np.mean(right)), len(right)
    assert (moved**2).sum() * n / (n - 1) == pytest.approx(1e4 * p * (1 - p) / (n - 1), abs=1e-6)


def test_influences_sum_to_zero() -> None:
    assert scored([1, 0, 0, 1, 1]).influence("accuracy").sum() == pytest.approx(0)


def test_satterthwaite_of_one_part_is_its_own() -> None:
    assert satterthwaite([(2.0, 7)]) == pytest.approx(7)
    assert satterthwaite([(1.0, 4), (1.0, 4)]) == pytest.approx(8)


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_cells_scored_on_different_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="not scored on the same examples"):
        effects_table(report([cell("none", None, 0, {"en": [1, 0]}), cell("x", 0, 0, {"en": [1, 0, 1]})]))


def test_cider_takes_a_picture_once_with_all_its_references() -> None:
    """COCO has a row a reference: five rows of one picture are one caption with five references."""
    refs = [["a red ball"], ["the ball is red"], ["a big dog"], ["one dog sits"]]
    told = ["a red ball"] * 2 + ["the dog sits"] * 2
    by_row = Scored(list("abcd"), ["p", "p", "q", "q"], told, refs, "val")
    by_picture = Scored(["p", "q"], ["p", "q"], [told[0], told[2]], [refs[0] + refs[1], refs[2] + refs[3]], "val")
    assert by_row.value("cider") == pytest.approx(by_picture.value("cider"))
    assert by_row.value("cider") > 0
