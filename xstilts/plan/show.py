"""The output of `xstilts plan`: steps, cost, contrasts, budgets, warnings and overrides."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from xstilts.errors import counted
from xstilts.plan.calibration import Calibration, calibration
from xstilts.plan.cost import Cost, estimate, step_costs
from xstilts.plan.expansion import Expansion
from xstilts.plan.group_shape import SHAPE, fits, no_proposal, proposal
from xstilts.plan.hub_revisions import unverified_sources
from xstilts.plan.makespan import hours_of_groups, hours_of_paths, paths
from xstilts.plan.memory import GIB, MemoryUse
from xstilts.plan.recomputed import Recomputed
from xstilts.plan.resources import Resources
from xstilts.plan.seeds import seed_warnings
from xstilts.step import STEP_KINDS
from xstilts.terminal_tables import table

_REPEAT = {
    "exact": "no step is recomputed while data, plan and library versions stay the same",
    "recipe": "no step is recomputed while data and plan stay the same, with any library versions",
    "none": "all steps are recomputed, since the plan has reuse: none",
}


def overview(
    expansion: Expansion,
    finished: Mapping[str, Collection[str]] | None = None,
    gpus: int | None = None,
    recomputed: Sequence[Recomputed] = (),
    earlier: str | None = None,
    seconds: Mapping[str, float] = MappingProxyType({}),
    measured: Calibration | None = None,
) -> dict[str, Any]:
    """The JSON of `xstilts plan --json`.

    Args:
        expansion: The expanded plan.
        finished: kind → finished fingerprints. None: no store.
        gpus: Number of GPUs, to estimate the duration.
        recomputed: Steps that the run `earlier` finished and that will be recomputed.
        earlier: Name of the newest earlier run of the plan.
        seconds: Fingerprint → measured duration of finished steps, which scales the estimate.
        measured: Scale the estimate by this instead, such as by the steps of another run.
    """
    reuse = str(expansion.plan.get("reuse", "exact"))
    estimates = step_costs(expansion)
    if measured is None:
        measured = calibration(expansion, estimates, seconds)
    costs, single, padded = (
        measured.scaled(expansion, of)
        for of in (
            estimates,
            step_costs(expansion, gpus=1.0),
            step_costs(expansion, padded=True),
        )
    )
    unshared = _without_sharing(expansion)
    rows = []
    for kind, fps in expansion.by_kind().items():
        done = len(set(fps) & set((finished or {}).get(kind, ())))
        rows.append(
            {
                "kind": kind,
                "steps": len(fps),
                "without_sharing": sum(
                    number for fp, number in unshared.items() if expansion.steps[fp].kind == kind
                ),
                "done": done,
                "to_do": len(fps) - done,
                "repeat": len(fps) if reuse == "none" else 0,
            }
        )
    parts = estimate(expansion, finished, costs)
    cost = {
        part: {"tokens": of.tokens, "gpu_hours": of.gpu_hours, "missing": list(of.missing)}
        for part, of in parts.items()
    }
    return {
        "name": expansion.name,
        "limit": expansion.plan.get("limit"),
        "cells": len(expansion.cells),
        "steps": sorted(rows, key=lambda row: STEP_KINDS.index(str(row["kind"]))),
        "batches": {
            key: len(getattr(expansion, key))
            for key in ("sources", "builds", "encodings", "groups")
        },
        "reuse": reuse,
        "repeat": _REPEAT[reuse],
        "cost": cost,
        "compared_with": earlier,
        "again": [
            {
                "kind": group.kind,
                "steps": len(group.labels),
                "reasons": list(group.reasons),
                "labels": list(group.labels),
            }
            for group in recomputed
        ],
        "gpu_hours_without_sharing": _hours(unshared, costs),
        "gpu_hours_padded": _hours(unshared, padded),
        "hours_on_gpus": (
            _hours_on(gpus, expansion, (costs, single), finished, measured) if gpus else None
        ),
        "calibration": {
            "steps": measured.steps,
            "factors": [
                {"backbone": backbone, "kind": kind, "factor": rule.factor}
                for (backbone, kind), rule in measured.rules.items()
                if backbone
            ],
        },
        **{
            key: list(getattr(expansion, key))
            for key in ("budgets", "contrasts", "overrides", "not_applicable", "skipped_languages")
        },
        "memory": list(expansion.memory),
        "headline": expansion.headline,
        "seed_warnings": seed_warnings(expansion.cells, expansion.contrasts),
        "unverified_sources": unverified_sources(expansion.identities),
    }


def _hours_on(
    gpus: int,
    expansion: Expansion,
    costs: tuple[Mapping[str, Cost], Mapping[str, Cost]],
    finished: Mapping[str, Collection[str]] | None,
    measured: Calibration,
) -> dict[str, Any]:
    """Hours on a number of GPUs: in the plan's own shape, with one GPU per training path, and in
    the shape that finishes first. costs: for the first two. Hours with one GPU per training path
    are None if a backbone does not fit on one.
    """

    @cache
    def of_width(width: float) -> Mapping[str, Cost]:
        return measured.scaled(expansion, step_costs(expansion, gpus=width))

    shape = proposal(expansion, gpus, of_width, finished)
    resources = Resources.model_validate(expansion.plan.get("resources", {}))
    return {
        "gpus": gpus,
        "groups": len(expansion.groups),
        "workers": resources.workers,
        "hours": hours_of_groups(expansion, costs[0], gpus, finished),
        "paths": len(paths(expansion)),
        "hours_of_paths": (
            hours_of_paths(expansion, costs[1], gpus, finished) if fits(expansion, 1) else None
        ),
        "resources": {key: getattr(resources, key) for key in SHAPE},
        "proposal": shape
        and {
            "resources": shape.resources,
            "hours": shape.hours,
            "gpu_hours": shape.gpu_hours,
            "at_once": shape.at_once,
        },
        "no_proposal": None if shape else no_proposal(expansion, gpus),
    }


def _without_sharing(expansion: Expansion) -> Counter[str]:
    """Fingerprint → how often it would be computed if no two cells shared a step, and no two scores
    of intermediates their rows.
    """
    needed: dict[str, frozenset[str]] = {}
    for fingerprint, step in expansion.steps.items():  # parents come before children
        needed[fingerprint] = frozenset({fingerprint}).union(
            *(needed[parent] for parent in step.parents.values())
        )
    counts: Counter[str] = Counter()
    for cell in expansion.cells:
        counts.update(frozenset().union(*(needed[fp] for fp in cell["scores"].values())))
    for entry in expansion.intermediates:
        if entry["score"]:  # of a model that a cell trains
            model = expansion.steps[entry["score"]].parents["model"]
            counts.update(needed[entry["score"]] - needed[model])
    return counts


def _hours(times: Mapping[str, int], costs: Mapping[str, Cost]) -> float:
    """GPU-hours of steps that are computed several times."""
    return sum(
        n * costs[fingerprint].gpu_hours for fingerprint, n in times.items() if fingerprint in costs
    )


def render(view: Mapping[str, Any]) -> RenderableType:
    """An overview as text and tables for the terminal."""
    parts: list[RenderableType] = [
        Text(f"{view['name']}: {counted(view['cells'], 'cell')}", style="bold")
    ]
    counts = ("steps", "without sharing", "done", "to do")
    if (limit := view["limit"]) is not None:
        rows, updates = counted(limit, "row"), counted(limit, "update")
        parts.append(Text(f"limit: at most {rows} of each split and {updates} of each training"))
    parts.append(_table("steps", ("kind", *counts), [
        (r["kind"], *(f"{r[key]:,}" for key in ("steps", "without_sharing", "done", "to_do")))
        for r in view["steps"]
    ], counts))  # fmt: skip
    parts.append(Text(f"on a repeated run: {view['repeat']}"))
    if view["again"]:
        parts.append(
            Text(f"recomputed, although the run {view['compared_with']} finished these steps:")
        )
        parts += [
            Text(f"  {a['kind']}: {_steps(a)}: {'; '.join(a['reasons'])}") for a in view["again"]
        ]
    parts += _costs(view)
    if view["memory"]:
        parts.append(Text("memory of one worker in GiB", style="italic"))
        parts += [Text(f"  {m['backbone']}: {_memory(m)}") for m in view["memory"]]
    if view["contrasts"]:
        parts.append(_table("contrasts", ("name", "arm", "reference", "differences"), [
            (
                c["name"], _side(c["arm"], c.get("backbone")),
                _side(c["reference"], c.get("reference_backbone")), "; ".join(c["differences"]),
            )
            for c in view["contrasts"]
        ]))  # fmt: skip
    if view["budgets"]:
        columns = ("backbone", "arm", "objective", "examples", "length", "examples per step")
        parts.append(_table("intermediate training", columns, [
            (
                b["backbone"], b["arm"], "+".join(b["objective"]), b["examples"] or "all",
                _length(b), b["examples_per_step"],
            )
            for b in view["budgets"]
        ]))  # fmt: skip
    parts += [Text(f"warning: {line}", style="yellow") for line in view["seed_warnings"]]
    parts += [Text(line) for line in _not_applicable(view["not_applicable"])]
    parts += [Text(line) for line in _skipped(view["skipped_languages"])]
    parts += [
        Text(f"override: {_overridden(o)}: {o['key']} = {o['value']}{_scope(o)}")
        for o in view["overrides"]
    ]
    if view["unverified_sources"]:
        names = ", ".join(view["unverified_sources"])
        parts.append(Text(f"not verified in hub.lock, newest commit used: {names}"))
    return Group(*parts)


def _side(arm: str, backbone: str | None) -> str:
    """One side of a contrast."""
    return f"{arm} on {backbone}" if backbone else arm


def _memory(worker: Mapping[str, Any]) -> str:
    """What a worker needs, with its parts."""
    again = ", checkpointing" if worker["activation_checkpointing"] else ""
    return (
        f"{worker['training_total'] / GIB:.1f} to train ({worker['dtype']}, "
        f"{worker['tokens_per_micro_batch']:,} tokens{again}: {MemoryUse(worker['training'])}), "
        f"{worker['scoring_total'] / GIB:.1f} to score"
    )


def _length(budget: Mapping[str, Any]) -> str:
    """The length of an intermediate training, in the unit of its budget."""
    if budget["updates"] is not None:
        return counted(budget["updates"], "update")
    if budget["supervised_tokens"] is not None:
        return counted(budget["supervised_tokens"], "supervised token")
    return f"{budget['epochs']:g} {'epoch' if budget['epochs'] == 1 else 'epochs'}"


def _steps(group: Mapping[str, Any]) -> str:
    """The number of steps with the label of the first, or the label of a single step."""
    first = str(group["labels"][0])
    return (
        f"{counted(group['steps'], 'step')}, for example {first}" if group["steps"] > 1 else first
    )


def _costs(view: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The estimate: a table, hours, what sharing saves, and what is missing."""
    rows = [
        (
            part,
            ("at least " if c["missing"] else "") + f"{c['tokens'] / 1e6:,.1f} M",
            ("at least " if c["missing"] else "") + f"{c['gpu_hours']:,.1f}",
        )
        for part, c in view["cost"].items()
    ]
    measured = view["calibration"]
    unit = "hours × GPUs" if measured["steps"] else "H100-hours"
    of = ("tokens", unit)
    yield _table("estimated cost, unfinished steps", ("part", *of), rows, of)
    if measured["steps"]:
        factors = ", ".join(
            f"{f['kind']} {f['backbone']} {f['factor']:.2g}" for f in measured["factors"]
        )
        yield Text(
            f"scaled by {counted(measured['steps'], 'finished step')} of this store, measured over "
            f"estimated for an H100: {factors}"
        )
    yield Text(
        f"all steps without sharing: {view['gpu_hours_without_sharing']:,.1f} {unit}; also "
        f"with rows padded to the recipe's length, and a process for each cell and language: "
        f"{view['gpu_hours_padded']:,.1f}"
    )
    if (on := view["hours_on_gpus"]) is not None:
        shape = f"{counted(on['groups'], 'group')} of {counted(on['workers'], 'worker')}"
        alone = (
            ""
            if on["hours_of_paths"] is None
            else (
                f"; {on['hours_of_paths']:,.1f} hours with one GPU for each of "
                f"{counted(on['paths'], 'training path')}"
            )
        )
        yield Text(f"on {counted(on['gpus'], 'GPU')}: {on['hours']:,.1f} hours in {shape}{alone}")
        yield Text(_proposed(on))
    if missing := view["cost"]["total"]["missing"]:
        yield Text(f"lower bounds, not estimated: {'; '.join(missing)}", style="yellow")


def _proposed(on: Mapping[str, Any]) -> str:
    """The shape that finishes first, as lines for the plan."""
    shape, gpus = on["proposal"], counted(on["gpus"], "GPU")
    if shape is None:
        return str(on["no_proposal"])
    lines = "".join(f"\n    {key}: {value}" for key, value in shape["resources"].items())
    groups, at_once = shape["resources"]["groups"], shape["at_once"]
    setting = (
        f"set `groups: {at_once}` in the settings of the cluster (docs/kubeflow.md), the number of "
        f"groups that run at once; by default {groups}, as in the plan"
    )
    setting = "" if groups == at_once else f"\n{setting}"
    if all(on["resources"][key] == value for key, value in shape["resources"].items()):
        return f"the plan's groups and workers finish first on {gpus}{setting}"
    return (
        f"groups and workers that finish first on {gpus}: {shape['hours']:,.1f} hours, "
        f"{shape['gpu_hours']:,.1f} GPU-hours; in the plan:\n  resources:{lines}{setting}"
    )


def _skipped(skipped: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One line per evaluation with the languages that the mirror lacks, and the first reason."""
    by_evaluation: dict[str, list[Mapping[str, Any]]] = {}
    for entry in skipped:
        by_evaluation.setdefault(entry["evaluation"], []).append(entry)
    for evaluation, entries in by_evaluation.items():
        codes = ", ".join(entry["language"] for entry in entries)
        example = "" if len(entries) == 1 else f"{entries[0]['language']}: "
        yield (
            f"skipped {counted(len(entries), 'language')} of {evaluation} ({codes}): "
            f"{example}{entries[0]['reason']}"
        )


def _table(
    title: str,
    columns: tuple[str, ...],
    rows: list[tuple[Any, ...]],
    numbers: Sequence[str] = (),
) -> RenderableType:
    """A table below a blank line."""
    texts = [[Text(str(cell)) for cell in row] for row in rows]  # names are not rich markup
    return Group("", table(columns, texts, title, numbers))


def _not_applicable(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One line for the arms of a backbone that have the same reason."""
    arms: dict[tuple[str, str, str], list[str]] = {}
    for entry in entries:
        kind = "trained in part" if entry.get("partly") else "not applicable"
        arms.setdefault((kind, entry["backbone"], entry["reason"]), []).append(entry["arm"])
    for (kind, backbone, reason), names in arms.items():
        yield f"{kind}: {', '.join(names)} on {backbone}: {reason}"


def _overridden(override: Mapping[str, Any]) -> str:
    """For example `budget`, or `recipe, mnli`."""
    return ", ".join(filter(None, (override["kind"], override["task"])))


def _scope(override: Mapping[str, Any]) -> str:
    return f" on {override['backbone']}" if "backbone" in override else ""
