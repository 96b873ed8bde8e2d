"""How steps are dealt out: each once, a build with what it reads, a road never cut."""

from collections.abc import Callable

import pytest

from xstilts.plan.batches import (
    KINDS,
    MOST,
    build_batches,
    encoding_batches,
    group_batches,
    source_batches,
)
from xstilts.plan.checks import RESERVED
from xstilts.plan.expansion import Expansion
from xstilts.step import Step

Expanded = Callable[..., Expansion]


def test_records_and_builds_lie_apart(expanded: Expanded) -> None:
    """A build needs torch, which the image that makes records has not."""
    expansion = expanded()
    for batches, kind in ((expansion.sources, "records"), (expansion.builds, "build")):
        staged = [fp for batch in batches for fp in batch["steps"]]
        assert sorted(staged) == sorted(
            fp for fp, step in expansion.steps.items() if step.kind == kind
        )
    assert [batch["id"] for batch in expansion.builds] == ["builds-00", "builds-01"]


def test_without_builds_there_is_one_batch_and_nothing_in_it() -> None:
    assert build_batches({}) == [{"id": "builds-00", "steps": []}]


def test_the_id_of_every_batch_is_one_that_no_backbone_may_have(expanded: Expanded) -> None:
    expansion = expanded()
    ids = [batch["id"] for batch in (*expansion.sources, *expansion.builds, *expansion.encodings)]
    assert {one.rpartition("-")[0] for one in ids} == set(KINDS)
    assert all(RESERVED.fullmatch(one) for one in ids)


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
    builds = [Step("build", {"number": number}) for number in range(30)]
    batches = build_batches({build.fingerprint: build for build in builds})
    assert len(batches) == MOST // 2
    assert sum(len(batch["steps"]) for batch in batches) == 30


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
            assert {
                step.parents[role] for role in ("init", "model") if role in step.parents
            } <= done
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
