"""Measured times of finished steps scale the estimate."""

import io
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from xstilts.plan.calibration import MOST, Calibration, calibration, measured_seconds
from xstilts.plan.cost import Cost, Parts, step_costs
from xstilts.plan.expansion import Expansion
from xstilts.plan.show import overview, render

Expanded = Callable[..., Expansion]


class Manifests:
    """A store whose finished steps all took two seconds, except those without a measurement."""

    def __init__(self, unmeasured: str = "") -> None:
        self.unmeasured, self.reads = unmeasured, 0

    def manifest(self, kind: str, fingerprint: str) -> Any:
        self.reads += 1
        return SimpleNamespace(info={} if fingerprint == self.unmeasured else {"seconds": 2})


def test_finished_steps_are_measured_by_their_manifests() -> None:
    finished = {"finetune": {"a", "b"}, "score": {"c"}, "records": {"d"}}
    assert measured_seconds(finished, Manifests("b")) == {"a": 2, "c": 2}
    assert measured_seconds({}, Manifests()) == {}


@pytest.mark.parametrize("steps", [MOST, MOST + 1, 10 * MOST])
def test_a_limited_number_of_manifests_is_read(steps: int) -> None:
    store = Manifests()
    measured_seconds({"score": {f"{number:04}" for number in range(steps)}}, store)
    assert MOST / 2 <= store.reads <= MOST


def test_each_backbone_has_its_own_factor_and_others_that_of_the_kind(expanded: Expanded) -> None:
    expansion = expanded()
    costs = step_costs(expansion)
    groups = {group["backbone"]: group for group in expansion.groups}
    first, second = groups["tiny"]["finetune"][:2]
    seconds = {fp: costs[fp].hours * 3600 * times for fp, times in ((first, 3), (second, 3))}
    found = calibration(expansion, costs, seconds)
    assert found.steps == 2
    assert found.factor("tiny", "finetune") == pytest.approx(3)
    assert found.factor("tiny-llava", "finetune") == pytest.approx(3)
    assert found.factor("tiny", "score") == pytest.approx(3)  # not measured: that of all steps
    scaled = found.scaled(expansion, costs)
    for fingerprint, cost in costs.items():
        assert scaled[fingerprint].gpu_hours == pytest.approx(3 * cost.gpu_hours)
        assert scaled[fingerprint].tokens == cost.tokens


def test_parts_of_a_steps_time_are_weighed_one_by_one(expanded: Expanded) -> None:
    """On a machine whose starts take a tenth, launches twice and FLOPs 50 times their estimate, half
    of the steps say how long the other half takes.
    """
    expansion = expanded()
    costs, weights = step_costs(expansion), (0.1, 2.0, 50.0, 1.0, 20.0)
    true = {
        fp: 3600 * sum(w * part for w, part in zip(weights, cost.parts, strict=True))
        for fp, cost in costs.items()
    }
    steps = [fp for fp in true if expansion.steps[fp].kind == "finetune"]
    half = {fp: true[fp] for fp in steps[::2]}
    scaled = calibration(expansion, costs, half).scaled(expansion, costs)
    for fingerprint in steps[1::2]:
        assert scaled[fingerprint].hours * 3600 == pytest.approx(true[fingerprint], rel=0.02)


def test_scoring_has_the_weight_of_flops_from_training(expanded: Expanded) -> None:
    """Launches and FLOPs of the measured score steps grow together, so that these steps alone do
    not say which of the two takes their time. Those of another plan do not grow together.
    """
    expansion = expanded()
    kinds = expansion.by_kind()
    training = {
        fp: of_parts(launch=1 + number % 3, compute=1 + number % 5)
        for number, fp in enumerate(kinds["finetune"])
    }
    scoring = {fp: of_parts(launch=n, compute=n) for n, fp in enumerate(kinds["score"], 1)}
    launches = {"finetune": 2, "score": 30}
    seconds = {
        fp: 3600
        * (launches[expansion.steps[fp].kind] * cost.parts.launch + 50 * cost.parts.compute)
        for fp, cost in (training | scoring).items()
    }
    found = calibration(expansion, training | scoring, seconds)
    [step] = kinds["score"][:1]
    for launch, compute in ((1, 0), (0, 1), (3, 7)):
        [scaled] = found.scaled(
            only(expansion, step), {step: of_parts(launch=launch, compute=compute)}
        ).values()
        assert scaled.hours == pytest.approx(30 * launch + 50 * compute)


def test_a_part_that_no_measured_step_has_keeps_its_share_of_the_estimate(
    expanded: Expanded,
) -> None:
    expansion = expanded()
    steps = expansion.by_kind()["finetune"]
    costs = {fp: of_parts(launch=1 + n % 3, compute=1 + n % 5) for n, fp in enumerate(steps)}
    seconds = {fp: 4 * 3600 * cost.hours for fp, cost in costs.items()}
    found = calibration(expansion, costs, seconds)
    searched = {steps[0]: of_parts(compute=2, search=3)}
    [scaled] = found.scaled(only(expansion, steps[0]), searched).values()
    assert scaled.hours == pytest.approx(4 * (2 + 3))


def of_parts(**parts: float) -> Cost:
    hours = sum(parts.values())
    return Cost(hours=hours, gpu_hours=hours, parts=Parts(**parts))


def only(expansion: Expansion, step: str) -> Expansion:
    """The expansion with one step in its groups."""
    groups = [
        {**group, **{k: [fp for fp in group[k] if fp == step] for k in ("finetune", "score")}}
        for group in expansion.groups
    ]
    return replace(expansion, groups=groups)


def test_without_finished_steps_nothing_is_scaled(expanded: Expanded) -> None:
    expansion = expanded()
    costs = step_costs(expansion)
    assert calibration(expansion, costs, {}) == Calibration()
    assert Calibration().scaled(expansion, costs) == costs


def test_the_overview_says_what_it_is_scaled_by(expanded: Expanded) -> None:
    expansion = expanded()
    costs, [step, *_] = step_costs(expansion), expansion.by_kind()["score"]
    plain = overview(expansion, gpus=2)
    view = overview(expansion, gpus=2, seconds={step: costs[step].hours * 3600 * 4})
    assert plain["calibration"] == {"steps": 0, "factors": []}
    assert view["cost"]["score"]["gpu_hours"] == pytest.approx(
        4 * plain["cost"]["score"]["gpu_hours"]
    )
    assert view["cost"]["target"]["gpu_hours"] == pytest.approx(
        4 * plain["cost"]["target"]["gpu_hours"]
    )
    assert view["hours_on_gpus"]["hours"] > plain["hours_on_gpus"]["hours"]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render(view))
    assert "scaled by 1 finished step of this store" in console.export_text()
