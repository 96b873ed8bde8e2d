"""What the report says of a plan besides its steps: contrasts, budgets, overlaps, overrides."""

from collections.abc import Iterable

from xstilts.plan.arm_plan import Arm
from xstilts.plan.arms import applicable, has_images, matched, used_tasks
from xstilts.plan.expansion import Json
from xstilts.plan.schema import Plan
from xstilts.plan.split_sources import choice
from xstilts.plan.step_recipes import Recipes
from xstilts.plan.tables import Tables
from xstilts.tasks.exposure import exposure
from xstilts.tasks.task import OVERLAPS, closeness


def not_applicable(plan: Plan, tables: Tables) -> list[Json]:
    """Backbones that cannot learn an arm, with the reason."""
    return [
        {
            "backbone": backbone,
            "arm": name,
            "reason": f"the arm shows images and {settings.family} reads text only",
        }
        for backbone, settings in plan.backbones.items()
        for name, arm in plan.arms.items()
        if has_images(arm, tables) and not applicable(arm, settings, tables)
    ]


def contrasts(plan: Plan, tables: Tables) -> list[Json]:
    """The plan's contrasts, then every other arm minus `none`."""
    named = {
        (contrast.arm, contrast.reference)
        for contrast in plan.contrasts.values()
        if contrast.backbone is None
    }
    rows: list[Json] = [
        {
            "name": name, "arm": contrast.arm, "reference": contrast.reference, "implicit": False,
            "allow_unmatched": contrast.allow_unmatched,
            "differences": matched(plan, tables, contrast),
            **({"primary": list(contrast.primary)} if contrast.primary else {}),
            **({
                "backbone": contrast.backbone, "reference_backbone": contrast.reference_backbone,
            } if contrast.backbone else {}),
        }
        for name, contrast in plan.contrasts.items()
    ]  # fmt: skip
    rows += [
        {
            "name": f"{arm} minus none",
            "arm": arm,
            "reference": "none",
            "implicit": True,
            "allow_unmatched": False,
            "differences": [],
        }
        for arm in plan.arms
        if arm != "none" and (arm, "none") not in named
    ]
    return rows


def overlaps(plan: Plan, tables: Tables) -> list[Json]:
    """How close the data of each arm is to each trained target: the maximum over its tasks."""
    trained = dict.fromkeys(
        tuple(tables.tasks[name].trained_target or ()) for name in plan.evaluations
    )

    def closest(arm: Arm, targets: tuple[str, ...]) -> str:
        overlaps = [
            closeness(tables.tasks[part.task], target) for part in arm.parts for target in targets
        ]
        return max(overlaps, key=OVERLAPS.index, default="unrelated")

    return [
        {
            "arm": name,
            "trained_target": "+".join(targets) or "none",
            "overlap": closest(arm, targets),
        }
        for name, arm in plan.arms.items()
        if arm.parts
        for targets in trained
    ]


def budgets(plan: Plan, tables: Tables, recipes: Recipes) -> list[Json]:
    """The planned cost of each arm on each backbone."""
    return [
        {
            "backbone": name, "arm": arm_name, "tasks": [part.task for part in arm.parts],
            **recipes.spend(arm, backbone).to_json(),
        }
        for name, backbone in plan.backbones.items()
        for arm_name, arm in plan.arms.items()
        if arm.parts and applicable(arm, backbone, tables)
    ]  # fmt: skip


def exposures(plan: Plan, tables: Tables) -> list[Json]:
    """Whether each backbone was pre-trained on the data of each arm: the maximum over its tasks."""
    ranks = ("unseen", "unknown", "seen")
    rows = []
    for name, backbone in plan.backbones.items():
        build = backbone.build
        pretraining = None if build is None else {*build.tokenizer.from_, *(build.text or ())}
        for arm_name, arm in plan.arms.items():
            if not arm.parts or not applicable(arm, backbone, tables):
                continue
            exposures = [
                exposure(tables.tasks[part.task], backbone.hub, pretraining) for part in arm.parts
            ]
            state, why = max(exposures, key=lambda item: ranks.index(item[0]))
            rows.append({"backbone": name, "arm": arm_name, "exposure": state, "why": why})
    return rows


def overrides(plan: Plan, tables: Tables) -> Iterable[Json]:
    """Every value of the shipped tables that the plan replaces."""
    for name, private in plan.private_tasks.items():
        yield {
            "kind": "private task",
            "task": name,
            "key": "sha256",
            "value": private.file_sha256,
        }
    for task, override in plan.override.items():
        for key, value in override.model_dump(exclude_none=True).items():
            yield {"kind": "recipe", "task": task, "key": key, "value": value}
    for name, backbone in plan.backbones.items():
        for task, override in (backbone.override or {}).items():
            for key, value in override.model_dump(exclude_none=True).items():
                yield {"kind": "recipe", "task": task, "key": key, "value": value, "backbone": name}
    for key, value in plan.budget.model_dump(exclude_none=True).items():
        yield {"kind": "budget", "task": None, "key": key, "value": value}
    for name, caps in (("", plan.rows.default), *plan.rows.tasks.items()):
        for key, value in caps.model_dump(exclude_none=True).items():
            yield {"kind": "rows", "task": name or None, "key": key, "value": value}
    for name in used_tasks(plan, tables):
        for split in ("train", "select", "test"):
            chosen = choice(plan, tables, name, split)
            # The train and select splits of an evaluation are listed with its trained target.
            if chosen is not None and (split == "test") == (
                tables.tasks[name].role == "evaluation"
            ):
                value = f"{chosen.task}/{chosen.split}" if chosen.task else chosen.split
                yield {"kind": "split", "task": name, "key": split, "value": value}
