"""Overrides of a plan and of its backbones, answer limits and image budgets."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from xstilts.models.families import FAMILIES
from xstilts.plan.expansion import Expansion
from xstilts.plan.load import load_plan
from xstilts.plan.plan_errors import InvalidPlan
from xstilts.plan.step_recipes import Recipes
from xstilts.plan.tables import Tables
from xstilts.tasks.recipes import SETS, recipe

FULL = "    tuning: full\n"


def test_a_backbones_override_precedes_the_plans_and_applies_to_no_other_backbone(
    text: str, tables: Tables
) -> None:
    changed = text.replace(FULL, FULL + "    override: {squad: {lr: 2.0e-5, updates: 9}}\n")
    plan = load_plan(changed + "override: {squad: {lr: 3.0e-4, epochs: 4, warmup: 0.2}}\n", tables)
    recipes = Recipes(plan, tables)
    tiny, llava = (recipes.full("squad", plan.backbones[name]) for name in ("tiny", "tiny-llava"))
    assert (tiny["lr"], tiny["updates"], tiny.get("epochs"), tiny["warmup"]) == (2e-5, 9, None, 0.2)
    assert (llava["lr"], llava.get("updates"), llava["epochs"], llava["warmup"]) == (
        3e-4,
        None,
        4,
        0.2,
    )


def test_backbones_of_one_family_and_mode_keep_their_own_overrides(
    text: str, tables: Tables
) -> None:
    twin = (
        "  twin:\n    build: {family: xlm_r, seed: 1}\n    override: {squad: {lr: 7.0e-5}}\narms:\n"
    )
    plan = load_plan(text.replace("arms:\n", twin), tables)
    recipes = Recipes(plan, tables)
    assert [recipes.full("squad", plan.backbones[name])["lr"] for name in ("tiny", "twin")] == [
        1e-3,
        7e-5,
    ]


def test_a_backbones_override_of_an_unused_task_is_an_error(text: str, tables: Tables) -> None:
    with pytest.raises(
        InvalidPlan, match=r"backbones.tiny.override.ud_en: the plan does not use this task"
    ):
        load_plan(text.replace(FULL, FULL + "    override: {ud_en: {lr: 1}}\n"), tables)


def test_a_backbones_override_is_listed_with_its_name(
    text: str, expanded: Callable[..., Expansion]
) -> None:
    expansion = expanded(text.replace(FULL, FULL + "    override: {squad: {lr: 0.5}}\n"))
    row = {"kind": "recipe", "task": "squad", "key": "lr", "value": 0.5, "backbone": "tiny"}
    assert row in expansion.overrides


@pytest.mark.parametrize(
    ("set_", "family", "limit"),
    [
        ("xtreme_r", "xlm_r", {"tokens": 30}),
        ("phang_2020", "xlm_r", {"tokens": 30}),
        ("xtreme_r", "llava", {"characters": 250}),
        ("phang_2020", "qwen_vl", {"characters": 250}),
        ("vlm", "xlm_r", {"characters": 250}),
        ("vlm", "llava", {"characters": 250}),
        ("miniature", "xlm_r", {"characters": 250}),
    ],
)
def test_only_the_official_xlm_r_recipes_limit_answers_by_tokens(
    set_: str, family: str, limit: dict[str, int]
) -> None:
    for task in ("squad", "tydiqa_en", "squad_v2"):
        for mode in ("full", "lora"):
            assert recipe(set_, task, family, mode)["answer_limit"] == limit


def test_answer_limits_belong_to_the_steps_that_predict_answers(
    text: str, expanded: Callable[..., Expansion]
) -> None:
    """Score steps of the target's evaluations, and finetune steps that select on English dev."""
    limit = {"characters": 7}

    def limits(kind: str, more: str = "") -> dict[str, list[object]]:
        override = f"override: {{squad: {{answer_limit: {{characters: 7}}{more}}}}}\n"
        by_name: dict[str, list[object]] = {}
        for step in expanded(text + override).steps.values():
            if step.kind == kind:
                spec = step.spec["recipe"] if kind == "finetune" else step.spec
                by_name.setdefault(
                    str(step.spec.get("evaluation") or step.spec["name"]), []
                ).append(spec.get("answer_limit"))
        return {name: list(dict.fromkeys(map(str, values))) for name, values in by_name.items()}

    scored = limits("score")
    assert scored["xquad"] == scored["mlqa"] == [str(limit)]
    assert scored["xcopa"] == scored["tatoeba"] == ["None"]
    assert limits("finetune")["squad"] == ["None"]
    assert str(limit) in limits("finetune", ", selection: 5")["squad"]
    assert limits("finetune", ", selection: 5")["copa"] == ["None"]


# ---- image budgets ----


def budgets(expansion: Expansion) -> dict[str, Any]:
    """Backbone → image budget of the encode step of the captions' training rows."""
    return {
        step.settings["label"].partition(":")[0]: step.spec.get("image_budget")
        for step in expansion.steps.values()
        if step.kind == "encode"
        and step.spec["task"] == "captions"
        and step.spec["split"] == "train"
    }


def test_only_rows_with_images_have_an_image_budget(
    text: str, expanded: Callable[..., Expansion]
) -> None:
    plan = text + "override: {captions: {image_tokens: 64, max_pixels: 50176}}\n"
    expansion = expanded(plan)
    assert budgets(expansion) == {
        "tiny-llava": {"image_tokens": 64, "min_pixels": None, "max_pixels": 50176}
    }
    others = [
        step
        for step in expansion.steps.values()
        if step.kind == "encode" and step.spec["task"] != "captions"
    ]
    assert others
    assert not any("image_budget" in step.spec for step in others)
    trained = next(step for step in expansion.steps.values() if step.spec.get("name") == "captions")
    assert not {"image_tokens", "min_pixels", "max_pixels", "lm_length"} & set(
        trained.spec["recipe"]
    )


@pytest.mark.parametrize("images", ["removed", "caption"])
def test_images_that_are_not_shown_have_no_budget(
    text: str, expanded: Callable[..., Expansion], images: str
) -> None:
    plan = text.replace(
        "  captions: {task: captions}", f"  captions: {{task: captions, images: {images}}}"
    )
    assert budgets(expanded(plan)) == {"tiny": None, "tiny-llava": None}


def test_min_pixels_above_max_pixels_are_an_error(text: str, tables: Tables) -> None:
    with pytest.raises(
        InvalidPlan,
        match=r"override.captions.min_pixels: 900 is more than max_pixels: 800; lower it",
    ):
        load_plan(text + "override: {captions: {min_pixels: 900, max_pixels: 800}}\n", tables)


def test_each_family_has_its_published_image_budget() -> None:
    keys = ("image_tokens", "min_pixels", "max_pixels")
    published = {
        (name, family): tuple(recipe(name, "vqa_v2", family, "lora")[key] for key in keys)
        for name in SETS
        for family in ("llava", "qwen_vl")
    }
    llava, qwen = (729, None, None), (576, 16 * 28 * 28, 576 * 28 * 28)
    assert published == {
        **{(name, "llava"): llava for name in ("xtreme_r", "phang_2020", "vlm")},
        **{(name, "qwen_vl"): qwen for name in ("xtreme_r", "phang_2020", "vlm")},
        ("miniature", "llava"): (None,) * 3, ("miniature", "qwen_vl"): (None,) * 3,
    }  # fmt: skip


def test_a_family_without_recipes_uses_those_of_another(text: str, tables: Tables) -> None:
    """BERT has XLM-R's: its answers are limited in tokens."""
    shipped = Tables.shipped()
    plan = load_plan(
        "name: b\nbackbones: {b: {hub: org/model, family: bert}}\nevaluations: [xquad]\n", shipped
    )
    recipe_of_bert = Recipes(plan, shipped).full("squad", plan.backbones["b"])
    assert recipe_of_bert == recipe("xtreme_r", "squad", "xlm_r", "full")


def test_a_contract_s_image_budget_replaces_that_of_the_recipes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vision = FAMILIES["llava"].vision
    assert vision is not None
    small = replace(FAMILIES["llava"], vision=replace(vision, budget={"image_tokens": 256}))
    monkeypatch.setitem(FAMILIES, "llava", small)
    shipped = Tables.shipped()
    plan = load_plan(
        "name: b\nbackbones: {b: {hub: org/model, family: llava}}\n"
        "arms: {a: {task: vqa_v2}}\nevaluations: [xquad]\n",
        shipped,
    )
    assert Recipes(plan, shipped).image_budget("vqa_v2", plan.backbones["b"]) == {
        "image_tokens": 256,
        "min_pixels": None,
        "max_pixels": None,
    }
