"""Hours of a plan on N GPUs."""

from collections.abc import Callable, Sequence

import pytest

from xstilts.plan.cost import step_costs
from xstilts.plan.cost_assumptions import assumed
from xstilts.plan.expansion import Expansion
from xstilts.plan.makespan import hours_of_groups, hours_of_paths, makespan, paths

Expanded = Callable[..., Expansion]


@pytest.mark.parametrize(
    ("jobs", "slots", "hours"),
    [
        ([], 3, 0),
        ([5], 3, 5),  # one job cannot be split
        ([1, 2, 3, 4], 1, 10),
        ([1, 2, 3, 4], 2, 5),  # 4 + 1 and 3 + 2
        ([3, 3, 2, 2, 2], 2, 7),  # longest first; the best is 6
    ],
)
def test_the_longest_job_starts_first(jobs: Sequence[float], slots: int, hours: float) -> None:
    assert makespan(jobs, slots) == hours


def test_groups_start_in_their_order() -> None:
    assert makespan([1, 2, 3, 4], 2, longest_first=False) == 6  # 1 + 3 and 2 + 4


def test_no_slot_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one slot"):
        makespan([1], 0)


def test_a_path_has_every_step_after_the_steps_that_it_continues(expanded: Expanded) -> None:
    expansion = expanded()
    all_paths = paths(expansion)
    steps = [fingerprint for path in all_paths for fingerprint in path]
    assert sorted(steps) == sorted(
        fp for fp, step in expansion.steps.items() if step.kind in ("finetune", "score")
    )
    for path in all_paths:
        for place, fingerprint in enumerate(path):
            parents = expansion.steps[fingerprint].parents
            for role in ("init", "model"):
                assert role not in parents or parents[role] in path[:place]


def test_more_gpus_are_not_slower_and_one_gpu_takes_the_sum(expanded: Expanded) -> None:
    expansion = expanded()
    costs = step_costs(expansion, 1.0)
    total = sum(cost.hours for cost in costs.values())
    hours = [hours_of_paths(expansion, costs, gpus) for gpus in (1, 2, 4, 8)]
    assert hours[0] == pytest.approx(total)
    assert hours == sorted(hours, reverse=True)
    longest = max(sum(costs[fp].hours for fp in path) for path in paths(expansion))
    assert hours_of_paths(expansion, costs, 1000) == pytest.approx(longest)


def test_groups_wait_for_all_of_their_gpus(expanded: Expanded, text: str) -> None:
    resources = "resources: {workers: 4, gpus_per_worker: 1}\n"
    expansion = expanded(text + resources)
    costs = step_costs(expansion)
    first, second = (
        sum(costs[fp].hours for fp in (*group["finetune"], *group["score"]))
        for group in expansion.groups
    )
    start = assumed("group") / 3600
    first, second = first + start, second + start
    assert hours_of_groups(expansion, costs, 8) == pytest.approx(max(first, second))
    assert hours_of_groups(expansion, costs, 7) == pytest.approx(first + second)
    assert hours_of_groups(expansion, costs, 2) == pytest.approx(2 * (first + second))


def test_finished_steps_take_no_time(expanded: Expanded) -> None:
    expansion = expanded()
    costs = step_costs(expansion)
    done = {kind: set(fps) for kind, fps in expansion.by_kind().items()}
    assert hours_of_groups(expansion, costs, 4, done) == 0
    assert hours_of_paths(expansion, costs, 4, done) == 0
