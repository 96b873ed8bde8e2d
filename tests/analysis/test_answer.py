"""What a report says in words, on simulated runs whose truth is known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xstilts.analysis.answer import answer, clear, control_verdicts, p_text
from xstilts.analysis.effects import effects_table, results_table
from xstilts.analysis.inputs import Cell, ReportInput, Scored
from xstilts.analysis.report import summarise, write_report
from xstilts.plan.load import load_plan

PLANS = Path(__file__).resolve().parents[2] / "pipelines" / "plans"
#: Each of these has all of these languages officially.
EVALUATIONS = ("xnli", "pawsx", "mlqa")
LANGUAGES = ("en", "de", "es")
EXAMPLES = 500


def run_of(plan: str, planted: float) -> ReportInput:
    """A run with the seeds of a shipped plan: accuracy near 60, a standard deviation of 1 over
    seeds, noise of its own in every cell; the headline's arm is better by `planted` points.
    """
    read = load_plan(PLANS / f"{plan}.yaml")
    draws = np.random.default_rng(11)
    name = read.headline or ""
    arm, reference = (
        (read.contrasts[name].arm, read.contrasts[name].reference)
        if name in read.contrasts
        else name.split(" minus ")
    )
    cells = []
    known = {evaluation: draws.normal(size=EXAMPLES) for evaluation in EVALUATIONS}
    for one in (reference, arm):
        seeds = dict.fromkeys((None if one == "none" else i, t) for i, t in read.seeds)
        for first, second in seeds:
            scored: dict[tuple[str, str], Scored] = {}
            for evaluation in EVALUATIONS:
                seed = draws.normal(scale=1.0)
                for language in LANGUAGES:
                    z = 0.8 * known[evaluation] + 0.6 * draws.normal(size=EXAMPLES)
                    share = (60 + seed + (planted if one == arm else 0)) / 100
                    right = (z < stats.norm.ppf(share)).astype(int).tolist()
                    ids = [str(k) for k in range(EXAMPLES)]
                    scored[evaluation, language] = Scored(
                        ids, ids, right, [1] * EXAMPLES, "test", language=language
                    )
            cells.append(
                Cell(
                    "tiny",
                    one,
                    first if first is not None else second,
                    first,
                    second,
                    "mnli",
                    scored,
                )
            )
    contrast = {
        "name": name,
        "arm": arm,
        "reference": reference,
        "implicit": False,
        "differences": [],
    }
    expanded: dict[str, Any] = {
        "name": plan, "plan": read.to_json(), "contrasts": [contrast], "headline": name, "controls": {}, "overlaps": [],
        "not_applicable": [], "skipped_languages": [], "overrides": [], "identities": [], "environment": {}, "cells": [],
        "order": {"arms": [reference, arm], "backbones": ["tiny"], "evaluations": list(EVALUATIONS)},
    }  # fmt: skip
    metrics = dict.fromkeys(EVALUATIONS, ("accuracy",))
    return ReportInput(expanded, cells, metrics, [], [], [], "", "runs/simulated")


def summary_of(given: ReportInput) -> dict[str, Any]:
    return summarise(given, results_table(given), effects_table(given))


TESTED = ["demo", "modality", "modality-tokens", "phang-2020", "gpu", "real-slices"]


@pytest.mark.parametrize("plan", TESTED)
def test_of_pure_noise_the_answer_claims_nothing(plan: str) -> None:
    summary = summary_of(run_of(plan, 0.0))
    assert "no effect separated from zero" in summary["answer"]
    assert not any(word in summary["answer"] for word in ("helps", "hurts", "better", "worse"))


@pytest.mark.parametrize("plan", ["modality", "modality-tokens", "phang-2020"])
def test_three_planted_points_are_found(plan: str) -> None:
    summary = summary_of(run_of(plan, 3.0))
    reference = run_of(plan, 0.0).contrasts[0]["reference"]
    verdict = "helps" if reference == "none" else f"better than {reference}"
    assert f": {verdict}" in summary["answer"]
    row = next(row for row in summary["pooled"] if row["language"] == "non_en")
    assert row["ci_low"] < 3 < row["ci_high"]
    assert row["mde"] < 3.5


@pytest.mark.parametrize("plan", ["demo", "gpu", "real-slices"])
def test_with_few_seeds_three_points_are_inside_the_interval_and_not_proven(plan: str) -> None:
    summary = summary_of(run_of(plan, 3.0))
    row = next(row for row in summary["pooled"] if row["language"] == "non_en")
    assert row["ci_low"] < 3 < row["ci_high"]
    assert row["mde"] > 3
    assert "approximate: only" in summary["answer"]


@pytest.mark.parametrize(
    "plan", ["kind", "modality-miniature", "phang-2020-miniature", "all-tasks", "real-slices-all"]
)
@pytest.mark.parametrize("planted", [0.0, 3.0])
def test_one_seed_is_told_as_one_seed(plan: str, planted: float) -> None:
    summary = summary_of(run_of(plan, planted))
    assert "conditional on the seed" in summary["answer"]
    assert not any(word in summary["answer"] for word in ("helps", "hurts", "better", "worse"))
    assert {row["p"] for row in summary["pooled"]} == {None}


def test_the_page_and_the_json_hold_the_same_corrected_values(tmp_path: Path) -> None:
    write_report(tmp_path, run_of("modality", 3.0))
    summary = json.loads((tmp_path / "summary.json").read_text())
    row = next(row for row in summary["pooled"] if row["language"] == "non_en")
    assert p_text(row["p_adjusted"]).replace("<", "&lt;") in (tmp_path / "report.html").read_text()
    assert "| tiny | pooled, non-English |" in (tmp_path / "report.md").read_text()


def effects(**more: Any) -> pd.DataFrame:
    row = {"contrast": "c", "backbone": "b", "arm": "x", "reference": "none", "evaluation": "xnli", "effect": 1.0, "ci_low": 0.2,
           "ci_high": 1.8, "ci_method": "t, Satterthwaite df 4.0", "p": 0.02, "p_adjusted": 0.3, "n_seeds": 5}  # fmt: skip
    return pd.DataFrame([row | more])


def test_an_effect_that_does_not_survive_correction_is_not_claimed() -> None:
    said = answer("c", effects(evaluation="pooled"), effects(), 0.95)
    assert "adjusted p = 0.300: no effect separated from zero" in said
    assert "none of 1 averages" in said


def test_limits_of_an_interval_are_in_the_answer() -> None:
    method = "t, Satterthwaite df 2.0, conditional on the target seed, approximate: only 3 seeds"
    said = answer("c", effects(evaluation="pooled", ci_method=method), effects(), 0.95)
    assert "conditional on the target seed, approximate: only 3 seeds" in said


def test_without_a_pooled_row_the_answer_says_why() -> None:
    said = answer("c", effects()[:0], effects(), 0.95, {"b": "xnli, pawsx have no seeds in common"})
    assert "b has no result: xnli, pawsx have no seeds in common" in said


@pytest.mark.parametrize(
    ("p", "expected"), [(0.05, True), (0.051, False), (None, False), (float("nan"), False)]
)
def test_what_counts_as_clear(p: float | None, expected: bool) -> None:
    assert clear(p, 0.05) is expected


@pytest.mark.parametrize(
    ("kind", "low", "high", "verdict", "good"),
    [
        ("positive", 0.1, 3.0, "helps", True),
        ("positive", -0.1, 3.0, "inconclusive", False),
        ("positive", -3.0, -0.1, "does not help", False),
        ("negative", -0.9, 0.8, "no effect", True),
        ("negative", 0.1, 0.8, "no effect", True),
        ("negative", -6.0, 5.0, "inconclusive", False),
        ("negative", 0.5, 5.0, "effect", False),
    ],
)
def test_a_negative_control_passes_by_equivalence_and_not_by_a_wide_interval(
    kind: str, low: float, high: float, verdict: str, good: bool
) -> None:
    controls = {kind: {"arm": "x", "evaluation": "xnli", "margin": 1.0}}
    found = control_verdicts(controls, effects(ci_low=low, ci_high=high))
    assert [(row["verdict"], row["as_expected"]) for row in found] == [(verdict, good)]


def test_the_answer_and_the_tables_show_the_tests_that_the_plan_calls_primary(
    tmp_path: Path,
) -> None:
    given = run_of("modality", 3.0)
    given.contrasts[0]["primary"] = ["xnli"]
    summary = write_report(tmp_path, given)
    [row] = summary["primary"]
    assert (row["evaluation"], row["language"], row["family"]) == ("xnli", "non_en", "primary")
    assert summary["headline_effects"][0]["effect"] == row["effect"]
    assert f"xnli: tiny {row['effect']:+.1f} points" in summary["answer"]
    assert "| tiny | xnli, non-English |" in (tmp_path / "report.md").read_text()


def test_evaluations_without_common_seeds_or_languages_are_named(tmp_path: Path) -> None:
    given = run_of("modality", 0.0)
    for cell in given.cells:
        for evaluation in ("xnli", "pawsx", "mlqa"):
            other = {"xnli": cell.seed_target == 0, "pawsx": cell.seed_target != 0, "mlqa": True}[
                evaluation
            ]
            kept = "de" if cell.arm == given.contrasts[0]["arm"] else "es"
            for language in LANGUAGES:
                if not other or (evaluation == "mlqa" and language != kept):
                    del cell.scored[evaluation, language]  # type: ignore[attr-defined]
    summary = write_report(tmp_path, given)
    assert "tiny has no result: xnli, pawsx have no seeds in common" in summary["answer"]
    assert {row["evaluation"]: row["left_out"] for row in summary["left_out"]} == {
        "mlqa": "no language that all paired cells have"
    }


@pytest.mark.parametrize(
    "note",
    [
        "complete 4 × 5 part of 24 cells",
        "3 cells without a common seed, of 5",
        "conditional on the target seed",
    ],
)
def test_every_note_of_an_interval_is_in_the_answer(note: str) -> None:
    assert note in answer(
        "c", effects(ci_method=f"t, Satterthwaite df 3.0, {note}"), effects(), 0.95
    )


def test_an_arm_against_an_arm_is_better_or_worse_than_it() -> None:
    said = answer("c", effects(reference="y", effect=-1.0, p_adjusted=0.0004), effects(), 0.95)
    assert "adjusted p < 0.001: worse than y" in said


def test_a_control_that_two_contrasts_hold_is_judged_once() -> None:
    controls = {"positive": {"arm": "x", "evaluation": "xnli"}}
    assert len(control_verdicts(controls, pd.concat([effects(), effects(contrast="again")]))) == 1
