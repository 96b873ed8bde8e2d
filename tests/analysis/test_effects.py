"""Effects on small arrays whose values can be computed by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xstilts.analysis.effects import effects_table
from xstilts.analysis.estimands import paired
from xstilts.analysis.inputs import Cell, ReportInput, Scored
from xstilts.analysis.scores import results_table


def scored(right: list[int]) -> Scored:
    ids = [str(i) for i in range(len(right))]
    return Scored(ids, ids, right, [1] * len(right), "test")


def cell(arm: str, seed: int | None, target: int | None, right: dict[str, list[int]]) -> Cell:
    languages = {("xnli", language): scored(values) for language, values in right.items()}
    return Cell("b", arm, target, seed, target, "mnli", languages)


def report(cells: list[Cell], **more: Any) -> ReportInput:
    contrast = {
        "name": "x minus none",
        "arm": "x",
        "reference": "none",
        "implicit": True,
        "differences": [],
    }
    expanded = {
        "contrasts": [contrast],
        "overlaps": [{"arm": "x", "trained_target": "mnli", "overlap": "same-data"}],
    }
    more.setdefault("headline", None)
    return ReportInput(
        {**expanded, **more}, cells, {"xnli": ("accuracy",)}, [], [], [], "", "runs/r"
    )


def test_the_average_is_the_unweighted_mean_over_languages() -> None:
    table = results_table(report([cell("none", None, 0, {"en": [1, 1, 1, 1], "de": [1, 0]})]))
    values = dict(zip(table["language"], table["value"], strict=True))
    assert values == {"en": 100.0, "de": 50.0, "avg": 75.0, "non_en": 50.0, "gap": 50.0}


@pytest.mark.parametrize(
    ("recipes", "average", "effect"), [("phang_2020", 75.0, 25.0), ("xtreme_r", 50.0, 50.0)]
)
def test_the_average_covers_the_languages_of_the_plans_benchmark(
    recipes: str, average: float, effect: float
) -> None:
    """XQuAD has Romanian only in XTREME-R."""

    def of(arm: str, right: dict[str, list[int]]) -> Cell:
        xnli = cell(arm, None, 0, right)
        return replace(
            xnli,
            scored={("xquad", language): values for (_, language), values in xnli.scored.items()},
        )

    cells = [
        of("none", {"en": [1, 1], "de": [1, 0], "ro": [0, 0]}),
        of("x", {"en": [1, 1], "de": [1, 1], "ro": [1, 1]}),
    ]
    data = replace(report(cells, plan={"recipes": recipes}), metrics={"xquad": ("accuracy",)})
    table = results_table(data)
    rows = table[(table["arm"] == "none") & (table["evaluation"] == "xquad")].set_index("language")[
        "value"
    ]
    assert (rows["avg"], rows["ro"]) == (pytest.approx(average), 0.0)
    effects = effects_table(data).set_index("language")["effect"]
    assert effects["avg"] == pytest.approx(effect)


def test_an_effect_is_the_paired_difference_with_its_overlap() -> None:
    cells = [cell("none", None, s, {"en": [1, 0, 0, 0]}) for s in (0, 1)]
    cells += [cell("x", s, s, {"en": [1, 1, s, 0]}) for s in (0, 1)]
    table = effects_table(report(cells))
    row = table[table["language"] == "en"].iloc[0]
    assert row["effect"] == pytest.approx(37.5)
    assert row["n_seeds"] == 2
    assert row["n_examples"] == 4
    assert bool(row["same_data"])


def test_a_reference_trained_on_the_targets_data_marks_the_contrast_too() -> None:
    cells = [cell("x", 0, 0, {"en": [1, 0]}), cell("y", 0, 0, {"en": [0, 0]})]
    overlaps = [
        {"arm": "x", "trained_target": "mnli", "overlap": "unrelated"},
        {"arm": "y", "trained_target": "mnli", "overlap": "same-data"},
    ]
    contrast = {
        "name": "x minus y",
        "arm": "x",
        "reference": "y",
        "implicit": False,
        "differences": [],
    }
    assert effects_table(report(cells, contrasts=[contrast], overlaps=overlaps))["same_data"].all()


def test_cells_are_paired_by_both_seeds_and_a_missing_seed_pairs_with_all() -> None:
    arms = {(i, t): cell("x", i, t, {"en": [1]}) for i in (0, 1) for t in (0, 1)}
    references = {(None, t): cell("none", None, t, {"en": [1]}) for t in (0, 1)}
    pairs = paired(arms, references)
    assert {seeds: reference.seed_target for seeds, (_, reference) in pairs.items()} == {
        (0, 0): 0, (0, 1): 1, (1, 0): 0, (1, 1): 1,
    }  # fmt: skip


def test_translations_of_an_example_count_once() -> None:
    """The same examples correct in two languages are no more evidence than in one."""
    right = [1, 0, 1, 1, 0, 1, 1, 1]
    single = effects_table(
        report([cell("none", None, 0, {"en": [0] * 8}), cell("x", 0, 0, {"en": right})])
    )
    double = effects_table(
        report(
            [
                cell("none", None, 0, {"en": [0] * 8, "de": [0] * 8}),
                cell("x", 0, 0, {"en": right, "de": right}),
            ]
        )
    )
    width = [
        (t[t["language"] == "avg"]["ci_high"] - t[t["language"] == "avg"]["ci_low"]).iloc[0]
        for t in (single, double)
    ]
    assert width[0] == pytest.approx(width[1])


@given(st.lists(st.integers(0, 1), min_size=2, max_size=60))
def test_the_example_variance_of_accuracy_is_the_binomials(right: list[int]) -> None:
    moved = scored(right).influence("accuracy")
    p, n = float(np.mean(right)), len(right)
    assert (moved**2).sum() * n / (n - 1) == pytest.approx(1e4 * p * (1 - p) / (n - 1), abs=1e-6)


def test_influences_sum_to_zero() -> None:
    assert scored([1, 0, 0, 1, 1]).influence("accuracy").sum() == pytest.approx(0)


def test_cells_scored_on_different_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="not scored on the same examples"):
        effects_table(
            report([cell("none", None, 0, {"en": [1, 0]}), cell("x", 0, 0, {"en": [1, 0, 1]})])
        )


def test_cider_counts_a_picture_once_with_all_its_references() -> None:
    """COCO has one row per reference: five rows of a picture are one caption with five references."""
    refs = [["a red ball"], ["the ball is red"], ["a big dog"], ["one dog sits"]]
    captions = ["a red ball"] * 2 + ["the dog sits"] * 2
    by_row = Scored(list("abcd"), ["p", "p", "q", "q"], captions, refs, "val")
    by_picture = Scored(
        ["p", "q"],
        ["p", "q"],
        [captions[0], captions[2]],
        [refs[0] + refs[1], refs[2] + refs[3]],
        "val",
    )
    assert by_row.value("cider") == pytest.approx(by_picture.value("cider"))
    assert by_row.value("cider") > 0


def rows(
    cells: list[Cell], arm: str = "x", reference: str = "none", **more: Any
) -> dict[tuple[str, str, str], Any]:
    """(backbone, evaluation, language) → effect of one contrast without overlaps."""
    contrast = {
        "name": "c",
        "arm": arm,
        "reference": reference,
        "implicit": False,
        "differences": [],
    }
    table = effects_table(report(cells, **{"contrasts": [contrast], "overlaps": [], **more}))
    return {
        (row["backbone"], row["evaluation"], row["language"]): row
        for row in table.to_dict("records")
    }


def several(count: int, seeds: tuple[str, ...] = ("x", "none")) -> list[Cell]:
    """Cells of paired seeds, correct on about half of twelve examples of three languages."""
    draws = np.random.default_rng(5)

    def right() -> dict[str, list[int]]:
        return {language: draws.integers(0, 2, 12).tolist() for language in ("en", "de", "sw")}

    return [
        cell(arm, None if arm == "none" else s, s, right()) for arm in seeds for s in range(count)
    ]


@pytest.mark.parametrize(
    "targets", [(0, 1, 2, 3), (0, 0, 0, 0)], ids=["pairs", "one reference cell"]
)
def test_a_reversed_contrast_is_the_same_with_the_opposite_sign(
    targets: tuple[int, ...],
) -> None:
    """No cell is dropped if the reference has more cells than the arm."""
    cells = [
        replace(each, seed_target=targets[each.seed_target or 0])
        for each in several(4)
        if each.arm == "x" or each.seed_target in targets
    ]
    forward, reverse = rows(cells), rows(cells, "none", "x")
    assert forward.keys() == reverse.keys()
    for key, row in forward.items():
        mirrored = reverse[key]
        assert row["n_seeds"] == mirrored["n_seeds"] == 4
        assert (row["effect"], row["ci_low"], row["p"]) == pytest.approx(
            (-mirrored["effect"], -mirrored["ci_high"], mirrored["p"])
        )


@pytest.mark.parametrize("index", [0, 3])
def test_a_language_that_one_cell_lacks_is_left_out_of_the_means_and_listed(index: int) -> None:
    cells = several(4)
    del cells[index].scored["xnli", "sw"]  # type: ignore[attr-defined]
    effects = rows(cells)
    assert {language for _, evaluation, language in effects if evaluation == "xnli"} == {
        "en",
        "de",
        "avg",
        "non_en",
        "gap",
    }
    assert {
        row["left_out"] for (_, evaluation, _), row in effects.items() if evaluation == "xnli"
    } == {"sw"}
    assert effects["b", "xnli", "non_en"]["effect"] == pytest.approx(
        effects["b", "xnli", "de"]["effect"]
    )


def test_english_non_english_and_the_gap_are_three_effects() -> None:
    effects = rows(several(3))
    effect = {
        language: row["effect"] for (_, name, language), row in effects.items() if name == "xnli"
    }
    assert effect["non_en"] == pytest.approx((effect["de"] + effect["sw"]) / 2)
    assert effect["avg"] == pytest.approx((effect["en"] + effect["de"] + effect["sw"]) / 3)
    assert effect["gap"] == pytest.approx(effect["en"] - effect["non_en"])
    assert all(
        effects["b", "xnli", name]["ci_low"] < effect[name] < effects["b", "xnli", name]["ci_high"]
        for name in effect
    )


def with_evaluations(cells: list[Cell], *names: str, backbone: str = "b") -> list[Cell]:
    """The same cells with their scores under these evaluations, shifted by one example each."""
    return [
        Cell(backbone, c.arm, c.seed, c.seed_intermediate, c.seed_target, "mnli",
             {(name, lang): scored(each.predictions[k:] + each.predictions[:k])  # type: ignore[operator]
              for (_, lang), each in c.scored.items() for k, name in enumerate(names)})
        for c in cells
    ]  # fmt: skip


METRICS_OF = {"xnli": ("accuracy",), "pawsx": ("accuracy",), "tatoeba": ("retrieval_accuracy",)}


def test_the_pooled_effect_is_the_mean_over_evaluations_without_retrieval() -> None:
    cells = with_evaluations(several(3), "xnli", "pawsx", "tatoeba")
    contrast = {"name": "c", "arm": "x", "reference": "none", "implicit": False, "differences": []}
    data = ReportInput(
        {"contrasts": [contrast], "overlaps": [], "headline": None},
        cells,
        METRICS_OF,
        [],
        [],
        [],
        "",
        "r",
    )
    table = effects_table(data).set_index(["evaluation", "language"])
    parts = [table.loc[(name, "non_en"), "effect"] for name in ("xnli", "pawsx")]
    assert table.loc[("pooled", "non_en"), "effect"] == pytest.approx(np.mean(parts))
    assert 0 <= table.loc[("pooled", "non_en"), "p_improvement"] <= 100
    assert table["family"].value_counts()["primary"] == 1


def test_an_evaluation_of_either_arms_training_data_is_not_pooled() -> None:
    overlaps = [{"arm": "x", "trained_target": "mnli", "overlap": "same-data"}]
    assert not any(name == "pooled" for _, name, _ in rows(several(3), overlaps=overlaps))


def test_the_interaction_is_the_difference_of_two_backbones_effects() -> None:
    cells = with_evaluations(several(3), "xnli") + with_evaluations(
        several(3)[::-1], "xnli", backbone="a"
    )
    effects = rows(cells)
    effect = effects["b", "pooled", "non_en"]["effect"] - effects["a", "pooled", "non_en"]["effect"]
    assert effects["b minus a", "pooled", "non_en"]["effect"] == pytest.approx(effect)
    assert effects["b minus a", "pooled", "non_en"]["family"] == "interaction"


def backboned(backbone: str, right: dict[str, dict[str, list[int]]], seeds: int = 3) -> list[Cell]:
    """Cells of `none`, wrong everywhere, and of `x` with these answers, evaluation → language →
    answers; the same for each seed.
    """
    return [
        Cell(
            backbone, arm, s, None if arm == "none" else s, s, "mnli",
            {(name, code): scored(v if arm == "x" else [0] * len(v)) for name, by in right.items() for code, v in by.items()},
        )
        for arm in ("x", "none") for s in range(seeds)
    ]  # fmt: skip


def table_of(cells: list[Cell], **more: Any) -> Any:
    contrast = {"name": "c", "arm": "x", "reference": "none", "implicit": False, "differences": []}
    names = dict.fromkeys(name for each in cells for name, _ in each.scored)
    data = replace(
        report(cells, **{"contrasts": [contrast], "overlaps": [], **more}),
        metrics=dict.fromkeys(names, ("accuracy",)),
    )
    return effects_table(data).set_index(["backbone", "evaluation", "language"])


def test_an_interaction_covers_the_languages_and_evaluations_of_both_backbones() -> None:
    """The effects are equal where both backbones have scores; sw and pawsx, which only one has,
    would make a difference.
    """
    both = {"en": [1, 0, 0, 0], "de": [1, 0, 0, 0]}
    more = {"xnli": {**both, "sw": [1, 1, 1, 1]}, "pawsx": {"de": [1, 1, 0, 0]}}
    row = table_of(backboned("a", more) + backboned("b", {"xnli": both})).loc[
        ("a minus b", "pooled", "non_en")
    ]
    assert (row["effect"], row["n_languages"], row["n_examples"]) == (0.0, 1, 4)
    assert row["left_out"] == "pawsx: whole; xnli: sw"


def between(arm: str, reference: str) -> dict[str, Any]:
    """A contrast between the backbones a and b."""
    contrast = {
        "name": "c",
        "arm": arm,
        "reference": reference,
        "implicit": False,
        "differences": [],
    }
    return contrast | {"backbone": "a", "reference_backbone": "b"}


#: On a, x is right in 3 of 4 and `none` in none; on b, x is right in 1 of 4 and `none` in none.
TWO = backboned("a", {"xnli": {"en": [1, 1, 1, 0], "de": [1, 1, 1, 0]}}) + backboned(
    "b", {"xnli": {"en": [1, 0, 0, 0], "de": [0, 1, 0, 0]}}
)


@pytest.mark.parametrize(
    ("arm", "reference", "effect"),
    [("x", "x", 50.0), ("x", "none", 75.0), ("none", "x", -25.0), ("none", "none", 0.0)],
)
def test_a_contrast_between_backbones_subtracts_the_second_backbones_arm(
    arm: str, reference: str, effect: float
) -> None:
    table = table_of(TWO, contrasts=[between(arm, reference)])
    assert set(table.index.get_level_values("backbone")) == {"a minus b"}
    assert (table["effect"].drop(index="gap", level="language") == effect).all()
    assert set(table["n_seeds"]) == {3}


def test_the_whole_difference_is_that_of_the_models_plus_that_of_the_arms() -> None:
    """(a, x) − (b, none) = [(a, x) − (a, none)] + [(a, none) − (b, none)]."""
    named = {"name": "d", "arm": "x", "reference": "none", "implicit": False, "differences": []}
    key = ("pooled", "non_en")
    whole = table_of(TWO, contrasts=[between("x", "none")]).loc[("a minus b", *key), "effect"]
    models = table_of(TWO, contrasts=[between("none", "none")]).loc[("a minus b", *key), "effect"]
    arms = table_of(TWO, contrasts=[named]).loc[("a", *key), "effect"]
    assert whole == arms + models


def test_contrasts_between_backbones_are_corrected_with_the_interactions() -> None:
    """They take nothing from the confirmatory tests, and are no entry of the heat map."""
    named = {"name": "d", "arm": "x", "reference": "none", "implicit": False, "differences": []}
    alone = table_of(TWO, contrasts=[named])
    table = table_of(TWO, contrasts=[between("x", "none") | {"name": "c"}, named])
    families = table[table["contrast"] == "c"]["family"]
    assert families["a minus b", "pooled", "non_en"] == "interaction"
    assert set(families.drop(index=("a minus b", "pooled", "non_en"))) == {"exploratory"}
    for family in ("primary", "heat map"):
        before, after = (each[each["family"] == family]["p_adjusted"] for each in (alone, table))
        assert before.to_dict() == after.to_dict()


def test_a_contrast_between_backbones_has_no_row_without_the_cells_of_both() -> None:
    only = [each for each in TWO if (each.backbone, each.arm) != ("b", "x")]
    assert table_of(only, contrasts=[between("x", "x")]).empty


def test_robust_statistics_cover_the_languages_of_the_mean() -> None:
    """Romanian in XQuAD is not part of XTREME: it changes neither the mean nor its companions."""
    half, whole = [1, 1, 0, 0], [1, 1, 1, 1]
    row = table_of(
        backboned("a", {"xquad": {"en": half, "de": half, "ro": whole}}),
        plan={"recipes": "phang_2020"},
    ).loc[("a", "pooled", "non_en")]
    assert (row["effect"], row["iqm"], row["p_improvement"]) == (50.0, 50.0, 100.0)


def test_a_pooled_row_lists_its_evaluations() -> None:
    """XCOPA has no English, so it counts neither for English nor for the gap."""
    right = {"xnli": {"en": [1, 0], "de": [1, 0]}, "xcopa": {"et": [1, 1]}}
    table = table_of(backboned("a", right)).loc[("a", "pooled")]
    assert table["pooled_over"].to_dict() == {
        "non_en": "xnli xcopa",
        "en": "xnli",
        "gap": "xnli",
        "avg": "xnli xcopa",
    }


def test_an_evaluation_with_fewer_seeds_is_listed_with_the_mean() -> None:
    cells = backboned("a", {"xnli": {"de": [1, 0]}, "pawsx": {"de": [0, 1]}})
    del cells[0].scored["pawsx", "de"]  # type: ignore[attr-defined]
    row = table_of(cells).loc[("a", "pooled", "non_en")]
    assert (row["n_seeds"], row["left_out"]) == (2, "pawsx has 2 of 3 seeds")


@pytest.mark.parametrize(
    ("recipes", "names"), [("phang_2020", {"ro"}), ("xtreme_r", {"ro", "avg", "non_en"})]
)
def test_an_average_covers_only_the_benchmarks_languages(recipes: str, names: set[str]) -> None:
    """One cell lost every official language of XTREME."""
    cells = backboned("a", {"xquad": {"en": [1, 0], "de": [1, 0], "ro": [1, 1]}})
    for language in ("en", "de"):
        del cells[0].scored["xquad", language]  # type: ignore[attr-defined]
    effects = table_of(cells, plan={"recipes": recipes})
    assert set(effects.loc[("a", "xquad")].index) == names
    data = replace(report(cells, plan={"recipes": recipes}), metrics={"xquad": ("accuracy",)})
    scores = results_table(data)
    first = scores[(scores["arm"] == "x") & (scores["seed"] == 0)]
    assert set(first["language"]) == names


def test_the_heat_map_and_its_correction_count_each_arm_once() -> None:
    """A reversed contrast and a second name of the same contrast are not counted."""
    base = {"implicit": False, "differences": []}
    contrasts = [
        {**base, "name": "c", "arm": "x", "reference": "none"},
        {**base, "name": "again", "arm": "x", "reference": "none"},
        {**base, "name": "mirror", "arm": "none", "reference": "x"},
    ]
    table = table_of(several(3), contrasts=contrasts)
    assert table[table["family"] == "heat map"]["contrast"].tolist() == ["c"]


def test_a_grid_has_its_sides_as_seeds() -> None:
    draws = np.random.default_rng(2)

    def right() -> dict[str, list[int]]:
        return {"de": draws.integers(0, 2, 12).tolist()}

    cells = [cell("x", i, t, right()) for i in range(3) for t in range(2)] + [
        cell("none", None, t, right()) for t in range(2)
    ]
    assert {(row["n_seeds"], row["seeds"]) for row in rows(cells).values()} == {(6, "3 × 2")}
