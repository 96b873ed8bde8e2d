"""Batches and groups: every step once, training paths never split."""

from collections.abc import Callable

import pytest

from xstilts.plan.batches import (
    KINDS,
    MAX_BATCHES,
    build_batches,
    encoding_batches,
    group_batches,
    source_batches,
)
from xstilts.plan.checks import RESERVED
from xstilts.plan.expansion import Expansion
from xstilts.step import Step

Expanded = Callable[..., Expansion]


def test_records_and_builds_are_separate_batches(expanded: Expanded) -> None:
    """A build needs torch, which the image that makes records does not contain."""
    expansion = expanded()
    for batches, kind in ((expansion.sources, "records"), (expansion.builds, "build")):
        staged = [fp for batch in batches for fp in batch["steps"]]
        assert sorted(staged) == sorted(
            fp for fp, step in expansion.steps.items() if step.kind == kind
        )
    assert [batch["id"] for batch in expansion.builds] == ["builds-00", "builds-01"]


def test_without_builds_there_is_one_empty_batch() -> None:
    assert build_batches({}) == [{"id": "builds-00", "steps": []}]


def test_batch_ids_are_reserved_names(expanded: Expanded) -> None:
    expansion = expanded()
    ids = [batch["id"] for batch in (*expansion.sources, *expansion.builds, *expansion.encodings)]
    assert {name.rpartition("-")[0] for name in ids} == set(KINDS)
    assert all(RESERVED.fullmatch(name) for name in ids)


def test_encodings_are_grouped_by_processor(expanded: Expanded) -> None:
    expansion = expanded()
    assert [{expansion.steps[fp].spec["family"] for fp in batch["steps"]} for batch in expansion.encodings] == [
        {"xlm_r"}, {"llava"},
    ]  # fmt: skip


@pytest.mark.parametrize("processors", [1, 5, 40])
def test_the_number_of_batches_is_limited(processors: int) -> None:
    steps = {}
    for processor in range(processors):
        for number in range(1000 // processors):
            step = Step("encode", {"processor": str(processor), "number": number})
            steps[step.fingerprint] = step
    for number in range(500):
        step = Step("records", {"source": {"path": f"org/{number}"}})
        steps[step.fingerprint] = step
    for batches, kind in ((encoding_batches(steps), "encode"), (source_batches(steps), "records")):
        assert 1 < len(batches) <= MAX_BATCHES
        flat = [fp for batch in batches for fp in batch["steps"]]
        assert sorted(flat) == sorted(fp for fp, step in steps.items() if step.kind == kind)


def test_many_builds_share_batches() -> None:
    builds = [Step("build", {"number": number}) for number in range(30)]
    batches = build_batches({build.fingerprint: build for build in builds})
    assert len(batches) == MAX_BATCHES // 2
    assert sum(len(batch["steps"]) for batch in batches) == 30


@pytest.mark.parametrize("groups", [1, 3])
def test_groups_do_not_split_training_paths(groups: int, expanded: Expanded, text: str) -> None:
    expansion = expanded(text + f"resources: {{groups: {groups}}}\n")
    assert len(expansion.groups) == 2 * groups
    assert len({group["id"] for group in expansion.groups}) == len(expansion.groups)
    assigned: list[str] = []
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
        assigned += done
    expected = [fp for fp, step in expansion.steps.items() if step.kind in ("finetune", "score")]
    assert sorted(assigned) == sorted(expected)


def test_a_group_can_consist_of_scores_only() -> None:
    step = Step("score", {"evaluation": "tatoeba"})
    [group] = group_batches({step.fingerprint: step}, {"b": [step.fingerprint]}, 1)
    assert group == {"id": "b", "backbone": "b", "finetune": [], "score": [step.fingerprint]}
