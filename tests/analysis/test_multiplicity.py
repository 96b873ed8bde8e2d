"""Corrections for multiple testing, checked against published values."""

import pandas as pd
import pytest

from xstilts.analysis.multiplicity import adjusted, family_of, holm


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_benjamini_and_hochbergs_own_example() -> None:
    """The fifteen p-values of Benjamini and Hochberg 1995, section 3.1: four are rejected at 0.05."""
    values = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1.0,
    ]
    table = adjusted(pd.DataFrame({"p": values, "family": "heat map"}))
    assert (table["p_adjusted"] <= 0.05).tolist() == [True] * 4 + [False] * 11
    assert table["p_adjusted"][3] == pytest.approx(0.0095 * 15 / 4)


def test_families_are_corrected_separately() -> None:
    table = adjusted(
        pd.DataFrame({"p": [0.02, 0.02, None], "family": ["primary", "exploratory", "primary"]})
    )
    assert table["p_adjusted"].tolist()[:2] == [0.02, 0.02]
    assert table["p_adjusted"].isna().tolist() == [False, False, True]


NAMED = {"name": "c", "implicit": False}


@pytest.mark.parametrize(
    ("contrast", "evaluation", "language", "metric", "reference", "family"),
    [
        (NAMED, "pooled", "non_en", "official", "y", "primary"),
        (NAMED, "pooled", "avg", "official", "y", "exploratory"),
        (NAMED, "xnli", "non_en", "accuracy", "y", "exploratory"),
        ({**NAMED, "primary": ["xnli"]}, "xnli", "non_en", "accuracy", "y", "primary"),
        ({**NAMED, "primary": ["xnli"]}, "xnli", "non_en", "macro_f1", "y", "exploratory"),
        ({**NAMED, "primary": ["xnli"]}, "pooled", "non_en", "official", "y", "exploratory"),
        (
            {"name": "x minus none", "implicit": True},
            "pooled",
            "non_en",
            "official",
            "none",
            "exploratory",
        ),
        ({"name": "headline", "implicit": True}, "pooled", "non_en", "official", "none", "primary"),
        ({"name": "x minus none", "implicit": True}, "xnli", "avg", "accuracy", "none", "heat map"),
        (
            {"name": "x minus none", "implicit": True},
            "xnli",
            "de",
            "accuracy",
            "none",
            "exploratory",
        ),
    ],
)
def test_the_family_of_a_test(
    contrast: dict[str, object],
    evaluation: str,
    language: str,
    metric: str,
    reference: str,
    family: str,
) -> None:
    row = {
        "arm": "x",
        "reference": reference,
        "evaluation": evaluation,
        "language": language,
        "metric": metric,
    }
    assert family_of(row, contrast, "headline", "accuracy") == family
