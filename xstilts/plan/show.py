"""What `xstilts plan` prints: the work, what is shared, what is done, what a repeat would do,
and what it costs.
"""

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

KINDS = ("records", "build", "encode", "finetune", "score")
_REPEAT = {
    "exact": "nothing is done again while data, plan and library versions stay the same",
    "recipe": "nothing is done again while data and plan stay the same, whatever the library versions",
    "none": "everything is done again: the plan says reuse: none",
}


def overview(
    expansion: Expansion,
    finished: Mapping[str, Collection[str]] | None = None,
    gpus: int | None = None,
    again: Sequence[Recomputed] = (),
    earlier: str | None = None,
) -> dict[str, Any]:
    """The JSON of `xstilts plan --json`. finished: status.done (None: no store). gpus: how many,
    for the duration. again: the steps that the run `earlier` of this plan has done and that are
    computed again.
    """
    reuse = str(expansion.plan.get("reuse", "exact"))
    alone = _without_sharing(expansion)
    rows = []
    for kind, fps in expansion.by_kind().items():
        ready = len(set(fps) & set((finished or {}).get(kind, ())))
        rows.append(
            {
                "kind": kind,
                "steps": len(fps),
                "without_sharing": alone.get(kind, 0),
                "done": ready,
                "to_do": len(fps) - ready,
                "repeat": len(fps) if reuse == "none" else 0,
            }
        )
    cost = {kind: asdict(one) for kind, one in estimate(expansion, finished).items()}
    hours = cost["total"]["gpu_hours"]
    return {
        "name": expansion.name,
        "cells": len(expansion.cells),
        "steps": sorted(rows, key=lambda row: KINDS.index(str(row["kind"]))),
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
                "kind": one.kind,
                "steps": len(one.labels),
                "reasons": list(one.reasons),
                "labels": list(one.labels),
            }
            for one in again
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
    """kind → steps if every cell did all of its own work."""
    below: dict[str, frozenset[str]] = {}
    for fingerprint, step in expansion.steps.items():  # parents come before children
        below[fingerprint] = frozenset({fingerprint}).union(
            *(below[parent] for parent in step.parents.values())
        )
    kinds = {fingerprint: step.kind for fingerprint, step in expansion.steps.items()}
    counts: dict[str, int] = {}
    for cell in expansion.cells:
        for fingerprint in frozenset().union(*(below[fp] for fp in cell["scores"].values())):
            counts[kinds[fingerprint]] = counts.get(kinds[fingerprint], 0) + 1
    return counts


def render(view: Mapping[str, Any]) -> RenderableType:
    """An overview for people."""
    parts: list[RenderableType] = [Text(f"{view['name']}: {view['cells']} cells", style="bold")]
    parts.append(_table("work", ("kind", "steps", "without sharing", "done", "to do"), [
        (r["kind"], r["steps"], r["without_sharing"], r["done"], r["to_do"]) for r in view["steps"]
    ]))  # fmt: skip
    parts.append(Text(f"repeat: {view['repeat']}"))
    if view["again"]:
        parts.append(
            Text(f"computed again, although the run {view['compared_with']} finished these steps:")
        )
        parts += [
            Text(f"  {a['kind']}: {_steps(a)}, {'; '.join(a['reasons'])}") for a in view["again"]
        ]
    cost = [
        (kind, _number(c["tokens"], 1e6, " M"), _number(c["gpu_hours"], 1, ""))
        for kind, c in view["cost"].items()
    ]
    parts.append(
        _table(
            "cost of what is to do, within a factor of two", ("part", "tokens", "H100-hours"), cost
        )
    )
    if view["hours_on_gpus"]:
        on = view["hours_on_gpus"]
        parts.append(Text(f"on {on['gpus']} GPUs: {_number(on['hours'], 1, ' hours')}"))
    if view["contrasts"]:
        parts.append(
            _table(
                "contrasts",
                ("name", "arm", "reference", "not matched in"),
                [
                    (c["name"], c["arm"], c["reference"], "; ".join(c["differences"]))
                    for c in view["contrasts"]
                ],
            )
        )
    if view["budgets"]:
        parts.append(
            _table(
                "intermediates",
                ("backbone", "arm", "objective", "examples", "length", "a step"),
                [
                    (
                        b["backbone"],
                        b["arm"],
                        "+".join(b["objective"]),
                        b["examples"] or "all",
                        _length(b),
                        b["examples_per_step"],
                    )
                    for b in view["budgets"]
                ],
            )
        )
    parts += [Text(f"warning: {line}", style="yellow") for line in view["seed_warnings"]]
    parts += [
        Text(
            f"{'trained in part' if n.get('partly') else 'not applicable'}: {n['arm']} on {n['backbone']}: {n['reason']}"
        )
        for n in view["not_applicable"]
    ]
    parts += [
        Text(f"left out: {s['language']} of {s['evaluation']}: {s['reason']}")
        for s in view["skipped_languages"]
    ]
    parts += [
        Text(f"override: {o['kind']} {o['task'] or 'all'} {o['key']} = {o['value']}{_only(o)}")
        for o in view["overrides"]
    ]
    if view["unverified_sources"]:
        names = ", ".join(view["unverified_sources"])
        parts.append(Text(f"not verified in hub.lock, newest commit used: {names}"))
    return Group(*parts)


def _length(budget: Mapping[str, Any]) -> str:
    """How long an intermediate training runs, in the unit that the plan pays in."""
    if budget["updates"] is not None:
        return f"{budget['updates']:,} updates"
    if budget["supervised_tokens"] is not None:
        return f"{budget['supervised_tokens']:,} supervised tokens"
    return f"{budget['epochs']:g} epochs"


def _steps(group: Mapping[str, Any]) -> str:
    """How many steps, and the label of one."""
    return (
        f"{group['steps']:,} steps such as {group['labels'][0]}"
        if group["steps"] > 1
        else f"{group['labels'][0]}"
    )


def _number(value: float | None, unit: float, suffix: str) -> str:
    return "unknown" if value is None else f"{value / unit:,.1f}{suffix}"


def _table(title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Table:
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    return table


def _only(override: Mapping[str, Any]) -> str:
    return f" on {override['backbone']}" if "backbone" in override else ""
