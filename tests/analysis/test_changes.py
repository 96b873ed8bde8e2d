"""What changed between two runs: the paired change of each arm's score, and regressions."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.analysis.test_effects import cell, report
from xstilts.analysis.changes import changes
from xstilts.analysis.inputs import ReportInput

COUNT = 400


def run_of(
    share: float, seeds: int = 3, points: float | None = None, arm: str = "x"
) -> ReportInput:
    """An arm that is right on about this share of examples, in the same order of difficulty."""
    cells = []
    for seed in range(seeds):
        difficulty = np.random.default_rng(seed).permutation(COUNT)
        right = {
            code: (difficulty < COUNT * (share + 0.01 * k)).astype(int).tolist()
            for k, code in enumerate(("en", "de"))
        }
        cells.append(cell(arm, seed, seed, right))
    plan = {} if points is None else {"report": {"regression": {"points": points}}}
    return report(cells, plan=plan)


def row(table: pd.DataFrame) -> Any:
    (only,) = table.to_dict("records")
    return only


def test_a_change_is_the_run_s_score_minus_the_other_s() -> None:
    change = row(changes(run_of(0.5), run_of(0.6)))
    assert (change["score"], change["other"], change["change"]) == pytest.approx((50.5, 60.5, -10))
    assert change["ci_low"] < -10 < change["ci_high"] < 0
    assert (change["evaluation"], change["metric"], change["n_seeds"]) == ("xnli", "accuracy", 3)


def test_a_run_against_itself_has_not_changed() -> None:
    change = row(changes(run_of(0.5, points=0.0), run_of(0.5)))
    assert (change["change"], change["regression"]) == (0.0, False)


@pytest.mark.parametrize(
    ("points", "share", "regression"),
    [(1.0, 0.5, True), (20.0, 0.5, False), (None, 0.5, False), (1.0, 0.7, False)],
    ids=["a loss", "within the threshold", "without a threshold", "a gain"],
)
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_clear_loss_above_the_plans_threshold_is_a_regression(
    points: float | None, share: float, regression: bool, seeds: int
) -> None:
    run, other = run_of(share, seeds, points), run_of(0.6, seeds)
    assert bool(row(changes(run, other))["regression"]) is regression


def test_a_loss_that_noise_explains_is_no_regression() -> None:
    draws = np.random.default_rng(3)
    right = [{"en": draws.integers(0, 2, 30).tolist()} for _ in range(2)]
    run, other = (
        report([cell("x", 0, 0, each)], plan={"report": {"regression": {"points": 0.0}}})
        for each in right
    )
    assert not changes(run, other)["regression"].any()


def other_examples(run: ReportInput) -> ReportInput:
    cells = [
        replace(
            each,
            scored={
                key: replace(s, ids=[f"new-{i}" for i in s.ids]) for key, s in each.scored.items()
            },
        )
        for each in run.cells
    ]
    return replace(run, cells=cells)


@pytest.mark.parametrize(
    ("other", "reasons"),
    [
        (other_examples(run_of(0.5)), ["en was scored on other examples"]),
        (run_of(0.5, arm="y"), ["only in this run", "only in the other run"]),
        (
            replace(run_of(0.5), cells=[replace(c, seed_intermediate=9, seed_target=9) for c in run_of(0.5).cells]),
            ["no seeds in common"],
        ),
    ],
    ids=["other data", "another arm", "other seeds"],
)  # fmt: skip
def test_what_cannot_be_compared_has_its_reason(other: ReportInput, reasons: list[str]) -> None:
    table = changes(run_of(0.5), other)
    assert table["reason"].tolist() == reasons
    assert table["change"].isna().all()
    assert not table["regression"].any()
