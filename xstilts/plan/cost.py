"""Estimates the tokens and GPU-hours of a plan before staging, within a factor of two.

A forward pass takes 2 N FLOPs per token, training 6 N, or 4 N if the base weights are frozen
(adapters). Attention and vision towers are ignored. Utilization is that of a padding-free loop.
Lengths are means of English text with the tokenizer of a 7B model and include image tokens.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from xstilts.models.families import FAMILIES
from xstilts.plan.expansion import Expansion
from xstilts.step import Step, training_role
from xstilts.tasks.private import with_private
from xstilts.tasks.registry import TASKS
from xstilts.tasks.task import Task

H100_FLOPS = 989e12  # bf16, dense
TRAIN_UTILISATION = 0.40
SCORE_UTILISATION = 0.45

#: Hub id → parameters, of the backbones whose contract knows them; others get tokens and no hours.
PARAMETERS: Mapping[str, float] = {
    hub: count for of in FAMILIES.values() for hub, count in of.parameters.items()
}


@dataclass(frozen=True)
class Cost:
    """Tokens and H100-hours. None: not all steps can be estimated."""

    tokens: float | None
    gpu_hours: float | None


def step_cost(
    step: Step, steps: Mapping[str, Step], tasks: Mapping[str, Task] | None = None
) -> Cost:
    """The estimate of one finetune or score step; other kinds need no GPU. tasks: None means the
    shipped ones.
    """
    tasks = TASKS if tasks is None else tasks
    if step.kind == "finetune":
        tokens = _training_tokens(step, steps, tasks)
        flops, utilisation = (
            (4.0 if step.spec["tuning"]["mode"] == "lora" else 6.0),
            TRAIN_UTILISATION,
        )
    elif step.kind == "score":
        tokens = _scoring_tokens(step, steps, tasks)
        flops, utilisation = 2.0, SCORE_UTILISATION
    else:
        return Cost(0.0, 0.0)
    identity: Any = step.spec["backbone"]
    parameters = (
        PARAMETERS.get(identity["hub"])
        if isinstance(identity, Mapping) and "hub" in identity
        else None
    )
    if tokens is None or parameters is None:
        return Cost(tokens, None)
    return Cost(tokens, tokens * flops * parameters / (H100_FLOPS * utilisation) / 3600)


def estimate(
    expansion: Expansion, finished: Mapping[str, Collection[str]] | None = None
) -> dict[str, Cost]:
    """intermediate, target, score, total → Cost of the steps that are not finished."""
    tasks = with_private(expansion.task_files)
    found: dict[str, list[Cost]] = {"intermediate": [], "target": [], "score": []}
    for fingerprint, step in expansion.steps.items():
        if step.kind in ("finetune", "score") and fingerprint not in (finished or {}).get(
            step.kind, ()
        ):
            found[step.spec.get("stage", "score")].append(step_cost(step, expansion.steps, tasks))
    total = _sum([cost for costs in found.values() for cost in costs])
    return {**{kind: _sum(costs) for kind, costs in found.items()}, "total": total}


def _sum(costs: list[Cost]) -> Cost:
    tokens = [cost.tokens for cost in costs]
    hours = [cost.gpu_hours for cost in costs]
    return Cost(
        None if None in tokens else sum(t for t in tokens if t is not None),
        None if None in hours else sum(h for h in hours if h is not None),
    )


def _rows_of(known: int | None, cap: int | None) -> int | None:
    caps = [count for count in (known, cap) if count is not None]
    return min(caps) if caps else None


def _training_tokens(
    step: Step, steps: Mapping[str, Step], tasks: Mapping[str, Task]
) -> float | None:
    recipe = step.spec["recipe"]
    rows: list[int] = []
    lengths: list[int] = []
    for part in step.spec["tasks"]:
        task = tasks.get(part["name"])
        role = training_role(part["name"], part.get("translated"))
        encoded = steps[step.parents[f"train:{role}"]]
        cap = steps[encoded.parents["records"]].spec["rows"]
        if task is None or task.estimate is None:
            return None
        count = _rows_of(task.rows("train", "en"), cap)
        if count is None:
            return None
        rows.append(count)
        lengths.append(task.estimate.tokens)
    mean = sum(n * length for n, length in zip(rows, lengths, strict=True)) / sum(rows)
    if recipe.get("supervised_tokens"):
        return None  # the number of updates is only known once the rows are encoded
    if recipe.get("updates"):
        return float(recipe["updates"] * recipe["examples_per_step"] * mean)
    return float(recipe["epochs"] * sum(rows) * mean)


def _scoring_tokens(
    step: Step, steps: Mapping[str, Step], tasks: Mapping[str, Task]
) -> float | None:
    task = tasks.get(step.spec["evaluation"])
    if task is None or task.estimate is None:
        return None
    split = "test" if "test" in task.splits else "select"  # of an arm's own dev rows
    rows = [
        _rows_of(task.rows(split, language), steps[step.parents[f"gold:{language}"]].spec["rows"])
        for language in step.spec["languages"]
    ]
    if None in rows:
        return None
    return float(sum(count for count in rows if count is not None) * task.estimate.tokens)
