"""A plan's overrides, for all backbones and for one."""

from collections.abc import Callable

import pytest

from xstilts.plan.expansion import Expansion
from xstilts.plan.problems import InvalidPlan
from xstilts.plan.recipes import Recipes
from xstilts.plan.schema import load_plan
from xstilts.plan.tables import Tables

FULL = "    tuning: full\n"


def test_a_backbones_override_comes_before_the_plans_and_leaves_other_backbones_alone(
    text: str, tables: Tables
) -> None:
    own = text.replace(FULL, FULL + "    override: {squad: {lr: 2.0e-5, updates: 9}}\n")
    plan = load_plan(own + "override: {squad: {lr: 3.0e-4, epochs: 4, warmup: 0.2}}\n", tables)
    recipes = Recipes(plan, tables)
    tiny, llava = (recipes.full("squad", plan.backbones[name]) for name in ("tiny", "tiny-llava"))
    assert (tiny["lr"], tiny["updates"], tiny.get("epochs"), tiny["warmup"]) == (2e-5, 9, None, 0.2)
    assert (llava["lr"], llava.get("updates"), llava["epochs"], llava["warmup"]) == (3e-4, None, 4, 0.2)


def test_backbones_of_one_family_and_mode_keep_their_own_overrides(text: str, tables: Tables) -> None:
    twin = "  twin:\n    build: {family: xlm_r, seed: 1}\n    override: {squad: {lr: 7.0e-5}}\narms:\n"
    plan = load_plan(text.replace("arms:\n", twin), tables)
    recipes = Recipes(plan, tables)
    assert [recipes.full("squad", plan.backbones[name])["lr"] for name in ("tiny", "twin")] == [1e-3, 7e-5]


def test_a_backbones_override_of_a_task_that_the_plan_does_not_use_is_a_mistake(text: str, tables: Tables) -> None:
    with pytest.raises(InvalidPlan, match=r"backbones.tiny.override.ud_en: the plan does not use this task"):
        load_plan(text.replace(FULL, FULL + "    override: {ud_en: {lr: 1}}\n"), tables)


def test_a_backbones_override_is_listed_with_its_name(text: str, expanded: Callable[..., Expansion]) -> None:
    expansion = expanded(text.replace(FULL, FULL + "    override: {squad: {lr: 0.5}}\n"))
    row = {"kind": "recipe", "task": "squad", "key": "lr", "value": 0.5, "backbone": "tiny"}
    assert row in expansion.overrides
