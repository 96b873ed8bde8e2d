"""Claims of the report on simulated runs whose true effect is known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xstilts.analysis.answer import answer
from xstilts.analysis.effects import effects_table
from xstilts.analysis.inputs import Cell, ReportInput, Scored
from xstilts.analysis.multiplicity import HEAT_MAP, PRIMARY, adjusted
from xstilts.analysis.report import write_report
from xstilts.analysis.result_texts import p_text
from xstilts.analysis.scores import results_table
from xstilts.analysis.simulation import against_none, simulated
from xstilts.analysis.summary import summarize
from xstilts.analysis.variance import interval
from xstilts.plan.load import load_plan

PLANS = Path(__file__).resolve().parents[2] / "pipelines" / "plans"
#: Each of these has all of these languages officially.
EVALUATIONS = ("xnli", "pawsx", "mlqa")
LANGUAGES = ("en", "de", "es")
EXAMPLES = 500


def run_of(plan: str, planted: float) -> ReportInput:
    """A run with the seeds of a shipped plan: accuracy near 60, a standard deviation of 1 over
    seeds, independent noise in every cell. The headline's arm is better by `planted` points.
    """
    loaded = load_plan(PLANS / f"{plan}.yaml")
    draws = np.random.default_rng(11)
    name = loaded.headline or ""
    arm, reference = (
        (loaded.contrasts[name].arm, loaded.contrasts[name].reference)
        if name in loaded.contrasts
        else name.split(" minus ")
    )
    cells = []
    difficulties = {evaluation: draws.normal(size=EXAMPLES) for evaluation in EVALUATIONS}
    for name_of_arm in (reference, arm):
        seeds = dict.fromkeys((None if name_of_arm == "none" else i, t) for i, t in loaded.seeds)
        for first, second in seeds:
            scored: dict[tuple[str, str], Scored] = {}
            for evaluation in EVALUATIONS:
                seed = draws.normal(scale=1.0)
                for language in LANGUAGES:
                    z = 0.8 * difficulties[evaluation] + 0.6 * draws.normal(size=EXAMPLES)
                    share = (60 + seed + (planted if name_of_arm == arm else 0)) / 100
                    right = (z < stats.norm.ppf(share)).astype(int).tolist()
                    ids = [str(k) for k in range(EXAMPLES)]
                    scored[evaluation, language] = Scored(
                        ids, ids, right, [1] * EXAMPLES, "test", language=language
                    )
            cells.append(
                Cell(
                    "tiny",
                    name_of_arm,
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
        "name": plan, "plan": loaded.to_json(), "contrasts": [contrast], "headline": name, "controls": {}, "overlaps": [],
        "not_applicable": [], "skipped_languages": [], "overrides": [], "identities": [], "environment": {}, "cells": [],
        "order": {"arms": [reference, arm], "backbones": ["tiny"], "evaluations": list(EVALUATIONS)},
    }  # fmt: skip
    metrics = dict.fromkeys(EVALUATIONS, ("accuracy",))
    return ReportInput(expanded, cells, metrics, [], [], [], "", "runs/simulated")


def summary_of(report: ReportInput) -> dict[str, Any]:
    return summarize(report, results_table(report), effects_table(report))


TESTED = ["demo", "modality", "modality-tokens", "phang-2020", "gpu", "real-slices"]


@pytest.mark.parametrize("plan", TESTED)
def test_pure_noise_yields_no_claim(plan: str) -> None:
    summary = summary_of(run_of(plan, 0.0))
    assert "indistinguishable from zero" in summary["answer"]
    assert not any(word in summary["answer"] for word in ("helps", "hurts", "better", "worse"))


@pytest.mark.parametrize("plan", ["modality", "modality-tokens", "phang-2020"])
def test_three_planted_points_are_detected(plan: str) -> None:
    summary = summary_of(run_of(plan, 3.0))
    reference = run_of(plan, 0.0).contrasts[0]["reference"]
    verdict = "helps" if reference == "none" else f"better than {reference}"
    assert f": {verdict}" in summary["answer"]
    row = next(row for row in summary["pooled"] if row["language"] == "non_en")
    assert row["ci_low"] < 3 < row["ci_high"]
    assert row["mde"] < 3.5


@pytest.mark.parametrize("plan", ["demo", "gpu", "real-slices"])
def test_with_few_seeds_three_points_are_within_the_interval_but_not_claimed(plan: str) -> None:
    summary = summary_of(run_of(plan, 3.0))
    row = next(row for row in summary["pooled"] if row["language"] == "non_en")
    assert row["ci_low"] < 3 < row["ci_high"]
    assert row["mde"] > 3
    assert "approximate: only" in summary["answer"]


@pytest.mark.parametrize(
    "plan",
    [
        "kind",
        "modality-miniature",
        "phang-2020-miniature",
        "all-tasks",
        "real-slices-all",
        "real-transfer",
    ],
)
@pytest.mark.parametrize("planted", [0.0, 3.0])
def test_one_seed_yields_no_test_and_no_claim(plan: str, planted: float) -> None:
    summary = summary_of(run_of(plan, planted))
    assert "conditional on the seed" in summary["answer"]
    assert not any(word in summary["answer"] for word in ("helps", "hurts", "better", "worse"))
    assert {row["p"] for row in summary["pooled"]} == {None}


def test_page_and_json_have_the_same_adjusted_p_values(tmp_path: Path) -> None:
    write_report(tmp_path, run_of("modality", 3.0))
    summary = json.loads((tmp_path / "summary.json").read_text())
    row = next(row for row in summary["pooled"] if row["language"] == "non_en")
    assert p_text(row["p_adjusted"]).replace("<", "&lt;") in (tmp_path / "report.html").read_text()
    assert "| tiny | pooled, non-English |" in (tmp_path / "report.md").read_text()


def test_the_plans_primary_evaluation_is_the_one_in_answer_and_tables(
    tmp_path: Path,
) -> None:
    report = run_of("modality", 3.0)
    report.contrasts[0]["primary"] = ["xnli"]
    summary = write_report(tmp_path, report)
    [row] = summary["primary"]
    assert (row["evaluation"], row["language"], row["family"]) == ("xnli", "non_en", "primary")
    assert summary["headline_effects"][0]["effect"] == row["effect"]
    assert f"xnli: tiny {row['effect']:+.1f} points" in summary["answer"]
    assert "| tiny | xnli, non-English |" in (tmp_path / "report.md").read_text()


def test_evaluations_without_common_seeds_or_languages_are_listed(tmp_path: Path) -> None:
    report = run_of("modality", 0.0)
    for cell in report.cells:
        for evaluation in ("xnli", "pawsx", "mlqa"):
            scored = {"xnli": cell.seed_target == 0, "pawsx": cell.seed_target != 0, "mlqa": True}[
                evaluation
            ]
            kept = "de" if cell.arm == report.contrasts[0]["arm"] else "es"
            for language in LANGUAGES:
                if not scored or (evaluation == "mlqa" and language != kept):
                    del cell.scored[evaluation, language]  # type: ignore[attr-defined]
    summary = write_report(tmp_path, report)
    assert "tiny has no result: xnli, pawsx have no seeds in common" in summary["answer"]
    assert {row["evaluation"]: row["left_out"] for row in summary["left_out"]} == {
        "mlqa": "no language in common to all paired cells"
    }


DRAWS, POOLED_OVER, LARGE = 200, 5, 1000
CLAIMS = ("helps", "hurts", "better", "worse", "differ from zero")


def answers(planted: bool) -> list[str]:
    """The answers of simulated runs: five seeds, five evaluations of a thousand examples, a
    variance over seeds as large as that over examples. Each effect is tested as in a report: the
    pooled one as primary, the single evaluations in the heat map.
    """
    design = against_none("five seeds", [(seed, seed) for seed in range(5)])
    draws = np.random.default_rng(2026 + planted)
    parts = [
        simulated(design, "accuracy", 1.0, DRAWS, draws, planted, LARGE) for _ in range(POOLED_OVER)
    ]
    texts = []
    for draw in range(DRAWS):
        effects = [each[draw] for each, _ in parts]
        moved = [each[draw] for _, each in parts]
        pooled = (np.mean(effects, axis=0), np.concatenate(moved, axis=-1) / POOLED_OVER)
        tests = [
            ("pooled", PRIMARY, *pooled),
            *((f"e{k}", HEAT_MAP, effects[k], moved[k]) for k in range(POOLED_OVER)),
        ]
        rows = []
        for evaluation, family, effect, influence in tests:
            estimate = interval(effect, influence, design.layout)
            rows.append(
                {
                    "backbone": "b", "reference": "none", "evaluation": evaluation, "family": family,
                    "effect": estimate.effect, "ci_low": estimate.low, "ci_high": estimate.high,
                    "ci_method": estimate.method, "p": estimate.p, "mde": estimate.mde, "n_seeds": 5, "seeds": "5",
                }
            )  # fmt: skip
        table = adjusted(pd.DataFrame(rows))
        texts.append(
            answer("c", table[table["family"] == PRIMARY], table[table["family"] == HEAT_MAP], 0.95)
        )
    return texts


def test_the_answer_claims_an_effect_of_pure_noise_in_no_more_than_five_percent_of_runs() -> None:
    claimed = sum(any(word in text for word in CLAIMS) for text in answers(planted=False))
    assert stats.binomtest(claimed, DRAWS, 0.05, alternative="greater").pvalue >= 0.001


def test_the_answer_finds_three_planted_points_in_four_of_five_runs() -> None:
    assert sum(": helps" in text for text in answers(planted=True)) >= 0.8 * DRAWS
