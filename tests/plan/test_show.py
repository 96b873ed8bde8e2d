"""Status of steps and cells, cost estimates, and the overview of `xstilts plan`."""

import io
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

import pytest
import yaml
from rich.console import Console

from xstilts.plan.expansion import Expansion
from xstilts.plan.seeds import seed_warnings
from xstilts.plan.show import overview, render
from xstilts.plan.status import cell_state, done, undone

Expanded = Callable[..., Expansion]


class FakeStore:
    def __init__(self, finished: dict[str, set[str]]) -> None:
        self._finished = finished

    def finished(self, kind: str, fingerprints: Collection[str]) -> set[str]:
        return self._finished.get(kind, set()) & set(fingerprints)


def test_done_and_undone(expanded: Expanded) -> None:
    expansion = expanded()
    kinds = expansion.by_kind()
    store = FakeStore({"records": set(kinds["records"]), "finetune": set(kinds["finetune"][:2])})
    assert done(expansion, store)["finetune"] == set(kinds["finetune"][:2])
    left = undone(expansion, store)
    assert left["records"] == set()
    assert left["finetune"] == set(kinds["finetune"][2:])
    assert left["score"] == set(kinds["score"])


def test_cell_states(expanded: Expanded) -> None:
    expansion = expanded()
    first, second = expansion.cells[0], expansion.cells[1]
    states = cell_state(
        expansion,
        {"finetune": [*first["chain"], *second["chain"]], "score": [*first["scores"].values()]},
    )
    assert (states[first["id"]], states[second["id"]], states[expansion.cells[-1]["id"]]) == (
        "done",
        "trained",
        "waiting",
    )


def test_overview(expanded: Expanded, text: str) -> None:
    expansion = expanded()
    view = overview(expansion, {"records": set(expansion.by_kind()["records"])})
    rows = {row["kind"]: row for row in view["steps"]}
    assert list(rows) == ["records", "build", "encode", "finetune", "score"]
    assert (rows["records"]["done"], rows["records"]["to_do"], rows["records"]["repeat"]) == (
        15,
        0,
        0,
    )
    # 40 cells; each of the 36 trained ones would train its whole chain
    assert (
        rows["finetune"]["without_sharing"]
        == sum(len(cell["chain"]) for cell in expansion.cells)
        == 72
    )
    assert rows["finetune"]["steps"] == 52
    again = overview(expanded(text + "reuse: none\n"))
    assert all(row["repeat"] == row["steps"] for row in again["steps"])
    out = io.StringIO()
    Console(width=160, file=out).print(render(overview(expansion, gpus=2)))
    assert "on 2 GPUs: " in out.getvalue()
    assert "unknown" not in out.getvalue()


def test_names_with_brackets_are_shown_as_they_are(expanded: Expanded, text: str) -> None:
    view = overview(expanded(text.replace("captions minus quiz", "captions [red] minus quiz")))
    out = io.StringIO()
    Console(width=160, file=out).print(render(view))
    assert "captions [red] minus quiz" in out.getvalue()


def test_skipped_languages_are_one_line_per_evaluation(expanded: Expanded) -> None:
    view = overview(expanded())
    skipped = [
        {"evaluation": "xquad", "language": code, "reason": f"no file for {code}"}
        for code in ("el", "th")
    ]
    skipped.append({"evaluation": "mlqa", "language": "hi", "reason": "no rows"})
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render({**view, "skipped_languages": skipped}))
    lines = [line for line in console.export_text().splitlines() if line.startswith("skipped")]
    assert lines == [
        "skipped 2 languages of xquad (el, th): el: no file for el",
        "skipped 1 language of mlqa (hi): no rows",
    ]


def test_without_sharing_counts_the_scores_of_intermediates(expanded: Expanded, text: str) -> None:
    view = overview(expanded(text + "intermediate_scores: true\n"))
    rows = {row["kind"]: row for row in view["steps"]}
    assert all(row["without_sharing"] >= row["steps"] for row in rows.values())
    assert rows["score"]["without_sharing"] == rows["score"]["steps"]


def test_without_sharing_is_the_sum_over_plans_of_one_cell_each(
    expanded: Expanded, text: str
) -> None:
    """Each cell as a plan of its own: one backbone, one arm beside `none`, one seed, and the
    evaluations of one target. Arms share no training and no scores.
    """

    def steps(cell: Mapping[str, Any], arms: Collection[str]) -> Counter[str]:
        plan = yaml.safe_load(text)
        plan["backbones"] = {cell["backbone"]: plan["backbones"][cell["backbone"]]}
        plan["arms"] = {name: plan["arms"][name] for name in arms}
        plan["evaluations"], plan["languages"] = list(cell["scores"]), "all"
        seeds = (cell["seed_intermediate"] or 0, cell["seed_target"] or 0)
        plan["seeds"] = {"intermediate": [seeds[0]], "target": [seeds[1]]}
        del plan["contrasts"], plan["headline"]
        kinds = expanded(yaml.safe_dump(plan)).by_kind()
        return Counter({kind: len(kinds.get(kind, ())) for kind in ("finetune", "score")})

    text = text.replace("tuning: lora", "tuning: full")
    whole, alone = expanded(text), Counter[str]()
    for cell in whole.cells:
        arm = {cell["arm"]} - {"none"}
        alone.update(steps(cell, arm))
        if arm:
            alone.subtract(steps(cell, ()))
    rows = {row["kind"]: row["without_sharing"] for row in overview(whole)["steps"]}
    assert {kind: rows[kind] for kind in alone} == alone


def test_what_is_missing_is_named_beside_a_lower_bound(expanded: Expanded) -> None:
    """The small tables have tasks without a row estimate."""
    view = overview(expanded(), gpus=2)
    assert "row lengths of task quiz" in view["cost"]["intermediate"]["missing"]
    assert view["cost"]["total"]["gpu_hours"] > 0
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render(view))
    shown = console.export_text()
    assert "at least" in shown
    assert "lower bounds, not estimated: " in shown


@pytest.mark.parametrize(
    ("seeds", "warnings"),
    [
        ("1", ["one seed: intervals are conditional on this seed"]),
        ("3", ["approximate: only 3 seeds"]),
        ("5", []),
        (
            "{intermediate: [0, 1, 2, 3], target: [0]}",
            ["1 cell on one side, 4 on the other", "conditional on the target seed"],
        ),
        ("{intermediate: [0], target: [0, 1, 2, 3]}", ["conditional on the intermediate seed"]),
        ("{intermediate: [0, 1, 2, 3], target: [0, 1]}", ["approximate: only 2 target seeds"]),
        ("{intermediate: [0, 1, 2, 3], target: [0, 1, 2, 3]}", []),
    ],
)
def test_insufficient_seeds_cause_warnings(
    expanded: Expanded, text: str, seeds: str, warnings: list[str]
) -> None:
    """Without raw retrieval, where `none` has no seed."""
    plan = text.replace("seeds: 2", f"seeds: {seeds}").replace(", tatoeba]", "]")
    view = overview(expanded(plan))
    for line in warnings:
        assert any(line in warning for warning in view["seed_warnings"]), view["seed_warnings"]
    assert bool(view["seed_warnings"]) == bool(warnings)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render(view))
    assert ("warning: " in console.export_text()) == bool(warnings)


@pytest.mark.parametrize(
    ("target", "warnings"),
    [
        (None, []),
        (
            0,
            ["one seed: intervals are conditional on this seed and there is no test; set seeds: 5 "
             "(before training)"],
        ),
    ],
    ids=["raw retrieval", "a target training"],
)  # fmt: skip
def test_models_that_are_not_trained_need_no_seeds(target: int | None, warnings: list[str]) -> None:
    cells = [
        {"backbone": name, "trained_target": None if target is None else "squad", "arm": "none",
         "seed_intermediate": None, "seed_target": target}
        for name in ("a", "b")
    ]  # fmt: skip
    contrast = {
        "name": "before training", "arm": "none", "reference": "none",
        "backbone": "a", "reference_backbone": "b",
    }  # fmt: skip
    assert seed_warnings(cells, [contrast]) == warnings


def test_counts_agree_with_their_nouns(expanded: Expanded, text: str) -> None:
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(render({**overview(expanded(), gpus=1), "cells": 1, "limit": 1}))
    shown = console.export_text()
    assert "small: 1 cell\n" in shown
    assert "at most 1 row of each split and 1 update of each training" in shown
    assert "on 1 GPU: " in shown
    assert not re.search(r"\b1 \w*(GPUs|cells|rows|updates|groups|workers|paths)\b", shown)
