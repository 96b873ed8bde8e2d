"""The dots of seeds in a forest plot belong to the effect that they surround."""

import numpy as np
import pytest

from tests.analysis.sample_report import sample_report
from xstilts.analysis.effects import effects_table
from xstilts.analysis.page.seed_effects import SeedEffects, seed_text
from xstilts.analysis.scores import results_table


def test_the_mean_over_seeds_is_the_effect_of_the_table() -> None:
    report = sample_report()
    effects = effects_table(report)
    rows = effects[
        effects["language"].isin(["avg", "non_en", "en", "gap"])
        & (effects["family"] != "interaction")
        & (effects["metric"] != "token_accuracy")
    ]
    seeds = SeedEffects(report, results_table(report))
    contrasts = {contrast["name"]: contrast for contrast in report.contrasts}
    assert len(rows) > 40
    for row in rows.to_dict("records"):
        dots = list(seeds.dots(contrasts, [{**row, "label": ""}]))
        assert len(dots) == 3
        mean = np.mean([dot["effect"] for dot in dots])
        assert mean == pytest.approx(row["effect"], abs=2e-3)  # dots are rounded


@pytest.mark.parametrize(
    ("pair", "text"),
    [((None, 1), "seed 1"), ((2, 2), "seed 2"), ((0, 1), "seeds 0, 1"), ((None, None), "no seed")],
)
def test_a_pair_of_seeds_in_words(pair: tuple[int | None, int | None], text: str) -> None:
    assert seed_text(pair) == text
