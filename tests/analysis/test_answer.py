"""The answer sentence: exact sentences for small tables of effects."""

from typing import Any

import pandas as pd
import pytest

from xstilts.analysis.answer import answer
from xstilts.analysis.result_texts import clear, p_text

T = "t, Satterthwaite df 4.0"


def effects(*rows: dict[str, Any]) -> pd.DataFrame:
    """Effects of the contrast `c`; each row changes some columns of a default row."""
    default = {
        "contrast": "c", "backbone": "llava", "arm": "x", "reference": "none", "evaluation": "xnli",
        "effect": 1.0, "ci_low": 0.2, "ci_high": 1.8, "ci_method": T, "p": 0.02, "p_adjusted": 0.3,
        "n_seeds": 5, "seeds": "5", "mde": 1.4,
    }  # fmt: skip
    return pd.DataFrame([default | row for row in rows or ({},)])


def pooled(**changes: Any) -> pd.DataFrame:
    return effects({"evaluation": "pooled", **changes})


def test_an_effect_that_survives_correction_helps() -> None:
    primary = pooled(effect=2.25, ci_low=1.04, ci_high=3.46, p=0.001, p_adjusted=0.012)
    averages = effects(
        {"effect": 3.0, "p_adjusted": 0.01},
        {"evaluation": "xquad", "effect": -1.5, "p_adjusted": 0.04},
        {"evaluation": "mlqa", "effect": 0.4, "p_adjusted": 0.7},
    )
    assert answer("c", primary, averages, 0.95) == (
        "“c”, non-English languages, mean over evaluations: "
        "llava +2.2 points (95% interval +1.0 … +3.5, 5 seeds), adjusted p = 0.012: helps. "
        "Effects on single evaluations range from −1.5 to +3.0 points; after correction, "
        "2 of 3 differ from zero (1 above, 1 below)."
    )


def test_an_effect_that_does_not_survive_correction_is_indistinguishable_from_zero() -> None:
    assert answer("c", pooled(), effects(), 0.95) == (
        "“c”, non-English languages, mean over evaluations: "
        "llava +1.0 points (95% interval +0.2 … +1.8, 5 seeds), adjusted p = 0.300: "
        "indistinguishable from zero. Effects below 1.4 points (llava) cannot be excluded: a test "
        "like this one finds them in fewer than four of five runs. "
        "Effects on single evaluations range from +1.0 to +1.0 points, which is exploratory."
    )


def test_each_backbone_has_its_own_clause() -> None:
    primary = pd.concat(
        [
            pooled(p_adjusted=0.01),
            pooled(backbone="xlm-r", effect=-1.0, ci_low=-1.8, ci_high=-0.2, p_adjusted=0.01),
        ]
    )
    assert (
        "mean over evaluations: "
        "llava +1.0 points (95% interval +0.2 … +1.8, 5 seeds), adjusted p = 0.010: helps; "
        "xlm-r −1.0 points (95% interval −1.8 … −0.2, 5 seeds), adjusted p = 0.010: hurts. "
    ) in answer("c", primary, effects(), 0.95)


@pytest.mark.parametrize(("effect", "word"), [(1.0, "better"), (-1.0, "worse")])
def test_against_another_arm_the_arm_is_better_or_worse(effect: float, word: str) -> None:
    primary = pooled(reference="y", effect=effect, p_adjusted=0.0004)
    assert f"adjusted p < 0.001: {word} than y. " in answer("c", primary, effects(), 0.95)


def test_a_primary_evaluation_of_the_plan_is_named() -> None:
    sentence = answer("c", effects(), effects(), 0.95)
    assert sentence.startswith("“c”, non-English languages, xnli: llava +1.0 points")


def test_the_significance_level_follows_the_confidence_level() -> None:
    primary = pooled(p_adjusted=0.08)
    assert ": helps." in answer("c", primary, effects(), 0.9)
    assert ": indistinguishable from zero." in answer("c", primary, effects(), 0.95)


def test_one_seed_has_no_test() -> None:
    row = {
        "p": None,
        "p_adjusted": None,
        "n_seeds": 1,
        "seeds": "1",
        "mde": None,
        "ci_method": f"{T}, conditional on the seed",
    }
    assert answer("c", pooled(**row), effects(row), 0.95) == (
        "“c”, non-English languages, mean over evaluations: "
        "llava +1.0 points (95% interval +0.2 … +1.8, 1 seed), conditional on the seed. "
        "With one seed, effects and intervals are conditional on the seed: other seeds may give "
        "other effects, and no test is possible. "
        "Effects on single evaluations range from +1.0 to +1.0 points."
    )


def test_examples_without_variance_have_no_test() -> None:
    row = {
        "p": None, "p_adjusted": None, "mde": None, "ci_method": "rule of three, no variance over 8 clusters",
    }  # fmt: skip
    assert answer("c", pooled(**row), effects(row), 0.95) == (
        "“c”, non-English languages, mean over evaluations: "
        "llava +1.0 points (95% interval +0.2 … +1.8, 5 seeds), no variance over 8 clusters. "
        "Effects on single evaluations range from +1.0 to +1.0 points; "
        "the examples show no variance to test."
    )


@pytest.mark.parametrize(
    "note",
    [
        "complete 4 × 5 part of 24 cells",
        "3 cells without a common seed, of 5",
        "conditional on the target seed, approximate: only 3 seeds",
    ],
)
def test_the_notes_of_an_interval_follow_the_conclusion(note: str) -> None:
    primary = pooled(ci_method=f"{T}, {note}")
    assert f"indistinguishable from zero, {note}. " in answer("c", primary, effects(), 0.95)


def test_what_a_mean_leaves_out_follows_the_conclusion() -> None:
    primary = pooled(left_out="mlqa has 2 of 3 seeds")
    assert "from zero, mlqa has 2 of 3 seeds. " in answer("c", primary, effects(), 0.95)


def test_a_backbone_without_a_primary_effect_has_its_reason() -> None:
    reasons = {"llava": "xnli, pawsx have no seeds in common"}
    assert answer("c", effects()[:0], effects(), 0.95, reasons).startswith(
        "“c”, non-English languages, llava has no result: xnli, pawsx have no seeds in common. "
    )


def test_a_plan_without_a_headline_refers_to_the_heat_map() -> None:
    assert answer(None, effects()[:0], effects(), 0.95) == (
        "The plan has no headline contrast. "
        "The report shows the effect of every arm against “none”."
    )


def test_a_headline_that_could_not_be_computed_refers_to_the_missing_scores() -> None:
    assert answer("c", effects()[:0], effects()[:0], 0.95) == (
        "The headline contrast could not be computed; see “Missing” below."
    )


@pytest.mark.parametrize(
    ("p", "expected"), [(0.05, True), (0.051, False), (None, False), (float("nan"), False)]
)
def test_an_effect_is_clear_if_its_adjusted_p_value_is_at_most_alpha(
    p: float | None, expected: bool
) -> None:
    assert clear(p, 0.05) is expected


@pytest.mark.parametrize(
    ("p", "text"), [(0.0004, "< 0.001"), (0.001, "0.001"), (0.25, "0.250"), (None, "")]
)
def test_p_values_have_three_digits(p: float | None, text: str) -> None:
    assert p_text(p) == text
