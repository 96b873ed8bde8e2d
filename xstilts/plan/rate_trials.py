"""Learning rates: one per backbone, picked from a grid on English dev, and the same in all arms.

A trial is the plan reduced to the arm `none`, its first target seed, one rate for all trained
targets, and English. Its finetune steps are evaluated on English dev, and these scores decide. A
plan needs evaluations, so a trial scores one English test row of each; nothing reads that score.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from xstilts.errors import PlanError
from xstilts.plan.arms import used_tasks
from xstilts.plan.expansion import Expansion
from xstilts.plan.schema import Plan
from xstilts.plan.split_sources import choice
from xstilts.plan.step_recipes import Recipes
from xstilts.plan.tables import Tables

ENGLISH = "en"
#: An evaluation interval (in updates) that no training reaches, so that English dev is evaluated
#: once, after the last update.
EVALUATE_AT_END = 10**9
#: English test rows that a trial scores per evaluation.
TEST_ROWS = 1
MAX_NAME = 63


@dataclass(frozen=True)
class Trial:
    """A derived plan that tries one rate on the backbones that share a grid."""

    rate: float
    plan: Plan


@dataclass(frozen=True)
class TrialScore:
    """The English dev score (0..100) of a target trained at a rate. None: missing."""

    backbone: str
    target: str
    rate: float
    value: float | None


@dataclass(frozen=True)
class PickedRate:
    """The rate of a backbone.

    means: rate → mean over targets. values: (target, rate) → English dev score.
    """

    rate: float
    means: Mapping[float, float]
    values: Mapping[tuple[str, float], float]


def targets(plan: Plan, tables: Tables) -> list[str]:
    """Every target that the plan trains, in order. The picked rate applies to all of them."""
    return list(
        dict.fromkeys(t for e in plan.evaluations for t in tables.tasks[e].trained_target or ())
    )


def untried_targets(plan: Plan, tables: Tables) -> list[str]:
    """The targets without trials, since they lack an English test or a metric on dev."""
    tried = {t for e in _evaluations(plan, tables) for t in tables.tasks[e].trained_target or ()}
    return [target for target in targets(plan, tables) if target not in tried]


def _evaluations(plan: Plan, tables: Tables) -> list[str]:
    """One evaluation per chain of targets that trials can try.

    It has English, and each of its targets has a metric and dev rows.
    """
    by_chain: dict[tuple[str, ...], str] = {}
    for name in plan.evaluations:
        chain = tuple(tables.tasks[name].trained_target or ())
        has_dev_score = all(
            tables.tasks[target].metrics and "select" in tables.tasks[target].splits
            for target in chain
        )
        if chain and has_dev_score and ENGLISH in tables.tasks[name].languages:
            by_chain.setdefault(chain, name)
    return list(by_chain.values())


def trials(
    plan: Plan,
    tables: Tables,
    grids: Mapping[str, Mapping[str, Sequence[float]]],
    rates: Sequence[float] | None = None,
    backbones: Sequence[str] = (),
) -> list[Trial]:
    """One trial per tuning mode and rate.

    Args:
        plan: The plan.
        tables: Tables of tasks and recipes.
        grids: Recipe set → tuning mode → rates.
        rates: A grid that replaces the one from `grids`.
        backbones: Names of the backbones to try. Empty: all.

    Raises:
        PlanError: Nothing can be evaluated on English dev, there is no grid, or one grid was
            given for two tuning modes.
    """
    if unknown := [name for name in backbones if name not in plan.backbones]:
        raise PlanError(
            f"no such backbone: {', '.join(unknown)}; the plan has {', '.join(plan.backbones)}"
        )
    modes: dict[str, list[str]] = {}
    for name in backbones or plan.backbones:
        modes.setdefault(plan.backbones[name].tuning.mode, []).append(name)
    if rates is not None and len(modes) > 1:
        by_mode = "; ".join(f"{mode}: {', '.join(names)}" for mode, names in modes.items())
        raise PlanError(
            f"full tuning and LoRA need different grids ({by_mode}); select backbones of one "
            "tuning mode with --backbone"
        )
    if not _evaluations(plan, tables):
        raise PlanError(
            "no evaluation of the plan has English and a trained target with a metric on English "
            "dev; add one, such as xquad"
        )
    derived = []
    for mode, names in modes.items():
        grid = rates if rates is not None else grids.get(plan.recipes, {}).get(mode)
        if grid is None:
            raise PlanError(
                f"recipe set {plan.recipes!r} has no grid of rates for {mode}; give --grid "
                "1e-5,2e-5,…"
            )
        positive = all(0 < rate < math.inf for rate in grid)
        if not grid or len(set(grid)) != len(grid) or not positive:
            raise PlanError(
                f"invalid grid {', '.join(map(str, grid))}: rates must be positive, finite and "
                "distinct; give at least one"
            )
        derived += [Trial(rate, _trial(plan, tables, mode, names, rate)) for rate in sorted(grid)]
    return derived


def _trial(plan: Plan, tables: Tables, mode: str, names: Sequence[str], rate: float) -> Plan:
    """The plan of one trial.

    Args:
        plan: The plan to derive it from.
        tables: Tables of tasks and recipes.
        mode: Tuning mode of the backbones.
        names: Names of the backbones.
        rate: The learning rate of all targets.
    """
    data, suffix = plan.to_json(), f".rate-{mode}-{rate}"
    data["name"] = plan.name[: MAX_NAME - len(suffix)] + suffix
    data["title"] = f"Learning rate trial: arm none at {rate:g}, scored on English dev"
    data["evaluations"] = {name: {} for name in _evaluations(plan, tables)}
    data["languages"] = [ENGLISH]
    data["arms"] = {"none": {}}
    data["seeds"] = [list(plan.seeds[0])]
    if plan.reuse == "none":
        data["reuse"] = "exact"  # the steps must keep their fingerprints until they are read
    for key in ("contrasts", "headline", "controls"):
        data.pop(key, None)
    trained = targets(Plan.model_validate({**data, "splits": {}}), tables)
    recipes = Recipes(plan, tables)
    backbones = {}
    for name in names:
        override: dict[str, Any] = dict(data["backbones"][name].get("override") or {})
        for target in trained:
            recipe = recipes.full(target, plan.backbones[name])
            selection = {} if recipes.selects(recipe) else {"selection": EVALUATE_AT_END}
            override[target] = {**override.get(target, {}), "lr": rate, **selection}
        backbones[name] = {**data["backbones"][name], "override": override}
    data["backbones"] = backbones
    used = used_tasks(Plan.model_validate({**data, "splits": {}}), tables)
    return Plan.model_validate({**data, **_task_settings(plan, tables, data, used)})


def _task_settings(
    plan: Plan, tables: Tables, data: Mapping[str, Any], used: Sequence[str]
) -> dict[str, Any]:
    """The plan keys that name tasks, reduced to the tasks of the trial.

    A target keeps the splits that an evaluation without English set for it.
    """
    splits: dict[str, Any] = {}
    for name in used:
        choices = {role: choice(plan, tables, name, role) for role in ("train", "select", "test")}
        if chosen := {
            role: split.model_dump(exclude_none=True) for role, split in choices.items() if split
        }:
            splits[name] = chosen
    caps = {task: body for task, body in data["rows"].get("tasks", {}).items() if task in used}
    for name in data["evaluations"]:
        caps[name] = {**caps.get(name, {}), "test": TEST_ROWS}
    kept = set(used)
    backbones = {
        name: {
            **body,
            "override": {task: keys for task, keys in body["override"].items() if task in kept},
        }
        for name, body in data["backbones"].items()
    }
    return {
        "splits": splits,
        "rows": {**data["rows"], "tasks": caps},
        "override": {task: keys for task, keys in data["override"].items() if task in kept},
        "backbones": backbones,
    }


def plan_text(plan: Plan) -> str:
    """A plan as YAML text for `load_plan`."""
    data = plan.to_json()
    rows = data.pop("rows")
    return yaml.safe_dump(
        {**data, "rows": {**rows["default"], **rows["tasks"]}}, sort_keys=False, allow_unicode=True
    )


def trained_targets(expansion: Expansion) -> dict[str, tuple[str, str]]:
    """Finetune step → (backbone, target) of a trial.

    A target that is trained after another is named `first+second`.
    """
    names: dict[str, tuple[str, str]] = {}
    for cell in expansion.cells:
        parts = cell["trained_target"].split("+")
        for index, fingerprint in enumerate(cell["chain"]):
            names.setdefault(fingerprint, (cell["backbone"], "+".join(parts[: index + 1])))
    return names


def dev_score(info: Mapping[str, Any]) -> float | None:
    """The English dev score of the weights that a finetune step kept.

    info: that of the step's manifest. None if the step was not evaluated on English dev.
    """
    selection = info.get("selection")
    if not selection:
        return None
    return next(
        float(look["value"]) for look in selection["looks"] if look["update"] == selection["update"]
    )


def pick_rates(scores: Iterable[TrialScore]) -> dict[str, PickedRate]:
    """Backbone → the rate with the best mean over targets; among equal means the smallest rate.

    Raises PlanError that lists every missing score.
    """
    scores = list(scores)
    missing = [
        f"  - {score.backbone}: {score.target} at {score.rate:g}"
        for score in scores
        if score.value is None
    ]
    if missing:
        head = "cannot pick rates: these trainings have no English dev score; run the trials again"
        raise PlanError("\n".join([head, *missing]))
    picks = {}
    for backbone in dict.fromkeys(score.backbone for score in scores):
        values = {
            (score.target, score.rate): float(score.value or 0.0)
            for score in scores
            if score.backbone == backbone
        }
        means = {}
        for rate in sorted({rate for _, rate in values}):
            of_rate = [value for (_, at), value in values.items() if at == rate]
            means[rate] = sum(of_rate) / len(of_rate)
        best = min(means, key=lambda rate: (-means[rate], rate))
        picks[backbone] = PickedRate(best, means, values)
    return picks


def override_yaml(plan: Plan, tables: Tables, picks: Mapping[str, PickedRate]) -> str:
    """YAML to paste into the plan: `override` of each backbone, with the scores as comments."""
    seed = plan.seeds[0][1]
    lines = [
        f"# Learning rates for the plan {plan.name}, one per backbone.",
        f"# Picked on English dev of the arm none (seed {seed}): the best mean over targets,",
        "# the smallest rate among equal means. Add them to the plan; they apply to all arms.",
    ]
    if untried := ", ".join(untried_targets(plan, tables)):
        lines.append(
            f"# Same rate without trials (no English test, or no metric on dev): {untried}"
        )
    for backbone, pick in picks.items():
        names = list(dict.fromkeys(target for target, _ in pick.values))
        lines += [
            "#",
            "# "
            + "  ".join([f"{backbone:<16}", f"{'mean':>6}", *(f"{name:>6}" for name in names)]),
        ]
        for rate, mean in pick.means.items():
            scores = [f"{pick.values[name, rate]:>{max(6, len(name))}.2f}" for name in names]
            mark = "  <" if rate == pick.rate else ""
            lines.append(
                "# "
                + "  ".join([f"{rate:<{max(16, len(backbone))}g}", f"{mean:>6.2f}", *scores])
                + mark
            )
    override = {
        name: {"override": {target: {"lr": pick.rate} for target in targets(plan, tables)}}
        for name, pick in picks.items()
    }
    return "\n".join(lines) + "\n" + yaml.safe_dump({"backbones": override}, sort_keys=False)
