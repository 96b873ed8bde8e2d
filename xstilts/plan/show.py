"""The output of `xstilts plan`: steps, cost, contrasts, budgets, warnings and overrides."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from xstilts.plan.cost import estimate
from xstilts.plan.expansion import Expansion
from xstilts.plan.hub_revisions import unverified_sources
from xstilts.plan.recomputed import Recomputed
from xstilts.plan.seeds import seed_warnings

STEP_KINDS = ("records", "build", "encode", "finetune", "score")
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
) -> dict[str, Any]:
    """The JSON of `xstilts plan --json`.

    Args:
        expansion: The expanded plan.
        finished: kind → finished fingerprints. None: no store.
        gpus: Number of GPUs, to estimate the duration.
        recomputed: Steps that the run `earlier` finished and that will be recomputed.
        earlier: Name of the newest earlier run of the plan.
    """
    reuse = str(expansion.plan.get("reuse", "exact"))
    unshared = _without_sharing(expansion)
    rows = []
    for kind, fps in expansion.by_kind().items():
        done = len(set(fps) & set((finished or {}).get(kind, ())))
        rows.append(
            {
                "kind": kind,
                "steps": len(fps),
                "without_sharing": unshared.get(kind, 0),
                "done": done,
                "to_do": len(fps) - done,
                "repeat": len(fps) if reuse == "none" else 0,
            }
        )
    cost = {part: asdict(estimated) for part, estimated in estimate(expansion, finished).items()}
    hours = cost["total"]["gpu_hours"]
    return {
        "name": expansion.name,
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
        "hours_on_gpus": {"gpus": gpus, "hours": hours / gpus if hours is not None else None}
        if gpus
        else None,
        **{
            key: list(getattr(expansion, key))
            for key in ("budgets", "contrasts", "overrides", "not_applicable", "skipped_languages")
        },
        "headline": expansion.headline,
        "seed_warnings": seed_warnings(expansion.cells, expansion.contrasts),
        "unverified_sources": unverified_sources(expansion.identities),
    }


def _without_sharing(expansion: Expansion) -> dict[str, int]:
    """kind → number of steps if no two cells shared a step."""
    needed: dict[str, frozenset[str]] = {}
    for fingerprint, step in expansion.steps.items():  # parents come before children
        needed[fingerprint] = frozenset({fingerprint}).union(
            *(needed[parent] for parent in step.parents.values())
        )
    kinds = {fingerprint: step.kind for fingerprint, step in expansion.steps.items()}
    counts: dict[str, int] = {}
    for cell in expansion.cells:
        for fingerprint in frozenset().union(*(needed[fp] for fp in cell["scores"].values())):
            counts[kinds[fingerprint]] = counts.get(kinds[fingerprint], 0) + 1
    return counts


def render(view: Mapping[str, Any]) -> RenderableType:
    """An overview as text and tables for the terminal."""
    parts: list[RenderableType] = [Text(f"{view['name']}: {view['cells']} cells", style="bold")]
    parts.append(_table("steps", ("kind", "steps", "without sharing", "done", "to do"), [
        (r["kind"], r["steps"], r["without_sharing"], r["done"], r["to_do"]) for r in view["steps"]
    ]))  # fmt: skip
    parts.append(Text(f"on a repeated run: {view['repeat']}"))
    if view["again"]:
        parts.append(
            Text(f"recomputed, although the run {view['compared_with']} finished these steps:")
        )
        parts += [
            Text(f"  {a['kind']}: {_steps(a)}: {'; '.join(a['reasons'])}") for a in view["again"]
        ]
    cost = [
        (part, _number(c["tokens"], 1e6, " M"), _number(c["gpu_hours"], 1, ""))
        for part, c in view["cost"].items()
    ]
    parts.append(
        _table(
            "estimated cost of unfinished steps, within a factor of two",
            ("part", "tokens", "H100-hours"),
            cost,
        )
    )
    if view["hours_on_gpus"]:
        duration = view["hours_on_gpus"]
        parts.append(Text(f"on {duration['gpus']} GPUs: {_number(duration['hours'], 1, ' hours')}"))
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
    parts += [
        Text(f"{_applicability(n)}: {n['arm']} on {n['backbone']}: {n['reason']}")
        for n in view["not_applicable"]
    ]
    parts += [
        Text(f"skipped: {s['language']} of {s['evaluation']}: {s['reason']}")
        for s in view["skipped_languages"]
    ]
    parts += [
        Text(f"override: {o['kind']} {o['task'] or 'all'} {o['key']} = {o['value']}{_scope(o)}")
        for o in view["overrides"]
    ]
    if view["unverified_sources"]:
        names = ", ".join(view["unverified_sources"])
        parts.append(Text(f"not verified in hub.lock, newest commit used: {names}"))
    return Group(*parts)


def _side(arm: str, backbone: str | None) -> str:
    """One side of a contrast."""
    return f"{arm} on {backbone}" if backbone else arm


def _length(budget: Mapping[str, Any]) -> str:
    """The length of an intermediate training, in the unit of its budget."""
    if budget["updates"] is not None:
        return f"{budget['updates']:,} updates"
    if budget["supervised_tokens"] is not None:
        return f"{budget['supervised_tokens']:,} supervised tokens"
    return f"{budget['epochs']:g} epochs"


def _steps(group: Mapping[str, Any]) -> str:
    """The number of steps with the label of the first, or the label of a single step."""
    first = str(group["labels"][0])
    return f"{group['steps']:,} steps, for example {first}" if group["steps"] > 1 else first


def _number(value: float | None, unit: float, suffix: str) -> str:
    return "unknown" if value is None else f"{value / unit:,.1f}{suffix}"


def _table(title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Table:
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))  # names are not rich markup
    return table


def _applicability(entry: Mapping[str, Any]) -> str:
    return "trained in part" if entry.get("partly") else "not applicable"


def _scope(override: Mapping[str, Any]) -> str:
    return f" on {override['backbone']}" if "backbone" in override else ""
