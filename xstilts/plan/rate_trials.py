"""One learning rate a backbone, picked once on English dev of the arm `none` from a grid, and then
the same in all arms.

A trial is the plan with the arm `none` alone, its first target seed, one rate for all trained
targets, and English as its only language. Its finetune steps look at English dev; what they saw
decides. Test rows decide nothing: a trial scores one English row of each evaluation, since every
plan has evaluations, and nobody reads it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from xstilts.errors import PlanError
from xstilts.plan.checks import used_tasks
from xstilts.plan.expansion import Expansion
from xstilts.plan.schema import Plan
from xstilts.plan.split_sources import choice
from xstilts.plan.step_recipes import Recipes
from xstilts.plan.tables import Tables

ENGLISH = "en"
#: Updates between looks at English dev that no training reaches: the one look is that at the last
#: update.
AT_THE_END = 10**9
#: English test rows of each evaluation that a trial scores.
SCORED = 1
MOST_NAME = 63


@dataclass(frozen=True)
class Trial:
    """A plan derived to try one rate on the backbones that share a grid."""

    rate: float
    plan: Plan


@dataclass(frozen=True)
class Look:
    """What a backbone's target, trained at a rate, scored on English dev (0..100). value: None
    when it is not there.
    """

    backbone: str
    target: str
    rate: float
    value: float | None


@dataclass(frozen=True)
class Pick:
    """A backbone's rate. means: rate → mean over targets; values: (target, rate) → score on
    English dev.
    """

    rate: float
    means: Mapping[float, float]
    values: Mapping[tuple[str, float], float]


def targets(plan: Plan, tables: Tables) -> list[str]:
    """Every target that the plan trains, in order: what a picked rate is for."""
    return list(
        dict.fromkeys(t for e in plan.evaluations for t in tables.tasks[e].trained_target or ())
    )


def unlooked(plan: Plan, tables: Tables) -> list[str]:
    """The trained targets that no trial reaches: no English test or no metric on dev. They take
    the picked rate too.
    """
    reached = {t for e in _evaluations(plan, tables) for t in tables.tasks[e].trained_target or ()}
    return [target for target in targets(plan, tables) if target not in reached]


def _evaluations(plan: Plan, tables: Tables) -> list[str]:
    """One evaluation for each chain of targets that can be looked at: with English, and a metric
    and dev rows for each.
    """
    found: dict[tuple[str, ...], str] = {}
    for name in plan.evaluations:
        chain = tuple(tables.tasks[name].trained_target or ())
        seen = all(
            tables.tasks[target].metrics and "select" in tables.tasks[target].splits
            for target in chain
        )
        if chain and seen and ENGLISH in tables.tasks[name].languages:
            found.setdefault(chain, name)
    return list(found.values())


def trials(
    plan: Plan,
    tables: Tables,
    grids: Mapping[str, Mapping[str, Sequence[float]]],
    given: Sequence[float] | None = None,
    only: Sequence[str] = (),
) -> list[Trial]:
    """One plan for each tuning mode and rate. grids: recipe set → mode → rates; given: rates in
    their place; only: names of backbones (none: all). PlanError when there is nothing to look
    at, no grid, or one grid for two modes.
    """
    if unknown := [name for name in only if name not in plan.backbones]:
        raise PlanError(
            f"no such backbone: {', '.join(unknown)}; the plan has {', '.join(plan.backbones)}"
        )
    modes: dict[str, list[str]] = {}
    for name in only or plan.backbones:
        modes.setdefault(plan.backbones[name].tuning.mode, []).append(name)
    if given is not None and len(modes) > 1:
        named = "; ".join(f"{mode}: {', '.join(names)}" for mode, names in modes.items())
        raise PlanError(
            f"one grid cannot serve full tuning and LoRA ({named}); name backbones of one with --backbone"
        )
    if not _evaluations(plan, tables):
        raise PlanError(
            "no evaluation of the plan has English and a trained target with a metric on English dev"
        )
    found = []
    for mode, names in modes.items():
        rates = given if given is not None else grids.get(plan.recipes, {}).get(mode)
        if rates is None:
            raise PlanError(
                f"the recipe set {plan.recipes!r} has no grid of rates for {mode}; give --grid 1e-5,2e-5,…"
            )
        if not rates or len(set(rates)) != len(rates) or min(rates) <= 0:
            raise PlanError(
                f"the grid {', '.join(map(str, rates))}: rates must be positive and differ; give at least one"
            )
        found += [Trial(rate, _trial(plan, tables, mode, names, rate)) for rate in sorted(rates)]
    return found


def _trial(plan: Plan, tables: Tables, mode: str, names: Sequence[str], rate: float) -> Plan:
    data, suffix = plan.to_json(), f".rate-{mode}-{rate}"
    data["name"] = plan.name[: MOST_NAME - len(suffix)] + suffix
    data["title"] = f"The arm none at the rate {rate:g}, for English dev"
    data["evaluations"] = {name: {} for name in _evaluations(plan, tables)}
    data["languages"] = [ENGLISH]
    data["arms"] = {"none": {}}
    data["seeds"] = [list(plan.seeds[0])]
    if plan.reuse == "none":
        data["reuse"] = "exact"  # its steps must be found again when all trials are read
    for key in ("contrasts", "headline", "controls"):
        data.pop(key, None)
    trained = targets(Plan.model_validate({**data, "splits": {}}), tables)
    recipes = Recipes(plan, tables)
    backbones = {}
    for name in names:
        override: dict[str, Any] = dict(data["backbones"][name].get("override") or {})
        for target in trained:
            recipe = recipes.full(target, plan.backbones[name])
            look = {} if recipes.selects(recipe) else {"selection": AT_THE_END}
            override[target] = {**override.get(target, {}), "lr": rate, **look}
        backbones[name] = {**data["backbones"][name], "override": override}
    data["backbones"] = backbones
    used = used_tasks(Plan.model_validate({**data, "splits": {}}), tables)
    return Plan.model_validate({**data, **_named(plan, tables, data, used)})


def _named(
    plan: Plan, tables: Tables, data: Mapping[str, Any], used: Sequence[str]
) -> dict[str, Any]:
    """The keys named after tasks, for those that the trial uses; a target keeps the rows that an
    evaluation without English chose for it.
    """
    splits: dict[str, Any] = {}
    for name in used:
        chosen = {role: choice(plan, tables, name, role) for role in ("train", "select", "test")}
        if given := {
            role: one.model_dump(exclude_none=True) for role, one in chosen.items() if one
        }:
            splits[name] = given
    caps = {name: one for name, one in data["rows"].get("tasks", {}).items() if name in used}
    for name in data["evaluations"]:
        caps[name] = {**caps.get(name, {}), "test": SCORED}
    kept = set(used)
    backbones = {
        name: {
            **one,
            "override": {task: keys for task, keys in one["override"].items() if task in kept},
        }
        for name, one in data["backbones"].items()
    }
    return {
        "splits": splits,
        "rows": {**data["rows"], "tasks": caps},
        "override": {task: keys for task, keys in data["override"].items() if task in kept},
        "backbones": backbones,
    }


def plan_text(plan: Plan) -> str:
    """A plan as the YAML that `load_plan` reads."""
    data = plan.to_json()
    rows = data.pop("rows")
    return yaml.safe_dump(
        {**data, "rows": {**rows["default"], **rows["tasks"]}}, sort_keys=False, allow_unicode=True
    )


def looked_at(expansion: Expansion) -> dict[str, tuple[str, str]]:
    """Finetune step → (backbone, target) of a trial; a target trained after another is named
    `first+second`.
    """
    found: dict[str, tuple[str, str]] = {}
    for cell in expansion.cells:
        names = cell["trained_target"].split("+")
        for place, fingerprint in enumerate(cell["chain"]):
            found.setdefault(fingerprint, (cell["backbone"], "+".join(names[: place + 1])))
    return found


def dev_score(info: Mapping[str, Any]) -> float | None:
    """The English dev score of the weights that a finetune step kept, from its manifest's info;
    None without looks.
    """
    selection = info.get("selection")
    if not selection:
        return None
    return next(
        float(look["value"]) for look in selection["looks"] if look["update"] == selection["update"]
    )


def pick(looks: Iterable[Look]) -> dict[str, Pick]:
    """Backbone → the rate with the best mean over targets; of equal means the smaller rate.
    PlanError names every backbone, target and rate without a score.
    """
    looks = list(looks)
    missing = [
        f"  - {one.backbone}: {one.target} at {one.rate:g}" for one in looks if one.value is None
    ]
    if missing:
        raise PlanError(
            "\n".join(["no rate is picked: these trainings have no score on English dev", *missing])
        )
    found = {}
    for backbone in dict.fromkeys(one.backbone for one in looks):
        values = {
            (one.target, one.rate): float(one.value or 0.0)
            for one in looks
            if one.backbone == backbone
        }
        means = {}
        for rate in sorted({rate for _, rate in values}):
            scores = [value for (_, at), value in values.items() if at == rate]
            means[rate] = sum(scores) / len(scores)
        found[backbone] = Pick(min(means, key=lambda rate: (-means[rate], rate)), means, values)
    return found


def written(plan: Plan, tables: Tables, picks: Mapping[str, Pick]) -> str:
    """YAML to be put into the plan: each backbone's `override`, with the scores that decided as
    comments.
    """
    seed = plan.seeds[0][1]
    lines = [
        f"# Learning rates for the plan {plan.name}, picked once a backbone on English dev of the arm none (seed {seed}):",
        "# the best mean over targets, of equal means the smaller rate. Put them into the plan for all arms alike.",
    ]
    if rest := unlooked(plan, tables):
        lines.append(
            f"# Not looked at (no English test, or no metric on dev), same rate: {', '.join(rest)}"
        )
    for backbone, one in picks.items():
        names = list(dict.fromkeys(target for target, _ in one.values))
        lines += [
            "#",
            "# "
            + "  ".join([f"{backbone:<16}", f"{'mean':>6}", *(f"{name:>6}" for name in names)]),
        ]
        for rate, mean in one.means.items():
            scores = [f"{one.values[name, rate]:>{max(6, len(name))}.2f}" for name in names]
            mark = "  <" if rate == one.rate else ""
            lines.append(
                "# "
                + "  ".join([f"{rate:<{max(16, len(backbone))}g}", f"{mean:>6.2f}", *scores])
                + mark
            )
    override = {
        name: {"override": {target: {"lr": one.rate} for target in targets(plan, tables)}}
        for name, one in picks.items()
    }
    return "\n".join(lines) + "\n" + yaml.safe_dump({"backbones": override}, sort_keys=False)
