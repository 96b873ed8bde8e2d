"""The proposal of groups and workers."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from xstilts.models.published import PUBLISHED
from xstilts.plan import show
from xstilts.plan.cost import Cost, step_costs
from xstilts.plan.expansion import Expansion
from xstilts.plan.group_shape import GroupShape, least_workers, proposal
from xstilts.plan.makespan import hours_of_groups
from xstilts.plan.show import overview

Expanded = Callable[..., Expansion]
LARGE = """
  tiny:
    hub: Qwen/Qwen2.5-VL-7B-Instruct
    revision: "0000000000000000000000000000000000000000"
    family: qwen2_5_vl
    dtype: bfloat16
"""


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
    ("tuning", "gib", "most", "workers"),
    [
        ("lora", 80, 8, 1),
        ("full", 80, 8, 2),  # 7.6 B float32 weights with gradients and moments do not fit on one
        ("full", 8, 8, None),
        ("lora", 8, 0, None),
    ],
)
def test_models_that_do_not_fit_on_a_gpu_are_sharded(
    expanded: Expanded, text: str, tuning: str, gib: int, most: int, workers: int | None
) -> None:
    start, end = text.index("  tiny:"), text.index("  tiny-llava:")
    large = LARGE.strip("\n") + f"\n    tuning: {tuning}\n"
    expansion = expanded(text[:start] + large + text[end:])
    config = dict(PUBLISHED["Qwen/Qwen2.5-VL-7B-Instruct"].config)
    plan: dict[str, Any] = {**expansion.plan, "resources": {"gpu_memory_gib": gib}}
    expansion = replace(expansion, configs={**expansion.configs, "tiny": config}, plan=plan)
    least = least_workers(expansion, most)
    if workers is None:
        assert least is None
    else:
        assert least is not None
        assert (least > 1) == (workers > 1)


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
        "groups_per_backbone": own or groups,
        "workers": 1,
        "proposal": {**vars(shape), "resources": shape.resources},
    }
    text = show._proposed(on)
    assert ("by default 4, as in the plan" in text) == (setting is not None)
    assert setting is None or setting in text
    assert ("finish first on 8 GPUs: 2.0 hours" in text) == (own is not None)
