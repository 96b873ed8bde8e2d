"""Cells of a run for experiment trackers: parameters, tags, curves and scores."""

from typing import Any

import pandas as pd

from xstilts.analysis.tracked_runs import CELL, TrackedRun, tracked_runs

EXPANDED = {
    "cells": [
        {"id": "b.x.squad.i0.t1", "backbone": "b", "arm": "x", "seed_intermediate": 0, "seed_target": 1,
         "trained_target": "squad", "chain": ["f1", "f2"], "scores": {"xquad": "s1"}},
        {"id": "b.none.none", "backbone": "b", "arm": "none", "seed_intermediate": None, "seed_target": None,
         "trained_target": "none", "chain": [], "scores": {"tatoeba": "s2"}},
        {"id": "b.y.squad.i0.t1", "backbone": "b", "arm": "y", "seed_intermediate": 0, "seed_target": 1,
         "trained_target": "squad", "chain": ["f3"], "scores": {"xquad": "s3"}},
    ],
    "steps": {
        name: {"spec": {"stage": stage, "name": task, "tuning": {"mode": "lora"}, "recipe": {"lr": rate, "betas": [1]}}}
        for name, stage, task, rate in (("f1", "intermediate", "vqa", 0.1), ("f2", "target", "squad", 0.2), ("f3", "intermediate", "gqa", 0.3), ("f4", "target", "siqa", 0.4), ("f5", "target", "copa", 0.5))
    },
}  # fmt: skip
CURVES = {"f1": {"loss": [(1, 0.5, 2.0)]}, "f2": {"dev": [(1, 0.1, 60.0)]}}


def results() -> pd.DataFrame:
    keys = (*CELL, "checkpoint", "evaluation", "metric", "language", "value")
    rows = [
        ("b", "x", 0, 1, "squad", "selected", "xquad", "squad", "avg", 50.0),
        ("b", "x", 0, 1, "squad", "last", "xquad", "squad", "avg", 49.0),
        ("b", "x", 0, 1, "squad", "selected", "xquad", "squad_f1", "avg", 60.0),
        ("b", "x", 0, 1, "squad", "selected", "xquad", "squad", "de", 40.0),
        ("b", "none", None, None, "none", "selected", "tatoeba", "accuracy", "avg", 9.0),
    ]
    table = pd.DataFrame([dict(zip(keys, row, strict=True)) for row in rows])
    return table.astype({"seed_intermediate": "Int64", "seed_target": "Int64"})


def cells() -> list[TrackedRun]:
    return list(tracked_runs(EXPANDED, results(), lambda fp: CURVES.get(fp, {}), {"plan": "p"}))


def test_a_cell_has_its_seeds_recipes_manifests_curves_and_scores() -> None:
    cell = cells()[0]
    assert cell.parameters == {
        "backbone": "b", "arm": "x", "seed_intermediate": 0, "seed_target": 1, "trained_target": "squad",
        "intermediate.task": "vqa", "intermediate.tuning": "lora", "intermediate.lr": 0.1,
        "target.task": "squad", "target.tuning": "lora", "target.lr": 0.2,
    }  # fmt: skip
    assert cell.tags == {
        "plan": "p",
        "manifest.intermediate": "steps/finetune/f1/manifest.json",
        "manifest.target": "steps/finetune/f2/manifest.json",
        "manifest.xquad": "steps/score/s1/manifest.json",
    }
    assert cell.curves == {
        "intermediate/loss": [(1, 0.5, 2.0)],
        "target/dev": [(1, 0.1, 60.0)],
    }


def test_scores_are_those_of_the_selected_weights() -> None:
    scores: Any = cells()[0]
    assert scores.scores == {
        "score/xquad/squad/avg": 50.0,
        "score/xquad/squad_f1/avg": 60.0,
        "score/xquad/squad/de": 40.0,
    }
    assert scores.headline == {"score/xquad/squad/avg": 50.0}


def test_a_cell_without_seeds_has_its_scores_and_one_that_did_not_run_is_left_out() -> None:
    assert [cell.name for cell in cells()] == ["b.x.squad.i0.t1", "b.none.none"]
    assert cells()[1].scores == {"score/tatoeba/accuracy/avg": 9.0}
    assert "seed_target" not in cells()[1].parameters


def test_two_trainings_of_a_target_are_told_apart() -> None:
    cell = {**EXPANDED["cells"][0], "chain": ["f1", "f4", "f5"], "trained_target": "siqa+copa"}
    expanded = {**EXPANDED, "cells": [cell]}
    curves = {"f4": {"loss": [(1, 0.5, 2.0)]}, "f5": {"loss": [(1, 0.5, 1.0)]}}
    [shown] = tracked_runs(expanded, results(), lambda fp: curves.get(fp, {}), {})
    assert shown.curves == {
        "target-siqa/loss": [(1, 0.5, 2.0)],
        "target-copa/loss": [(1, 0.5, 1.0)],
    }
    assert (shown.parameters["target-siqa.lr"], shown.parameters["target-copa.lr"]) == (0.4, 0.5)
    assert shown.parameters["intermediate.lr"] == 0.1
    assert shown.tags["manifest.target-siqa"] == "steps/finetune/f4/manifest.json"
