"""From a plan to roads, cells and steps. Everything that two cells share is one step with one
fingerprint.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xstilts.plan.batches import build_batches, encoding_batches, group_batches, source_batches
from xstilts.plan.checks import applicable, has_images, matched, used_tasks
from xstilts.plan.expansion import Expansion, Json
from xstilts.plan.schema import Arm, Plan
from xstilts.plan.split_sources import Sources, choice
from xstilts.plan.step_factory import NOTHING_LEFT, Steps
from xstilts.plan.tables import Tables
from xstilts.tasks.exposure import exposure
from xstilts.tasks.task import OVERLAPS, Task, closeness


@dataclass(frozen=True)
class Scored:
    """An evaluation as it is scored: language → records with the gold answers."""

    task: Task
    gold: Mapping[str, str]


def expand(
    plan: Plan,
    mirror: Any,
    environment: Mapping[str, str],
    tables: Tables | None = None,
    generation: str | None = None,
) -> Expansion:
    """Every step of a plan. mirror: what open_mirror returned. environment:
    numeric_environment(). generation: what makes the steps of `reuse: none` new (a run's name);
    default: the time. Raises DataError that names everything that the mirror lacks and the plan
    cannot do without.
    """
    tables = (tables or Tables.shipped()).with_tasks(plan.private_tasks)
    sources = Sources(plan, tables, mirror)
    stamp: dict[str, Any] = {} if plan.reuse == "recipe" else {"environment": dict(environment)}
    if plan.reuse == "none":
        stamp["generation"] = generation or str(time.time_ns())
    steps = Steps(plan, tables, sources, stamp)
    if plan.reuse == "recipe":  # kept in the manifest all the same
        steps.settings["environment"] = dict(environment)
    tests = {name: _test(steps, tables.tasks[name]) for name in plan.evaluations}
    skipped = [
        {"evaluation": name, "language": language, "reason": reason}
        for (name, language), reason in steps.skipped.items()
        if name in tests and tests[name].gold
    ]
    cells = list(_cells(steps, tests))
    steps.raise_lacking()
    origins: dict[str, list[str]] = {name: [] for name in plan.backbones}
    for cell in cells:
        origins[cell["backbone"]] += [*cell["chain"], *cell["scores"].values()]
    for one in steps.intermediates:
        origins[one["backbone"]] += [one["score"]] if one["score"] else []
    return Expansion(
        name=plan.name,
        plan=plan.to_json(),
        environment=dict(environment),
        steps=steps.made,
        sources=source_batches(steps.made),
        builds=build_batches(steps.made),
        encodings=encoding_batches(steps.made),
        groups=group_batches(steps.made, origins, plan.resources.groups),
        cells=cells,
        not_applicable=_not_applicable(plan, tables)
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
        contrasts=_contrasts(plan, tables),
        headline=plan.headline,
        controls=plan.controls.model_dump(mode="json", exclude_none=True),
        overlaps=_overlaps(plan, tables, tests),
        budgets=_budgets(steps),
        overrides=list(_overrides(steps)),
        identities=sources.identities,
        exposures=_exposures(plan, tables),
        intermediates=steps.intermediates,
        order={key: list(getattr(plan, key)) for key in ("backbones", "arms", "evaluations")},
    )


def _test(steps: Steps, task: Task) -> Scored:
    asked = steps.plan.evaluations[task.name].languages or steps.plan.languages
    known = steps.sources.languages(task, "test")
    if asked is None:
        # Nobody asked for the invented languages by name: they are scored where the mirror has
        # them.
        asked = tuple(
            code
            for code in known
            if code in task.languages or not isinstance(steps.sources.find(task, "test", code), str)
        )
    # A pool is mined whole: its first rows would hold next to no pair.
    cap = None if task.format == "mining" else steps.recipes.cap(task.name, "test")
    gold = {}
    for language in (code for code in known if code in asked):
        records = steps.records(task, "test", language, cap)
        if records is not None:
            gold[language] = records
    if not gold:
        reasons = {reason for (name, _), reason in steps.skipped.items() if name == task.name}
        steps.lacking[f"{task.name} has no test rows in any language asked for"] = (
            f"{'; '.join(sorted(reasons)[:3])}; name another under splits.{task.name}.test"
        )
    return Scored(task, gold)


def _roads(plan: Plan, arm: Arm) -> Iterator[tuple[int | None, list[int]]]:
    """(intermediate seed, its target seeds) of an arm. `none` has no intermediate: its cells
    serve all of them.
    """
    if not arm.parts:
        yield None, list(dict.fromkeys(target for _, target in plan.seeds))
        return
    for seed in dict.fromkeys(intermediate for intermediate, _ in plan.seeds):
        yield seed, [target for intermediate, target in plan.seeds if intermediate == seed]


def _cells(steps: Steps, tests: Mapping[str, Scored]) -> Iterator[Json]:
    plan, tables = steps.plan, steps.tables
    by_target: dict[tuple[str, ...], list[str]] = {}
    for name, test in tests.items():
        by_target.setdefault(tuple(test.task.trained_target or ()), []).append(name)
    for backbone in plan.backbones:
        encoded = {name: _encode(steps, backbone, test) for name, test in tests.items()}
        pools = {name: _pool(steps, backbone, test) for name, test in tests.items()}
        for arm_name, arm in plan.arms.items():
            if not applicable(arm, plan.backbones[backbone], tables):
                continue
            for intermediate, targets in _roads(plan, arm):
                begun = (
                    steps.intermediate(backbone, arm_name, arm, intermediate)
                    if intermediate is not None
                    else None
                )
                if arm.parts and begun is None:
                    continue  # what is lacking is reported once everything has been looked at
                if begun is not None and intermediate is not None and plan.intermediate_scores:
                    steps.score_intermediate(backbone, arm_name, arm, intermediate, begun)
                road = arm_name if intermediate is None else f"{arm_name} ({intermediate})"
                for trained, all_evaluations in by_target.items():
                    evaluations = [
                        name for name in all_evaluations if plan.evaluations[name].scores(arm_name)
                    ]
                    if not evaluations:
                        continue
                    for seed in targets if trained else [None]:
                        chain = _chain(steps, backbone, trained, begun, seed, road)
                        if chain is None:
                            continue
                        scores = {}
                        for name in evaluations:
                            model = chain[-1] if chain else None
                            label = f"{road} → {'+'.join(trained) or 'none'}" + (
                                "" if seed is None else f" ({seed})"
                            )
                            test = tests[name]
                            scores[name] = steps.score(
                                backbone,
                                test.task,
                                test.gold,
                                encoded[name],
                                model,
                                label,
                                pools[name],
                            )
                        yield _cell(backbone, arm_name, intermediate, seed, trained, chain, scores)


def _cell(
    backbone: str,
    arm: str,
    intermediate: int | None,
    seed: int | None,
    trained: tuple[str, ...],
    chain: list[str],
    scores: Mapping[str, str],
) -> Json:
    target = "+".join(trained) or "none"
    seeds = "".join(
        f".{kind}{value}" for kind, value in (("i", intermediate), ("t", seed)) if value is not None
    )
    return {
        "id": f"{backbone}.{arm}.{target}{seeds}",
        "backbone": backbone,
        "arm": arm,
        # The intermediate seed is the unit of replication; arms are paired by the two columns,
        # where null meets all.
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
    begun: str | None,
    seed: int | None,
    road: str,
) -> list[str] | None:
    """Finetune steps from the intermediate to the last target; None when data is absent."""
    chain = [begun] if begun else []
    for target in trained:
        assert seed is not None  # a trained target has one
        done = steps.target(backbone, target, chain[-1] if chain else None, seed, road)
        if done is None:
            return None
        chain.append(done)
    return chain


def _encode(steps: Steps, backbone: str, test: Scored) -> dict[str, str]:
    read_as = (test.task.trained_target or (test.task.name,))[-1]
    lengths = steps.recipes.lengths(read_as, steps.plan.backbones[backbone])
    return {
        language: steps.encode(backbone, test.task, "test", language, "eval", lengths, records)
        for language, records in test.gold.items()
    }


def _pool(steps: Steps, backbone: str, test: Scored) -> str | None:
    if not test.task.pool:
        return None
    task = steps.tables.tasks[test.task.pool]
    lengths = steps.recipes.lengths(
        (test.task.trained_target or ())[-1], steps.plan.backbones[backbone]
    )
    return steps.encode_pool(
        backbone, task, test.gold, lengths, steps.recipes.cap(task.name, "text")
    )


def _not_applicable(plan: Plan, tables: Tables) -> list[Json]:
    return [
        {
            "backbone": backbone,
            "arm": name,
            "reason": f"the arm shows images and {given.family} reads text only",
        }
        for backbone, given in plan.backbones.items()
        for name, arm in plan.arms.items()
        if has_images(arm, tables) and not applicable(arm, given, tables)
    ]


def _contrasts(plan: Plan, tables: Tables) -> list[Json]:
    """The plan's contrasts, then each other arm against `none`."""
    named = {(contrast.arm, contrast.reference) for contrast in plan.contrasts.values()}
    rows: list[Json] = [
        {
            "name": name, "arm": contrast.arm, "reference": contrast.reference, "implicit": False,
            "allow_unmatched": contrast.allow_unmatched,
            "differences": matched(plan, tables, contrast.arm, contrast.reference),
            **({"primary": list(contrast.primary)} if contrast.primary else {}),
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


def _overlaps(plan: Plan, tables: Tables, tests: Mapping[str, Scored]) -> list[Json]:
    """How close each arm's data is to each trained target's: the closest of its tasks counts."""
    trained = dict.fromkeys(tuple(test.task.trained_target or ()) for test in tests.values())

    def closest(arm: Arm, targets: tuple[str, ...]) -> str:
        found = [
            closeness(tables.tasks[part.task], target) for part in arm.parts for target in targets
        ]
        return max(found, key=OVERLAPS.index, default="unrelated")

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


def _budgets(steps: Steps) -> list[Json]:
    return [
        {
            "backbone": name, "arm": arm_name, "tasks": [part.task for part in arm.parts],
            **steps.recipes.spend(arm, given).to_json(),
        }
        for name, given in steps.plan.backbones.items()
        for arm_name, arm in steps.plan.arms.items()
        if arm.parts and applicable(arm, given, steps.tables)
    ]  # fmt: skip


def _exposures(plan: Plan, tables: Tables) -> list[Json]:
    """Whether each backbone was already trained on each arm's data: the most exposed of its
    tasks counts.
    """
    ranks = ("unseen", "unknown", "seen")
    rows = []
    for backbone, given in plan.backbones.items():
        taught = (
            None
            if given.build is None
            else {*given.build.tokenizer.from_, *(given.build.text or ())}
        )
        for name, arm in plan.arms.items():
            if not arm.parts or not applicable(arm, given, tables):
                continue
            found = [exposure(tables.tasks[part.task], given.hub, taught) for part in arm.parts]
            state, why = max(found, key=lambda one: ranks.index(one[0]))
            rows.append({"backbone": backbone, "arm": name, "exposure": state, "why": why})
    return rows


def _overrides(steps: Steps) -> Iterable[Json]:
    """Everything in which the plan leaves the shipped tables."""
    plan, tables = steps.plan, steps.tables
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
            if chosen is not None and (split in tables.tasks[name].splits):
                value = f"{chosen.task}/{chosen.split}" if chosen.task else chosen.split
                yield {"kind": "split", "task": name, "key": split, "value": value}
