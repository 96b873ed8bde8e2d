"""How steps are dealt out: each once, a build with what it reads, a road never cut."""

from collections.abc import Callable

import pytest

from xstilts.plan.batches import MOST, encoding_batches, group_batches, source_batches
from xstilts.plan.expansion import Expansion
from xstilts.plan.step import Step

Expanded = Callable[..., Expansion]


def test_builds_lie_with_their_records(expanded: Expanded) -> None:
    expansion = expanded()
    kinds = [[expansion.steps[fp].kind for fp in batch["steps"]] for batch in expansion.sources]
    assert kinds[:2] == [["records"] * 3 + ["build"]] * 2
    assert set(kinds[2]) == {"records"}
    staged = {fp for batch in expansion.sources for fp in batch["steps"]}
    assert staged == {fp for fp, step in expansion.steps.items() if step.kind in ("records", "build")}
    assert [batch["id"] for batch in expansion.sources] == ["sources-00", "sources-01", "sources-02"]


def test_encodings_by_backbone(expanded: Expanded) -> None:
    expansion = expanded()
    assert [{expansion.steps[fp].spec["family"] for fp in batch["steps"]} for batch in expansion.encodings] == [
        {"xlm_r"}, {"llava"},
    ]  # fmt: skip


@pytest.mark.parametrize("processors", [1, 5, 40])
def test_never_too_many_batches(processors: int) -> None:
    steps = {}
    for processor in range(processors):
        for number in range(1000 // processors):
            step = Step("encode", {"processor": str(processor), "number": number})
            steps[step.fingerprint] = step
    for number in range(500):
        step = Step("records", {"source": {"path": f"org/{number}"}})
        steps[step.fingerprint] = step
    for dealt, kind in ((encoding_batches(steps), "encode"), (source_batches(steps), "records")):
        assert 1 < len(dealt) <= MOST
        flat = [fp for batch in dealt for fp in batch["steps"]]
        assert sorted(flat) == sorted(fp for fp, step in steps.items() if step.kind == kind)


def test_many_builds_share_batches() -> None:
    steps = {}
    for number in range(30):
        records = Step("records", {"source": {"path": "org/text"}, "number": number % 3})
        build = Step("build", {"number": number}, {"text:t:en": records.fingerprint})
        steps |= {records.fingerprint: records, build.fingerprint: build}
    batches = source_batches(steps)
    assert len(batches) == MOST // 2
    for batch in batches:
        held: set[str] = set()
        for fp in batch["steps"]:
            assert set(steps[fp].parents.values()) <= held
            held.add(fp)


@pytest.mark.parametrize("groups", [1, 3])
def test_groups_keep_roads_whole(groups: int, expanded: Expanded, text: str) -> None:
    expansion = expanded(text + f"resources: {{groups: {groups}}}\n")
    assert len(expansion.groups) == 2 * groups
    assert len({group["id"] for group in expansion.groups}) == len(expansion.groups)
    every: list[str] = []
    for group in expansion.groups:
        done: set[str] = set()
        for fp in [*group["finetune"], *group["score"]]:
            step = expansion.steps[fp]
            assert {step.parents[role] for role in ("init", "model") if role in step.parents} <= done
            done.add(fp)
        stages = [expansion.steps[fp].spec["stage"] for fp in group["finetune"]]
        assert stages == sorted(stages)  # intermediates first
        every += done
    wanted = [fp for fp, step in expansion.steps.items() if step.kind in ("finetune", "score")]
    assert sorted(every) == sorted(wanted)


def test_no_group_without_work() -> None:
    step = Step("score", {"evaluation": "tatoeba"})
    [group] = group_batches({step.fingerprint: step}, {"b": [step.fingerprint]}, 1)
    assert group == {"id": "b", "backbone": "b", "finetune": [], "score": [step.fingerprint]}
