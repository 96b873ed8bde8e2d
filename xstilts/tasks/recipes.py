"""The hyper-parameters of a task on a backbone: the row of its format in a recipe set, and what the
task changes of it.

A plan may override any key; the report shows what it overrode.
"""

from collections.abc import Mapping
from typing import Any

from xstilts.errors import PlanError
from xstilts.tasks.recipe_sets import DEFAULTS, GRIDS, IMAGE_BUDGETS, LORA_LR, SETS, for_vlm
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Task

__all__ = ["GRIDS", "SETS", "recipe", "recipe_of"]


def recipe(name: str, task: str, family: str, mode: str) -> dict[str, Any]:
    """Every key of the recipe of a shipped task on a backbone. PlanError for an unknown recipe set
    or task.
    """
    if task not in TASKS:
        raise PlanError(f"no recipe for task {task!r}; allowed: {', '.join(sorted(TASKS))}")
    return recipe_of(TASKS[task], name, family, mode)


def recipe_of(task: Task, name: str, family: str, mode: str) -> dict[str, Any]:
    """Every key of a task's recipe on a backbone, in a recipe set. PlanError for an unknown set."""
    if name not in SETS:
        raise PlanError(f"unknown recipe set {name!r}; allowed: {', '.join(SETS)}")
    rows = SETS[name]
    row = rows.get((task.format, family)) or rows.get((task.format, "*"))
    if row is None:
        raise PlanError(
            f"the recipe set {name!r} has no row for the format {task.format} of {task.name!r}"
        )
    if name == "vlm":
        row = for_vlm({**row, **_changes(task, "xtreme_r", family)}, task.format, mode)
    budget = IMAGE_BUDGETS.get(family, {}) if name != "miniature" else {}
    merged = {**DEFAULTS, **budget, **row, **_changes(task, name, family)}
    if mode == "lora" and name in LORA_LR:
        merged["lr"] = LORA_LR[name] if merged["lr"] else 0.0
    return merged


def _changes(task: Task, name: str, family: str) -> Mapping[str, Any]:
    """What a task changes of its format's row in a recipe set."""
    changes: dict[str, Any] = {}
    for row in task.recipes:
        if row.recipes == name and (not row.families or family in row.families):
            changes.update(row.changes)
    return changes
