"""The proposal of groups and workers."""

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from xstilts.models.published import PUBLISHED
from xstilts.plan import show
from xstilts.plan.cost import Cost, step_costs
from xstilts.plan.expansion import Expansion
from xstilts.plan.group_shape import GroupShape, fits, numbers_of_workers, proposal
from xstilts.plan.makespan import hours_of_groups
from xstilts.plan.show import overview

Expanded = Callable[..., Expansion]
Large = Callable[[str, Mapping[str, Any]], Expansion]
LARGE = """
  tiny:
    hub: Qwen/Qwen2.5-VL-7B-Instruct
    revision: "0000000000000000000000000000000000000000"
    family: qwen2_5_vl
    dtype: bfloat16
"""


@pytest.fixture
def large(expanded: Expanded, text: str) -> Large:
    """Expands the plan with a backbone of 7.6 B weights, its tuning and these resources."""

    def run(tuning: str, resources: Mapping[str, Any]) -> Expansion:
        start, end = text.index("  tiny:"), text.index("  tiny-llava:")
        backbone = LARGE.strip("\n") + f"\n    tuning: {tuning}\n"
        expansion = expanded(text[:start] + backbone + text[end:])
        config = dict(PUBLISHED["Qwen/Qwen2.5-VL-7B-Instruct"].config)
        plan: dict[str, Any] = {**expansion.plan, "resources": resources}
        return replace(expansion, configs={**expansion.configs, "tiny": config}, plan=plan)

    return run


def proposed(
    expansion: Expansion, gpus: int, hours: Callable[[Cost, float], float] | None = None
) -> GroupShape | None:
    """hours: (estimate on one GPU, number of GPUs) → hours of a step."""

    def costs(width: float) -> Mapping[str, Cost]:
        single = step_costs(expansion, gpus=1.0)
        if hours is None:
            return step_costs(expansion, gpus=width)
        timed = {fp: hours(cost, width) for fp, cost in single.items()}
        return {
            fp: replace(cost, hours=timed[fp], gpu_hours=timed[fp] * width)
            for fp, cost in single.items()
        }

    return proposal(expansion, gpus, costs)


def test_steps_that_more_gpus_do_not_speed_up_have_one_gpu_each(expanded: Expanded) -> None:
    shape = proposed(expanded(), 8, lambda cost, width: 10.0)
    assert shape is not None
    assert (shape.workers, shape.at_once) == (1, 8)
    assert shape.groups >= 4  # two backbones


def test_one_gpu_has_one_group_of_one_worker(expanded: Expanded) -> None:
    shape = proposed(expanded(), 1)
    assert shape is not None
    assert (shape.groups, shape.workers, shape.at_once) == (1, 1, 1)


def test_a_single_path_that_scales_has_all_gpus(expanded: Expanded, text: str) -> None:
    single = text.replace("seeds: 2", "seeds: 1").replace(
        "[xquad, mlqa, xcopa, tatoeba]", "[xquad]"
    )
    start = single.index("  tiny-llava:")
    single = single[:start] + single[single.index("arms:") :]
    single = single[: single.index("arms:")] + single[single.index("evaluations:") :]
    shape = proposed(
        expanded(single[: single.index("contrasts:")]), 8, lambda cost, width: 100.0 / width
    )
    assert shape is not None
    assert shape.workers == 8


def test_no_other_shape_of_the_table_is_faster(expanded: Expanded, text: str) -> None:
    """Plans in every shape, each with its own groups."""
    shape = proposed(expanded(), 8)
    assert shape is not None
    for groups in (1, 2, 4, 16):
        for workers in (1, 2, 8):
            other = expanded(
                text + f"resources: {{groups: {groups}, workers: {workers}, gpus_per_worker: 1}}\n"
            )
            hours = hours_of_groups(other, step_costs(other), 8)
            assert shape.hours <= 1.011 * hours


def test_the_plan_with_the_proposal_takes_the_hours_of_the_proposal(
    expanded: Expanded, text: str
) -> None:
    before = expanded()
    view = overview(before, gpus=4)["hours_on_gpus"]["proposal"]
    lines = "".join(f"  {key}: {value}\n" for key, value in view["resources"].items())
    after = expanded(f"{text}resources:\n{lines}")
    assert overview(after, gpus=4)["hours_on_gpus"]["hours"] == pytest.approx(view["hours"])
    assert set(after.steps) == set(before.steps)


@pytest.mark.parametrize(
    ("tuning", "gib", "workers", "fit"),
    [
        ("lora", 80, 1, True),
        ("full", 80, 1, False),  # 7.6 B float32 weights with gradients and moments
        ("full", 80, 8, True),
        ("full", 8, 8, False),
        ("lora", 8, 1, False),
    ],
)
def test_a_group_fits_if_the_shares_of_its_workers_fit(
    large: Large, tuning: str, gib: int, workers: int, fit: bool
) -> None:
    assert fits(large(tuning, {"gpu_memory_gib": gib}), workers) == fit


def test_models_that_do_not_fit_on_a_gpu_are_sharded(large: Large) -> None:
    resources = {"gpu_memory_gib": 80, "workers": 8, "gpus_per_worker": 1, "sharding": "none"}
    shape = proposed(large("full", resources), 8)
    assert shape is not None
    assert shape.resources["sharding"] == "full"


@pytest.mark.parametrize(("sharding", "own"), [("none", False), ("auto", False), ("full", True)])
def test_the_shape_of_the_plan_is_the_proposal_if_all_keys_are_equal(
    large: Large, sharding: str, own: bool
) -> None:
    plain = {"gpu_memory_gib": 80, "workers": 8, "gpus_per_worker": 1, "sharding": sharding}
    view = overview(large("full", plain), gpus=8)["hours_on_gpus"]
    on = {**view, "resources": {**view["proposal"]["resources"], "sharding": sharding}}
    assert ("the plan's groups and workers finish first" in show._proposed(on)) == own


def test_a_plan_without_gpus_has_another_shape_than_the_proposal(
    expanded: Expanded, text: str
) -> None:
    on = overview(expanded(f"{text}resources: {{workers: 1, groups: 1}}\n"), gpus=1)
    assert "    gpus_per_worker: 1" in show._proposed(on["hours_on_gpus"])


@pytest.mark.parametrize(("tuning", "shown"), [("lora", True), ("full", False)])
def test_hours_of_one_gpu_per_path_need_backbones_that_fit_on_one(
    large: Large, tuning: str, shown: bool
) -> None:
    view = overview(large(tuning, {"gpu_memory_gib": 80}), gpus=8)
    assert (view["hours_on_gpus"]["hours_of_paths"] is not None) == shown
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(show.render(view))
    assert ("with one GPU for each of" in console.export_text()) == shown


@pytest.mark.parametrize(
    ("resources", "gpus", "numbers"),
    [
        ("{}", 1, [1]),
        ("{}", 8, [1, 2, 4, 8]),
        ("{workers: 3}", 8, [1, 2, 3, 4, 8]),
        ("{gpus_per_worker: 2}", 8, [1, 2, 4]),
        ("{gpus_per_worker: 0.2}", 1, [1, 2, 4]),
        ("{gpus_per_worker: 0.6}", 2, [1, 2]),
        ("{workers: 2, cluster: {workers_per_node: 2}}", 8, [2, 4, 8]),
        ("{workers: 3, cluster: {workers_per_node: 3}}", 8, [3, 6]),
        ("{workers: 5, cluster: {workers_per_node: 5}}", 8, [5]),
        ("{workers: 6, cluster: {workers_per_node: 6}}", 8, [6]),
        ("{workers: 7, cluster: {workers_per_node: 7}}", 30, [7, 14, 28]),
        ("{workers: 9, cluster: {workers_per_node: 3, min_workers: 8}}", 24, [9, 12, 24]),
        ("{workers: 8, cluster: {min_workers: 5}}", 6, [5]),
        ("{workers: 2, cluster: {min_workers: 2}}", 1, []),
        ("{workers: 3, cluster: {workers_per_node: 3}}", 2, []),
        ("{gpus_per_worker: 8}", 4, []),
    ],
)
def test_groups_have_whole_nodes(
    expanded: Expanded, text: str, resources: str, gpus: int, numbers: list[int]
) -> None:
    assert numbers_of_workers(expanded(f"{text}resources: {resources}\n"), gpus) == numbers


SMALLEST = "the smallest group that the plan allows, "


@pytest.mark.parametrize(
    ("resources", "gpus", "reason"),
    [
        (
            "{workers: 2, cluster: {min_workers: 2}}", 1,
            f"{SMALLEST}2 workers with 1 GPU each, does not fit on 1 GPU; assume more with --gpus, "
            "or lower resources.cluster.min_workers",
        ),
        (
            "{workers: 3, gpus_per_worker: 2, cluster: {workers_per_node: 3}}", 4,
            f"{SMALLEST}3 workers with 2 GPUs each, does not fit on 4 GPUs; assume more with "
            "--gpus, or lower resources.gpus_per_worker or resources.cluster.workers_per_node",
        ),
        (
            "{gpus_per_worker: 8}", 4,
            f"{SMALLEST}1 worker with 8 GPUs each, does not fit on 4 GPUs; assume more with "
            "--gpus, or lower resources.gpus_per_worker",
        ),
    ],
)  # fmt: skip
def test_a_plan_without_a_shape_says_which_keys_prevent_it(
    expanded: Expanded, text: str, resources: str, gpus: int, reason: str
) -> None:
    on = overview(expanded(f"{text}resources: {resources}\n"), gpus=gpus)["hours_on_gpus"]
    assert on["proposal"] is None
    assert show._proposed(on) == reason


@pytest.mark.parametrize(
    ("each", "reason"),
    [
        (1, "not every backbone of the plan fits on 1 GPU; assume more with --gpus"),
        (
            0.5,
            "not every backbone of the plan fits on 1 GPU with 0.5 GPUs per worker; raise "
            "resources.gpus_per_worker",
        ),
    ],
)
def test_a_plan_that_does_not_fit_says_so(large: Large, each: float, reason: str) -> None:
    expansion = large("full", {"gpu_memory_gib": 8, "gpus_per_worker": each})
    assert show._proposed(overview(expansion, gpus=1)["hours_on_gpus"]) == reason


@pytest.mark.parametrize(("each", "at_once"), [(0.2, 5), (0.1, 10), (0.6, 1), (0.4, 2), (1, 1)])
def test_as_many_groups_run_at_once_as_parts_of_a_gpu(
    expanded: Expanded, text: str, each: float, at_once: int
) -> None:
    """Steps of equal hours, so that the most groups finish first."""
    shape = proposed(
        expanded(f"{text}resources: {{gpus_per_worker: {each}}}\n"), 1, lambda cost, width: 10.0
    )
    assert shape is not None
    assert shape.at_once == at_once


def test_resources_of_the_plan_are_kept(expanded: Expanded, text: str) -> None:
    """Nodes of two workers, and halves of a GPU."""
    resources = "{workers: 2, gpus_per_worker: 0.5, cluster: {workers_per_node: 2}}"
    shape = proposed(expanded(f"{text}resources: {resources}\n"), 4)
    assert shape is not None
    assert shape.gpus_per_worker == 0.5
    assert shape.workers % 2 == 0


@pytest.mark.parametrize(
    ("groups", "at_once", "setting"),
    [(4, 8, "set `groups: 8` in the settings of the cluster"), (8, 8, None)],
)
@pytest.mark.parametrize("own", [1, None], ids=["another shape", "its own shape"])
def test_a_number_of_groups_at_once_that_is_not_the_default_is_shown(
    groups: int, at_once: int, setting: str | None, own: int | None
) -> None:
    shape = GroupShape(groups, 1, 1, None, hours=2.0, gpu_hours=16.0, at_once=at_once)
    on = {
        "gpus": 8,
        "resources": {"groups": own or groups, "workers": 1, "gpus_per_worker": 1},
        "proposal": {**vars(shape), "resources": shape.resources},
    }
    text = show._proposed(on)
    assert ("by default 4, as in the plan" in text) == (setting is not None)
    assert setting is None or setting in text
    assert ("finish first on 8 GPUs: 2.0 hours" in text) == (own is not None)
