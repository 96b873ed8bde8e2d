"""Status of steps and cells, cost estimates, and the overview of `xstilts plan`."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from xstilts.plan.cost import estimate, step_cost
from xstilts.plan.expansion import Expansion
from xstilts.plan.show import overview, render
from xstilts.plan.status import cell_state, done, undone

Expanded = Callable[..., Expansion]


class FakeStore:
    def __init__(self, finished: dict[str, set[str]]) -> None:
        self.finished = finished

    def done(self, kind: str) -> set[str]:
        return self.finished.get(kind, set()) | {"of another plan"}


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
    assert "on 2 GPUs: unknown" in out.getvalue()


def test_names_with_brackets_are_shown_as_they_are(expanded: Expanded, text: str) -> None:
    view = overview(expanded(text.replace("captions minus quiz", "captions [red] minus quiz")))
    out = io.StringIO()
    Console(width=160, file=out).print(render(view))
    assert "captions [red] minus quiz" in out.getvalue()


def test_costs_of_known_models(expanded: Expanded, text: str) -> None:
    hub = "hub: llava-hf/llava-1.5-7b-hf, revision: " + "a" * 40
    plan = text.replace(
        "build: {family: llava, seed: 0, tokenizer: {from: [miniature_text]}}",
        f"{hub}\n    family: llava",
    )
    plan = plan.replace(
        f"    {hub}", f"    hub: llava-hf/llava-1.5-7b-hf\n    revision: {'a' * 40}"
    )
    expansion = expanded(plan)
    [cell] = [c for c in expansion.cells if c["id"] == "tiny-llava.none.squad.t0"]
    cost = step_cost(expansion.steps[cell["chain"][0]], expansion.steps)
    assert cost.tokens == 2 * 200 * 165  # epochs × rows × mean tokens
    assert cost.gpu_hours == 66_000 * 4 * 7.1e9 / (989e12 * 0.4) / 3600
    scored = step_cost(expansion.steps[cell["scores"]["xquad"]], expansion.steps)
    assert scored.tokens == 2 * 1190 * 363
    total = estimate(expansion)
    assert total["intermediate"].tokens is None  # quiz and captions are in no table
    assert total["target"].tokens is not None
    assert total["target"].gpu_hours is None  # the tiny backbone has no known size


def test_a_budget_in_supervised_tokens_has_no_estimate_before_encoding(
    expanded: Expanded, text: str
) -> None:
    expansion = expanded(text.replace("updates: 10", "supervised_tokens: 1000"))
    squad = next(
        step
        for step in expansion.steps.values()
        if "intermediate squad" in step.settings.get("label", "")
    )
    assert step_cost(squad, expansion.steps).tokens is None


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
