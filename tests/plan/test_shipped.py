"""The shipped plans with the shipped tables and, if available, a mirror of real data."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from xstilts.environment import numeric_environment
from xstilts.miniature.splits import has_rows
from xstilts.miniature.write import Sizes, write_miniature
from xstilts.models.families import contract
from xstilts.plan.arms import matched
from xstilts.plan.backbone_plan import Override
from xstilts.plan.expand import expand, expand_offline
from xstilts.plan.expansion import Expansion
from xstilts.plan.load import load_plan
from xstilts.plan.show import overview, render
from xstilts.plan.tables import Tables
from xstilts.sources.mirrors import open_mirror
from xstilts.tasks import recipes
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import closeness

PLANS = Path(__file__).resolve().parents[2] / "pipelines" / "plans"


def test_overrides_are_the_keys_of_recipes() -> None:
    known = {*recipes.DEFAULTS, "lr", "epochs", "updates", "examples_per_step"} - {"lora"}
    assert set(Override.model_fields) == known  # the adapter size belongs to tuning


def names() -> list[str]:
    return sorted(path.stem for path in PLANS.glob("*.yaml"))


def expanded(path: Path, mirror: Path) -> Expansion:
    return expand(load_plan(path), open_mirror(str(mirror)), numeric_environment())


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("miniature")
    write_miniature(folder, sizes=Sizes(text=16, train=24, select=6, test=6, pictures=15))
    return folder


@pytest.mark.parametrize("name", names())
def test_shipped_plans_are_valid(name: str, plans: Path) -> None:
    assert load_plan(plans / f"{name}.yaml").name == name


def test_a_plan_whose_model_folders_do_not_exist_yet_has_an_overview_without_lookups(
    plans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    expansion = expand_offline(load_plan(plans / "modality-geometry.yaml"))
    assert {cell["backbone"] for cell in expansion.cells} >= {"llava-1.5-7b", "vicuna-7b"}
    assert expansion.memory == []


@pytest.mark.parametrize(
    "name",
    [name for name in names() if "mirror: miniature" in (PLANS / f"{name}.yaml").read_text()],
)
def test_a_plan_for_the_miniature_finds_all_data_there(
    name: str, plans: Path, miniature: Path
) -> None:
    plan = load_plan(plans / f"{name}.yaml")
    expansion = expanded(plans / f"{name}.yaml", miniature)
    pairs = {"tatoeba", "tatoeba_squad", "bucc", "bucc_mining"}  # of English and another language
    assert {(row["evaluation"], row["language"]) for row in expansion.skipped_languages} <= {
        (evaluation, "en") for evaluation in pairs
    }
    scored = {(cell["backbone"], name) for cell in expansion.cells for name in cell["scores"]}
    assert scored == {(backbone, name) for backbone in plan.backbones for name in plan.evaluations}
    assert {row["kind"] for row in overview(expansion)["steps"]} == {
        "records",
        "build",
        "encode",
        "finetune",
        "score",
    }


@pytest.mark.parametrize("name", names())
def test_every_plan_has_costs_without_lookups(
    name: str, shipped: Mapping[str, dict[str, Any]]
) -> None:
    """Tokens, GPU-hours and hours; what cannot be estimated is named beside a lower bound."""
    view = shipped[name]
    total, on = view["cost"]["total"], view["hours_on_gpus"]
    assert min(total["tokens"], total["gpu_hours"], on["hours"], on["hours_of_paths"]) > 0
    assert on["proposal"]["hours"] <= 1.011 * on["hours"]
    assert bool(total["missing"]) == (name == "modality-geometry")
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render(view))
    shown = console.export_text()
    assert "unknown" not in shown
    assert "on 8 GPUs: " in shown
    assert all(missing in " ".join(shown.split()) for missing in total["missing"])


@pytest.mark.parametrize("name", ["modality", "phang-2020"])
def test_plans_for_gpus_have_the_shape_that_finishes_first(
    name: str, plans: Path, shipped: Mapping[str, dict[str, Any]]
) -> None:
    """Within 3%, on the number of GPUs that their comment names."""
    assert "xstilts plan --gpus 8" in (plans / f"{name}.yaml").read_text()
    on = shipped[name]["hours_on_gpus"]
    assert on["hours"] <= 1.03 * on["proposal"]["hours"]


@pytest.mark.parametrize("name", names())
def test_the_overview_shows_the_training_length_of_every_arm(
    name: str, shipped: Mapping[str, dict[str, Any]]
) -> None:
    """In updates, epochs or supervised tokens."""
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(render(shipped[name]))
    view = console.export_text()
    for budget in shipped[name]["budgets"]:
        [length] = [
            f"{budget[key]:,} {unit}"
            for key, unit in (
                ("updates", "updates"), ("supervised_tokens", "supervised tokens"), ("epochs", "epochs"),
            )
            if budget[key] is not None and (key != "epochs" or budget["supervised_tokens"] is None)
        ]  # fmt: skip
        lines = [
            line
            for line in view.splitlines()
            if {budget["arm"], budget["backbone"]} <= set(line.split())
        ]
        assert any(length.replace(".0 ", " ") in line for line in lines), (length, lines)


@pytest.mark.parametrize("name", ["modality", "phang-2020"])
def test_the_miniature_twin_of_a_plan_has_the_same_arms_and_contrasts(
    name: str, plans: Path
) -> None:
    plan, twin = (load_plan(plans / f"{file}.yaml") for file in (name, f"{name}-miniature"))
    for key in ("arms", "headline", "evaluations"):
        assert getattr(twin, key) == getattr(plan, key), key
    kinds = [
        {name: (b.family, b.tuning.mode) for name, b in each.backbones.items()}
        for each in (plan, twin)
    ]
    assert sorted(kinds[0].values()) == sorted(kinds[1].values())
    contrasts = [
        {
            name: {
                key: of[value] if key in ("backbone", "reference_backbone") and value else value
                for key, value in contrast.model_dump().items()
            }
            for name, contrast in each.contrasts.items()
        }
        for each, of in zip((plan, twin), kinds, strict=True)
    ]
    assert contrasts[0] == contrasts[1]


def test_the_token_matched_twin_differs_only_in_its_budget(plans: Path) -> None:
    plan, twin = (
        yaml.safe_load((plans / f"{name}.yaml").read_text())
        for name in ("modality", "modality-tokens")
    )
    changed = {key for key in {*plan, *twin} if plan.get(key) != twin.get(key)}
    assert changed == {"name", "title", "budget"}
    assert {key for key in twin["budget"] if key not in plan["budget"]} == {"supervised_tokens"}
    assert {key for key in plan["budget"] if key not in twin["budget"]} == {"updates"}


@pytest.mark.parametrize("name", ["modality", "modality-tokens", "modality-miniature"])
def test_the_mixtures_of_the_headline_differ_only_in_modality(name: str, plans: Path) -> None:
    """Equal numbers of tasks, examples and updates, and the same objective.

    No task has the data of a target, so the headline pools all evaluations except retrieval.
    """
    plan = load_plan(plans / f"{name}.yaml")
    contrast = plan.contrasts[plan.headline or ""]
    arms = [plan.arms[arm] for arm in (contrast.arm, contrast.reference)]
    assert [{TASKS[part.task].modality for part in arm.parts} for arm in arms] == [
        {"image"},
        {"text"},
    ]
    assert len(arms[0].parts) == len(arms[1].parts) == 4
    assert {part.objective for arm in arms for part in arm.parts} == {"lm"}
    assert {arm.sampling for arm in arms} == {"uniform"}
    assert matched(plan, Tables.shipped(), contrast) == []
    assert not contrast.allow_unmatched
    targets = {target for name in plan.evaluations for target in TASKS[name].trained_target or ()}
    assert all(
        closeness(TASKS[part.task], target) != "same-data"
        for arm in arms
        for part in arm.parts
        for target in targets
    )


def test_modality_separates_the_effects_of_model_and_tuning(plans: Path) -> None:
    kinds = {
        (b.family, b.tuning.mode) for b in load_plan(plans / "modality.yaml").backbones.values()
    }
    assert {("xlm_r", "full"), ("xlm_r", "lora"), ("llava", "lora")} <= kinds


@pytest.mark.parametrize("name", ["modality", "modality-tokens", "modality-miniature"])
def test_every_multimodal_model_of_modality_has_its_text_only_twin(name: str, plans: Path) -> None:
    """Three contrasts between them: before any training, after the same text tasks, and the whole
    difference, which is the model's part plus that of the headline on the multimodal model.
    """
    plan = load_plan(plans / f"{name}.yaml")
    headline = plan.contrasts[plan.headline or ""]
    multimodal = {name for name, b in plan.backbones.items() if contract(b.family).vision}
    compared: dict[str, set[tuple[str, str]]] = {}
    for each in plan.contrasts.values():
        if each.backbone and each.reference_backbone:
            sides = [plan.backbones[side] for side in (each.backbone, each.reference_backbone)]
            assert sides[0].tuning == sides[1].tuning
            assert contract(sides[1].family).vision is None
            compared.setdefault(each.backbone, set()).add((each.arm, each.reference))
    assert set(compared) == multimodal
    for arms in compared.values():
        assert arms == {
            ("none", "none"),
            (headline.reference, headline.reference),
            (headline.arm, headline.reference),
        }


def test_every_image_task_of_modality_has_its_image_conditions(
    plans: Path,
) -> None:
    """Only SNLI-VE has captions: in captioning they are the answer, and other rows have none."""
    arms = load_plan(plans / "modality.yaml").arms.values()
    conditions: dict[str, set[str]] = {}
    for arm in arms:
        if arm.task and TASKS[arm.task].modality == "image":
            conditions.setdefault(arm.task, set()).add(arm.images)
    shown = {"real", "blank", "shuffled", "removed"}
    assert conditions == {
        "snli_ve": shown | {"caption"},
        "coco_captions": shown,
        "vqa_v2": shown,
        "nlvr2": shown,
    }


@pytest.mark.parametrize("name", names())
def test_shipped_plans_pair_their_seeds(name: str, plans: Path) -> None:
    plan = load_plan(plans / f"{name}.yaml")
    assert len({i for i, _ in plan.seeds}) == len({t for _, t in plan.seeds}) == len(plan.seeds)


def test_all_tasks_has_an_arm_of_every_intermediate_task_of_the_miniature(plans: Path) -> None:
    learnt = {
        part.task for arm in load_plan(plans / "all-tasks.yaml").arms.values() for part in arm.parts
    }
    assert learnt >= {
        name
        for name, one in TASKS.items()
        if one.role == "intermediate" and "train" in one.splits and (has_rows(one) or one.licensed)
    }


def test_all_tasks_has_every_image_condition(plans: Path) -> None:
    arms = load_plan(plans / "all-tasks.yaml").arms.values()
    assert {arm.images for arm in arms} == {"real", "blank", "shuffled", "removed", "caption"}


def test_all_tasks_has_every_evaluation_of_the_miniature(plans: Path) -> None:
    asked = set(load_plan(plans / "all-tasks.yaml").evaluations)
    assert asked == {
        name
        for name, one in TASKS.items()
        if one.trained_target is not None and "test" in one.splits and has_rows(one)
    }


def test_no_row_outside_english_reaches_selection(
    plans: Path, miniature: Path, tmp_path: Path
) -> None:
    """Every target and a translated arm, with recipes that select on English dev.

    A training step reads only its parents: none of them are test rows, and selection rows are
    English dev.
    """
    plan = yaml.safe_load((plans / "all-tasks.yaml").read_text())
    arms = {name: plan["arms"][name] for name in ("mnli-translated", "commonsense-lm", "captions")}
    budget = {key: value for key, value in plan["budget"].items() if key != "updates"}
    plan |= {
        "recipes": "phang_2020",
        "override": {},
        "contrasts": {},
        "arms": arms,
        "budget": budget,
    }
    del plan["headline"]
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    steps = expanded(tmp_path / "plan.yaml", miniature).steps
    selecting = [
        step
        for step in steps.values()
        if step.kind == "finetune" and step.spec["recipe"]["selection"] != "last"
    ]
    assert {step.spec["name"] for step in selecting} >= {
        "mnli", "paws_en", "siqa", "copa", "ud_en", "panx_en", "squad", "tydiqa_en", "commonsense_qa",
    }  # fmt: skip
    for step in (step for step in steps.values() if step.kind == "finetune"):
        roles = {role.partition(":")[0]: fingerprint for role, fingerprint in step.parents.items()}
        assert set(roles) <= {"train", "select", "init", "backbone"}
        assert ("select" in roles) == (step in selecting)
        if step in selecting:
            rows = steps[roles["select"]]
            for source_step in (rows, steps[rows.parents["records"]]):
                assert (source_step.spec["split"], source_step.spec["language"]) == ("select", "en")


def test_real_slices_skip_only_missing_languages(plans: Path, hub: Path) -> None:
    expansion = expanded(plans / "real-slices.yaml", hub)
    assert {row["arm"] for row in expansion.not_applicable} == {"captions-lm", "mixture"}
    assert [(row["evaluation"], row["language"]) for row in expansion.skipped_languages] == [
        ("wikiann", "th")
    ]
    languages = {
        step.spec["evaluation"]: step.spec["languages"]
        for step in expansion.steps.values()
        if step.kind == "score"
    }
    assert len(languages["xquad"]) == 12
    assert set(languages) == {"udpos", "wikiann", "xquad", "xcopa", "tatoeba"}
    assert all(source["identity"] for source in expansion.identities)


def test_all_real_slices_are_used(plans: Path, hub: Path) -> None:
    """All tasks and evaluations that the mirror has, in the languages that its files have."""
    expansion = expand(
        load_plan(plans / "real-slices-all.yaml"), open_mirror(str(hub)), numeric_environment()
    )
    languages = {
        step.spec["evaluation"]: step.spec["languages"]
        for step in expansion.steps.values()
        if step.kind == "score"
    }
    assert languages["tydiqa"] == ["en", "ko", "sw"]
    left_out = {(row["evaluation"], row["language"]) for row in expansion.skipped_languages}
    assert left_out == {
        ("wikiann", "th"),
        *(("tydiqa", code) for code in ("ar", "bn", "fi", "id", "ru", "te")),
    }
    assert {"xnli", "mlqa", "tatoeba_squad", "xcopa", "udpos", "a_okvqa", "nlvr", "anli"} <= set(
        languages
    )


def test_rankings_use_the_pooling_of_their_training(plans: Path, miniature: Path) -> None:
    expansion = expanded(plans / "all-tasks.yaml", miniature)
    scored = [step.spec for step in expansion.steps.values() if step.kind == "score"]
    assert {spec["format"] for spec in scored if "pooling" in spec} == {"ranking"}
    assert {spec["pooling"] for spec in scored if spec["format"] == "ranking"} == {"pooled+mean"}
