"""Which backbones an arm applies to, what two arms differ in, and which tasks a plan reads."""

from xstilts.models.families import contract
from xstilts.plan.arm_plan import Arm
from xstilts.plan.backbone_plan import BackbonePlan
from xstilts.plan.schema import Contrast, Plan
from xstilts.plan.step_recipes import Recipes
from xstilts.plan.tables import Tables
from xstilts.tasks.task import SHOWN


def has_images(arm: Arm, tables: Tables) -> bool:
    """Whether a task of the arm shows images. The conditions `removed` and `caption` do not."""
    return arm.images in SHOWN and any(
        tables.tasks[part.task].modality == "image"
        for part in arm.parts
        if part.task in tables.tasks
    )


def applicable(arm: Arm, backbone: BackbonePlan, tables: Tables) -> bool:
    """Whether a backbone can learn an arm: images need a family that sees them."""
    return contract(backbone.family).vision is not None or not has_images(arm, tables)


def matched(plan: Plan, tables: Tables, contrast: Contrast) -> list[str]:
    """Unwanted differences between the two arms of a contrast: objective, examples, updates,
    examples per step.

    Empty if one of them is `none`, whose budget is zero by definition.
    """
    one, other = plan.arms[contrast.arm], plan.arms[contrast.reference]
    if not one.parts or not other.parts:
        return []
    recipes = Recipes(plan, tables)
    names = [tuple(sorted(part.task for part in each.parts)) for each in (one, other)]
    found: list[str] = []
    pairs = [(each, each) for each in plan.backbones.values()]
    if contrast.backbone and contrast.reference_backbone:
        pairs = [(plan.backbones[contrast.backbone], plan.backbones[contrast.reference_backbone])]
    for backbone, of_reference in pairs:
        if applicable(one, backbone, tables) and applicable(other, of_reference, tables):
            found += recipes.spend(one, backbone).differences(
                recipes.spend(other, of_reference), *names
            )
    return list(dict.fromkeys(found))


def used_tasks(plan: Plan, tables: Tables) -> list[str]:
    """Names of all tasks that the plan reads, including evaluations and texts of tokenizers."""
    names = [part.task for arm in plan.arms.values() for part in arm.parts]
    names += list(plan.evaluations)
    names += [
        t
        for e in plan.evaluations
        if e in tables.tasks
        for t in tables.tasks[e].trained_target or ()
    ]
    names += [
        tables.tasks[e].pool for e in plan.evaluations if e in tables.tasks and tables.tasks[e].pool
    ]
    for backbone in plan.backbones.values():
        if backbone.build:
            names += [*backbone.build.tokenizer.from_, *(backbone.build.text or ())]
    return list(dict.fromkeys(names))
