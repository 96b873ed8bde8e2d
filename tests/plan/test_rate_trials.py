"""Learning rate trials: what a trial contains and reads, and how a rate is picked."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml

from xstilts.errors import PlanError
from xstilts.plan.expand import expand
from xstilts.plan.load import load_plan
from xstilts.plan.rate_trials import (
    EVALUATE_AT_END,
    TrialScore,
    dev_score,
    override_yaml,
    pick_rates,
    plan_text,
    trained_targets,
    trials,
    untried_targets,
)
from xstilts.plan.schema import Plan
from xstilts.plan.step_recipes import Recipes
from xstilts.plan.tables import Tables
from xstilts.step import Step
from xstilts.tasks.recipes import GRIDS, recipe

GRID = {"miniature": {"full": (2e-5, 1e-5), "lora": (1e-4,)}}
Expanded = Callable[..., Any]


def read(text: str, tables: Tables) -> Plan:
    return load_plan(text, tables)


def finetunes(plan: Plan, tables: Tables) -> list[Step]:
    return [
        step for step in expand(plan, set(), {}, tables).steps.values() if step.kind == "finetune"
    ]


def test_each_mode_and_rate_has_a_trial_with_the_backbones_of_that_mode(
    text: str, tables: Tables
) -> None:
    derived = trials(read(text, tables), tables, GRID)
    assert [(trial.plan.name, trial.rate, list(trial.plan.backbones)) for trial in derived] == [
        ("small.rate-full-1e-05", 1e-5, ["tiny"]),
        ("small.rate-full-2e-05", 2e-5, ["tiny"]),
        ("small.rate-lora-0.0001", 1e-4, ["tiny-llava"]),
    ]


def test_a_trial_has_only_the_arm_none_and_the_first_seed(text: str, tables: Tables) -> None:
    plan = trials(read(text, tables), tables, GRID)[0].plan
    assert {name: arm.parts for name, arm in plan.arms.items()} == {"none": ()}
    assert plan.seeds == ((0, 0),)
    assert not plan.contrasts
    assert plan.headline is None


def test_a_trial_reads_only_english(text: str, tables: Tables) -> None:
    for trial in trials(read(text, tables), tables, GRID):
        steps = expand(trial.plan, set(), {}, tables).steps.values()
        # Text that a tiny backbone is built from may have more languages.
        languages = {
            s.spec["language"] for s in steps if s.kind == "records" and s.spec["split"] != "text"
        }
        assert languages == {"en"}
        assert {
            s.spec["rows"] for s in steps if s.kind == "records" and s.spec["split"] == "test"
        } == {1}


def test_a_trial_changes_only_the_rate_and_the_selection_of_a_training(
    text: str, tables: Tables
) -> None:
    longer = (
        text
        + "override: {squad: {lr: 5e-4, epochs: 3, weight_decay: 0.1}}\nrows: {squad: {train: 50}}\n"
    )
    plan = read(longer, tables)
    [original] = [
        s for s in finetunes(plan, tables)
        if s.spec["name"] == "squad" and s.spec["stage"] == "target" and s.spec["seed"]["value"] == 0
        and s.spec["family"] == "xlm_r" and "init" not in s.parents
    ]  # fmt: skip
    [tried] = finetunes(trials(plan, tables, GRID)[0].plan, tables)
    assert tried.spec["recipe"] == {
        **original.spec["recipe"],
        "lr": 1e-5,
        "selection": EVALUATE_AT_END,
    }
    assert {**tried.spec, "recipe": None} == {**original.spec, "recipe": None}
    assert original.parents.items() <= tried.parents.items()
    assert set(tried.parents) - set(original.parents) == {"select:squad"}


def test_a_recipe_with_selection_keeps_its_interval_and_its_step(text: str, tables: Tables) -> None:
    plan = read(text + "override: {squad: {selection: 7, lr: 1e-5}}\n", tables)
    [tried] = finetunes(trials(plan, tables, GRID)[0].plan, tables)
    assert tried.spec["recipe"]["selection"] == 7
    assert tried.fingerprint in {step.fingerprint for step in finetunes(plan, tables)}


def test_a_target_keeps_the_split_that_an_evaluation_without_english_set(
    text: str, tables: Tables
) -> None:
    plan = read(text + "splits: {mlqa: {train: {split: other}}}\n", tables)
    tried = trials(plan, tables, GRID)[0].plan
    assert list(tried.evaluations) == ["xquad"]
    assert tried.splits["squad"].train is not None
    assert tried.splits["squad"].train.split == "other"


def test_a_trial_can_be_written_and_read_as_yaml(text: str, tables: Tables) -> None:
    longer = (
        text
        + "override: {squad: {lr: 5e-4}, siqa: {lr: 1}}\nrows: {train: 90, squad: {select: 5}}\nreuse: none\n"
    )
    for trial in trials(read(longer, tables), tables, GRID):
        assert load_plan(plan_text(trial.plan), tables) == trial.plan
        assert trial.plan.reuse == "exact"


def test_a_long_name_is_cut_to_a_valid_name(text: str, tables: Tables) -> None:
    plan = read(text.replace("name: small", f"name: {'n' * 63}"), tables)
    assert trials(plan, tables, GRID)[0].plan.name == "n" * (63 - 16) + ".rate-full-1e-05"


def test_targets_without_trials_are_known(text: str, tables: Tables) -> None:
    assert untried_targets(read(text, tables), tables) == ["siqa", "copa"]  # xcopa has no English


@pytest.mark.parametrize(
    ("more", "grids", "message"),
    [
        ({"backbones": ["tinny"]}, GRID, "no such backbone: tinny; the plan has tiny, tiny-llava"),
        ({"rates": (1e-5,)}, GRID, "full: tiny; lora: tiny-llava.*--backbone"),
        ({}, {}, "'miniature' has no grid of rates for full; give --grid"),
        (
            {"rates": (1e-5, 1e-5), "backbones": ["tiny"]},
            GRID,
            "must be positive, finite and distinct",
        ),
        (
            {"rates": (float("nan"),), "backbones": ["tiny"]},
            GRID,
            "must be positive, finite and distinct",
        ),
        (
            {"rates": (float("inf"),), "backbones": ["tiny"]},
            GRID,
            "must be positive, finite and distinct",
        ),
        ({"rates": (0.0,), "backbones": ["tiny"]}, GRID, "must be positive, finite and distinct"),
    ],
    ids=["backbone", "two modes", "no grid", "twice", "nan", "infinite", "zero"],
)
def test_impossible_trials_are_refused(
    text: str, tables: Tables, more: Mapping[str, Any], grids: Any, message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        trials(read(text, tables), tables, grids, **more)


def test_a_plan_without_english_dev_is_refused(text: str, tables: Tables) -> None:
    plan = read(
        text.replace("[xquad, mlqa, xcopa, tatoeba]", "[xcopa, tatoeba]").replace(
            "[en, de]", "[de]"
        ),
        tables,
    )
    with pytest.raises(PlanError, match="no evaluation of the plan has English"):
        trials(plan, tables, GRID)


def test_finetune_steps_of_a_trial_are_named_by_backbone_and_target(
    text: str, tables: Tables
) -> None:
    plan = trials(read(text, tables), tables, GRID)[2].plan
    assert list(trained_targets(expand(plan, set(), {}, tables)).values()) == [
        ("tiny-llava", "squad")
    ]


def test_the_dev_score_is_that_of_the_kept_weights() -> None:
    looks = [
        {"update": 5, "value": 40.0},
        {"update": 10, "value": 61.5},
        {"update": 12, "value": 60.0},
    ]
    assert dev_score({"selection": {"update": 10, "looks": looks}}) == 61.5
    assert dev_score({"loss": 0.1}) is None


def scores(table: Mapping[tuple[str, str, float], float | None]) -> list[TrialScore]:
    return [TrialScore(*key, value) for key, value in table.items()]


def test_the_best_mean_over_targets_wins_for_each_backbone() -> None:
    picks = pick_rates(scores({
        ("a", "mnli", 1e-5): 80.0, ("a", "mnli", 2e-5): 70.0, ("a", "ud", 1e-5): 50.0, ("a", "ud", 2e-5): 64.0,
        ("b", "mnli", 1e-4): 30.0, ("b", "mnli", 2e-4): 40.0,
    }))  # fmt: skip
    assert {name: pick.rate for name, pick in picks.items()} == {"a": 2e-5, "b": 2e-4}
    assert picks["a"].means == {1e-5: 65.0, 2e-5: 67.0}


def test_among_equal_means_the_smallest_rate_wins() -> None:
    picks = pick_rates(
        scores({("a", "mnli", 5e-5): 60.0, ("a", "mnli", 2e-5): 60.0, ("a", "mnli", 1e-5): 59.0})
    )
    assert picks["a"].rate == 2e-5


def test_every_missing_score_is_listed() -> None:
    with pytest.raises(PlanError) as refused:
        pick_rates(
            scores({("a", "mnli", 1e-5): 1.0, ("a", "mnli", 2e-5): None, ("b", "ud", 1e-4): None})
        )
    assert str(refused.value).splitlines()[1:] == ["  - a: mnli at 2e-05", "  - b: ud at 0.0001"]


def test_the_written_override_can_be_added_to_the_plan(text: str, tables: Tables) -> None:
    plan = read(text, tables)
    picks = pick_rates(
        scores(
            {
                ("tiny", "squad", 1e-5): 50.25,
                ("tiny", "squad", 2e-5): 40.0,
                ("tiny-llava", "squad", 1e-4): 9.0,
            }
        )
    )
    override = override_yaml(plan, tables, picks)
    assert "50.25" in override
    assert "siqa, copa" in override
    data = yaml.safe_load(text)
    for name, body in yaml.safe_load(override)["backbones"].items():
        data["backbones"][name].update(body)
    merged = read(yaml.safe_dump(data), tables)
    recipes = Recipes(merged, tables)
    rates = {
        n: {t: recipes.full(t, b)["lr"] for t in ("squad", "siqa", "copa")}
        for n, b in merged.backbones.items()
    }
    assert rates == {"tiny": dict.fromkeys(("squad", "siqa", "copa"), 1e-5),
                     "tiny-llava": dict.fromkeys(("squad", "siqa", "copa"), 1e-4)}  # fmt: skip


def test_the_vlm_grids_hold_the_recipes_starting_points() -> None:
    for mode, rates in GRIDS["vlm"].items():
        assert recipe("vlm", "mnli", "llava", mode)["lr"] in rates


def test_modality_tries_each_tuning_mode_on_its_own_grid(plans: Any) -> None:
    tables = Tables.shipped()
    plan = load_plan(plans / "modality.yaml")
    derived = trials(plan, tables, GRIDS)
    assert [(trial.rate, sorted(trial.plan.backbones)) for trial in derived] == [
        (1e-4, ["llava-1.5-7b", "qwen2.5-7b", "qwen2.5-vl-7b", "vicuna-7b", "xlm-r-large-lora"]),
        (2e-4, ["llava-1.5-7b", "qwen2.5-7b", "qwen2.5-vl-7b", "vicuna-7b", "xlm-r-large-lora"]),
        (1e-5, ["xlm-r-large"]), (2e-5, ["xlm-r-large"]), (5e-5, ["xlm-r-large"]),
    ]  # fmt: skip
    assert list(derived[0].plan.evaluations) == ["xnli", "udpos", "wikiann", "xquad", "tydiqa"]
    assert untried_targets(plan, tables) == ["siqa", "copa", "squad_dual"]
    for trial in derived:
        assert load_plan(plan_text(trial.plan)) == trial.plan
