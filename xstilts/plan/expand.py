"""Expands a plan into training paths, cells and steps.

Work that several cells share is one step with one fingerprint.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xstilts.errors import PlanError
from xstilts.plan import facts
from xstilts.plan.arm_plan import Arm
from xstilts.plan.arms import applicable
from xstilts.plan.batches import build_batches, encoding_batches, group_batches, source_batches
from xstilts.plan.expansion import Expansion, Json
from xstilts.plan.memory_needs import memory_needs, refuse
from xstilts.plan.miniature_sizes import built_config
from xstilts.plan.schema import Plan
from xstilts.plan.split_sources import Sources
from xstilts.plan.step_factory import NOTHING_LEFT, AfterTarget, Steps
from xstilts.plan.tables import Tables
from xstilts.tasks.task import Task


@dataclass(frozen=True)
class TestSet:
    """The test set of an evaluation. gold: language → records step with the gold answers."""

    task: Task
    gold: Mapping[str, str]


def expand(
    plan: Plan,
    mirror: Any,
    environment: Mapping[str, str],
    tables: Tables | None = None,
    generation: str | None = None,
) -> Expansion:
    """Expands a plan.

    Args:
        plan: A loaded plan.
        mirror: A mirror from open_mirror.
        environment: The result of numeric_environment.
        tables: Tables of tasks and recipes. Default: the shipped ones.
        generation: With `reuse: none`, a value that makes the steps new, such as the name of the
            run. Default: the time.

    Raises:
        DataError: The mirror lacks required data. The error lists all of it.
        PlanError: A backbone cannot fit into the memory that the plan names.
    """
    tables = (tables or Tables.shipped()).with_tasks(plan.private_tasks)
    sources = Sources(plan, tables, mirror)
    stamp: dict[str, Any] = {} if plan.reuse == "recipe" else {"environment": dict(environment)}
    if plan.reuse == "none":
        stamp["generation"] = generation or str(time.time_ns())
    steps = Steps(plan, tables, sources, stamp)
    made = steps.planned.made
    if plan.reuse == "recipe":  # not fingerprinted, but recorded in the manifest
        steps.planned.settings["environment"] = dict(environment)
    test_sets = {name: _test_set(steps, tables.tasks[name]) for name in plan.evaluations}
    skipped = [
        {"evaluation": name, "language": language, "reason": reason}
        for (name, language), reason in steps.rows.skipped.items()
        if name in test_sets and test_sets[name].gold
    ]
    cells = list(_cells(steps, test_sets))
    steps.rows.raise_lacking()
    _refuse_equal_ids(cells)
    by_backbone: dict[str, list[str]] = {name: [] for name in plan.backbones}
    for cell in cells:
        by_backbone[cell["backbone"]] += [*cell["chain"], *cell["scores"].values()]
    for entry in steps.intermediates:
        by_backbone[entry["backbone"]] += [entry["score"]] if entry["score"] else []
    groups = group_batches(made, by_backbone, plan.resources.groups)
    memory = memory_needs(made, groups, tables.tasks, steps.backbones.config)
    refuse(memory)
    return Expansion(
        name=plan.name,
        plan=plan.to_json(),
        environment=dict(environment),
        steps=made,
        sources=source_batches(made),
        builds=build_batches(made),
        encodings=encoding_batches(made),
        groups=groups,
        cells=cells,
        not_applicable=facts.not_applicable(plan, tables)
        + [
            {
                "backbone": backbone,
                "arm": arm,
                "reason": reason,
                "partly": not reason.endswith(NOTHING_LEFT),
            }
            for (backbone, arm), reason in steps.without.items()
        ],
        skipped_languages=skipped,
        contrasts=facts.contrasts(plan, tables),
        headline=plan.headline,
        controls=plan.controls.model_dump(mode="json", exclude_none=True),
        overlaps=facts.overlaps(plan, tables),
        budgets=facts.budgets(plan, tables, steps.recipes),
        overrides=list(facts.overrides(plan, tables)),
        identities=sources.identities,
        exposures=facts.exposures(plan, tables),
        intermediates=steps.intermediates,
        memory=[need.to_json() for need in memory],
        configs=_configs(steps),
        order={key: list(getattr(plan, key)) for key in ("backbones", "arms", "evaluations")},
    )


def expand_offline(plan: Plan) -> Expansion:
    """Expands a plan without looking up data or models, for an overview of steps and costs.

    Identities are `unresolved`, so no step of the expansion can run, and languages that a mirror
    lacks are not known.
    """
    named = {
        *(plan.languages or ()),
        *(code for choice in plan.evaluations.values() for code in choice.languages or ()),
    }
    tables = Tables.unresolved(named)
    return expand(plan, None, {"unresolved": "true"}, tables)


def _configs(steps: Steps) -> dict[str, Json]:
    """Backbone → its config.json, where it is known; of one that is built, what it will be."""
    configs = {}
    for name, backbone in steps.plan.backbones.items():
        build = backbone.build
        config = (
            built_config(build.family, build.tokenizer.vocab_size)
            if build
            else steps.backbones.config(steps.backbones.identity(name))
        )
        if config is not None:
            configs[name] = dict(config)
    return configs


def _test_set(steps: Steps, task: Task) -> TestSet:
    requested = steps.plan.evaluations[task.name].languages or steps.plan.languages
    known = steps.planned.sources.languages(task, "test")
    if requested is None:
        # `languages: all` does not name the invented languages: skip them silently where the
        # mirror lacks them.
        requested = tuple(
            code
            for code in known
            if code in task.languages
            or not isinstance(steps.planned.sources.find(task, "test", code), str)
        )
    # Mining needs the whole pool: its first rows would contain almost no pair.
    cap = None if task.format == "mining" else steps.recipes.cap(task.name, "test")
    gold = {}
    for language in (code for code in known if code in requested):
        records = steps.rows.records(task, "test", language, cap)
        if records is not None:
            gold[language] = records
    if not gold:
        reasons = {reason for (name, _), reason in steps.rows.skipped.items() if name == task.name}
        steps.rows.lacking[f"{task.name} has no test rows in any of the plan's languages"] = (
            f"{'; '.join(sorted(reasons)[:3])}; set another split at splits.{task.name}.test"
        )
    return TestSet(task, gold)


def _seed_paths(plan: Plan, arm: Arm) -> Iterator[tuple[int | None, list[int]]]:
    """(intermediate seed, target seeds) of each training path of an arm.

    The arm `none` has one path without an intermediate seed, which serves all of them.
    """
    if not arm.parts:
        yield None, list(dict.fromkeys(target for _, target in plan.seeds))
        return
    for seed in dict.fromkeys(intermediate for intermediate, _ in plan.seeds):
        yield seed, [target for intermediate, target in plan.seeds if intermediate == seed]


def _cells(steps: Steps, test_sets: Mapping[str, TestSet]) -> Iterator[Json]:
    plan, tables = steps.plan, steps.tables
    forgetting = plan.intermediate_scores == "after_targets"
    by_target: dict[tuple[str, ...], list[str]] = {}
    for name, test_set in test_sets.items():
        by_target.setdefault(tuple(test_set.task.trained_target or ()), []).append(name)
    for backbone in plan.backbones:
        encoded = {name: _encode(steps, backbone, test) for name, test in test_sets.items()}
        pools = {name: _pool(steps, backbone, test) for name, test in test_sets.items()}
        for arm_name, arm in plan.arms.items():
            if not applicable(arm, plan.backbones[backbone], tables):
                continue
            for intermediate, targets in _seed_paths(plan, arm):
                first = (
                    steps.intermediate(backbone, arm_name, arm, intermediate)
                    if intermediate is not None
                    else None
                )
                if arm.parts and first is None:
                    continue  # missing data is reported at the end, all at once
                if first is not None and intermediate is not None and plan.intermediate_scores:
                    steps.score_intermediate(backbone, arm_name, arm, intermediate, first)
                path = arm_name if intermediate is None else f"{arm_name} ({intermediate})"
                for trained, all_evaluations in by_target.items():
                    evaluations = [
                        name for name in all_evaluations if plan.evaluations[name].scores(arm_name)
                    ]
                    if not evaluations:
                        continue
                    for seed in targets if trained else [None]:
                        chain = _chain(steps, backbone, trained, first, seed, path)
                        if chain is None:
                            continue
                        if forgetting and first and intermediate is not None and seed is not None:
                            after = AfterTarget("+".join(trained), seed, chain[-1])
                            steps.score_intermediate(
                                backbone, arm_name, arm, intermediate, first, after
                            )
                        label = f"{path} → {'+'.join(trained) or 'none'}" + (
                            "" if seed is None else f" ({seed})"
                        )
                        scores = {
                            name: steps.score(
                                backbone,
                                test_sets[name].task,
                                test_sets[name].gold,
                                encoded[name],
                                chain[-1] if chain else None,
                                label,
                                pools[name],
                            )
                            for name in evaluations
                        }
                        yield _cell(backbone, arm_name, intermediate, seed, trained, chain, scores)


def _refuse_equal_ids(cells: Sequence[Json]) -> None:
    """Raises PlanError if two cells have one id, as names with dots allow (`a.b` + `c`, `a` +
    `b.c`).
    """
    seen: dict[str, Json] = {}
    for cell in cells:
        other = seen.setdefault(cell["id"], cell)
        if other is not cell:
            raise PlanError(
                f"arms: {other['arm']!r} of backbone {other['backbone']!r} and {cell['arm']!r} of "
                f"backbone {cell['backbone']!r} both have the cell id {cell['id']!r}; rename one"
            )


def _cell(
    backbone: str,
    arm: str,
    intermediate: int | None,
    seed: int | None,
    trained: tuple[str, ...],
    chain: list[str],
    scores: Mapping[str, str],
) -> Json:
    """The JSON of a cell.

    Args:
        backbone: Name of the backbone.
        arm: Name of the arm.
        intermediate: The intermediate seed, or None.
        seed: The target seed, or None.
        trained: The targets, in training order.
        chain: Finetune steps, in training order.
        scores: Evaluation → score step.
    """
    target = "+".join(trained) or "none"
    seeds = "".join(
        f".{kind}{value}" for kind, value in (("i", intermediate), ("t", seed)) if value is not None
    )
    return {
        "id": f"{backbone}.{arm}.{target}{seeds}",
        "backbone": backbone,
        "arm": arm,
        # The intermediate seed is the unit of replication. Arms are paired by the next two
        # columns, where null matches every seed.
        "seed": intermediate if intermediate is not None else seed,
        "seed_intermediate": intermediate,
        "seed_target": seed,
        "trained_target": target,
        "chain": chain,
        "scores": dict(scores),
    }


def _chain(
    steps: Steps,
    backbone: str,
    trained: tuple[str, ...],
    first: str | None,
    seed: int | None,
    path: str,
) -> list[str] | None:
    """Finetune steps from the intermediate to the last target.

    Args:
        steps: The steps of the plan.
        backbone: Name of the backbone.
        trained: The targets, in training order.
        first: The intermediate's finetune step. None: the arm `none`.
        seed: The target seed. None: no target is trained.
        path: The training path, for labels.

    Returns:
        Fingerprints, or None if data is missing.
    """
    chain = [first] if first else []
    for target in trained:
        assert seed is not None  # every trained target has a seed
        step = steps.target(backbone, target, chain[-1] if chain else None, seed, path)
        if step is None:
            return None
        chain.append(step)
    return chain


def _encode(steps: Steps, backbone: str, test_set: TestSet) -> dict[str, str]:
    """language → encode step of a test set."""
    task = test_set.task
    recipe_of = (task.trained_target or (task.name,))[-1]
    lengths = steps.recipes.lengths(recipe_of, steps.plan.backbones[backbone])
    return {
        language: steps.backbones.encode(backbone, task, "test", language, "eval", lengths, records)
        for language, records in test_set.gold.items()
    }


def _pool(steps: Steps, backbone: str, test_set: TestSet) -> str | None:
    """The encode step of a ranking's candidates; None for other formats."""
    if not test_set.task.pool:
        return None
    task = steps.tables.tasks[test_set.task.pool]
    lengths = steps.recipes.lengths(
        (test_set.task.trained_target or ())[-1], steps.plan.backbones[backbone]
    )
    return steps.backbones.encode_pool(
        backbone, task, test_set.gold, lengths, steps.recipes.cap(task.name, "text")
    )
