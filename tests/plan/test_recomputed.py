"""Which steps are recomputed although an earlier run of the plan finished them, and why."""

from collections.abc import Callable, Collection, Mapping
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from xstilts import step as steps
from xstilts.errors import CorruptError
from xstilts.plan.expansion import Expansion
from xstilts.plan.recomputed import Recomputed, earlier_run, recomputed
from xstilts.plan.show import overview, render
from xstilts.step import Step

Expanded = Callable[..., Expansion]


class Runs:
    """A store with runs that finished all of their steps, oldest first."""

    def __init__(self, **runs: Expansion) -> None:
        self.runs = runs

    def finished(self, kind: str, fingerprints: Collection[str]) -> set[str]:
        return {
            fp
            for run in self.runs.values()
            for fp, step in run.steps.items()
            if step.kind == kind and fp in fingerprints
        }

    def written(self, prefix: str) -> dict[str, tuple[int, float]]:
        files = {
            f"runs/{name}/expanded.json": (1, float(when)) for when, name in enumerate(self.runs)
        }
        return {**files, "runs/broken/run.json": (1, 99.0)}

    def get_json(self, key: str) -> Any | None:
        return self.runs[key.split("/")[1]].to_json()

    def get_bytes_at(self, key: str) -> bytes | None:
        return f"name: {self.runs[key.split('/')[1]].name}".encode()


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """versions(encode=(5, "why")): sets a newer recipe version of a kind, and its reason."""

    def bump(**kinds: tuple[int, str]) -> None:
        now = {kind: version for kind, (version, _) in kinds.items()}
        monkeypatch.setattr(steps, "RECIPE_VERSION", {**steps.RECIPE_VERSION, **now})
        for kind, (version, why) in kinds.items():
            monkeypatch.setitem(steps.RECIPE_CHANGES, kind, {version: why})

    return bump


def groups(expansion: Expansion, *runs: Expansion) -> list[Recomputed]:
    store = Runs(**{f"r{number}": run for number, run in enumerate(runs)})
    earlier = earlier_run(store, expansion.name, pytest.fail)
    assert earlier is not None
    return recomputed(expansion, earlier[1], store)


def by_kind(recomputed_steps: list[Recomputed]) -> Mapping[str, dict[tuple[str, ...], int]]:
    kinds: dict[str, dict[tuple[str, ...], int]] = {}
    for group in recomputed_steps:
        kinds.setdefault(group.kind, {})[group.reasons] = len(group.labels)
    return kinds


def test_a_repeated_plan_recomputes_nothing(expanded: Expanded) -> None:
    assert groups(expanded(), expanded()) == []


RECIPE = steps.RECIPE_VERSION["encode"]


def test_a_new_recipe_version_is_a_reason_and_its_dependents_follow(
    expanded: Expanded, versions: Callable[..., None]
) -> None:
    before = expanded()
    versions(encode=(9, "lengths count text"))
    again = by_kind(groups(expanded(), before))
    kinds = expanded().by_kind()
    assert set(again) == {"encode", "finetune", "score"}
    assert again["encode"] == {
        (f"recipe version {RECIPE} → 9: lengths count text",): len(kinds["encode"])
    }
    assert sum(again["finetune"].values()) == len(kinds["finetune"])
    assert all(reason.startswith("recomputed input steps: ") for (reason,) in again["score"])


def test_a_changed_plan_key_is_named_with_both_values(expanded: Expanded, text: str) -> None:
    after = expanded(text + "override: {squad: {lr: 1e-5}}\n")
    again = by_kind(groups(after, expanded()))
    assert set(again) == {"finetune", "score"}
    assert ("recipe.lr: 0.001 → 1e-05",) in again["finetune"]
    assert ("recomputed input steps: model",) in again["score"]


def test_a_changed_library_version_is_named(
    expanded: Expanded, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.plan import conftest

    before = expanded()
    monkeypatch.setitem(conftest.ENVIRONMENT, "torch", "2.0")
    again = by_kind(groups(expanded(), before))
    assert again["build"] == {('environment.torch: "1.0" → "2.0"',): 2}
    assert "records" not in again


def test_new_and_unfinished_steps_are_not_recomputed(expanded: Expanded, text: str) -> None:
    assert groups(expanded(text.replace("seeds: 2", "seeds: 3")), expanded()) == []

    class Unfinished(Runs):
        def finished(self, kind: str, fingerprints: Collection[str]) -> set[str]:
            return set()

    before = expanded()
    assert (
        recomputed(
            expanded(text + "override: {squad: {lr: 1e-5}}\n"), before.steps, Unfinished(old=before)
        )
        == []
    )


def test_the_newest_run_of_the_same_plan_is_compared(expanded: Expanded, text: str) -> None:
    other = expanded(text.replace("name: small", "name: other") + "override: {squad: {lr: 1e-5}}\n")
    store = Runs(
        old=expanded(text + "override: {squad: {lr: 1e-5}}\n"), new=expanded(), other=other
    )
    earlier = earlier_run(store, "small", pytest.fail)
    assert earlier is not None
    name, earlier_steps = earlier
    assert name == "new"
    assert all(isinstance(step, Step) for step in earlier_steps.values())
    assert earlier_run(store, "third", pytest.fail) is None


def test_a_run_that_is_deleted_meanwhile_is_not_compared(
    expanded: Expanded, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Runs(old=expanded(), new=expanded())
    read = store.get_json
    monkeypatch.setattr(store, "get_json", lambda key: None if "/new/" in key else read(key))
    earlier = earlier_run(store, "small", pytest.fail)
    assert earlier is not None
    assert earlier[0] == "old"


@pytest.mark.parametrize("document", ["plan.yaml", "expanded.json"])
def test_a_corrupt_run_is_named_and_not_compared(
    document: str, expanded: Expanded, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, warnings = Runs(old=expanded(), new=expanded()), list[str]()
    key = f"runs/new/{document}"
    if document == "plan.yaml":
        read = store.get_bytes_at
        monkeypatch.setattr(store, "get_bytes_at", lambda at: b"{" if at == key else read(at))
    else:

        def corrupt(at: str) -> Any:
            if at == key:
                raise CorruptError(f"{key}: corrupt")
            return read_json(at)

        read_json = store.get_json
        monkeypatch.setattr(store, "get_json", corrupt)
    earlier = earlier_run(store, "small", warnings.append)
    assert earlier is not None
    assert earlier[0] == "old"
    [warning] = warnings
    assert warning.startswith(f"not compared with the run new: {key}: corrupt")


def test_the_overview_lists_recomputed_steps(
    expanded: Expanded, versions: Callable[..., None]
) -> None:
    before = expanded()
    versions(encode=(9, "lengths count text"))
    view = overview(expanded(), {}, recomputed=groups(expanded(), before), earlier="small-1")
    assert view["compared_with"] == "small-1"
    (encode,) = (group for group in view["again"] if group["kind"] == "encode")
    assert (encode["steps"], len(encode["labels"])) == (len(before.by_kind()["encode"]),) * 2
    out = StringIO()
    Console(width=200, file=out).print(render(view))
    lines = [line.rstrip() for line in out.getvalue().splitlines() if line.startswith("  encode: ")]
    assert lines == [
        f"  encode: {encode['steps']} steps, for example {encode['labels'][0]}: {encode['reasons'][0]}"
    ]
