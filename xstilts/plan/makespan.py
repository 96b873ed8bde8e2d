"""Hours until a plan is done on N GPUs, by list scheduling: what comes next starts on the GPUs that
are free first.
"""

import heapq
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from xstilts.plan.cost import Cost, workers_of_a_group
from xstilts.plan.cost_assumptions import assumed
from xstilts.plan.expansion import Expansion
from xstilts.plan.placement import gpus_needed, workers_on


def makespan(durations: Sequence[float], slots: int, longest_first: bool = True) -> float:
    """The end of the last job if each starts on the slot that is free first. Longest first, it is
    at most 4/3 of the shortest possible (Graham 1969); else jobs start in their order.
    """
    if slots < 1:
        raise ValueError("at least one slot is needed")
    ends = [0.0] * slots
    for duration in sorted(durations, reverse=True) if longest_first else durations:
        heapq.heappush(ends, heapq.heappop(ends) + duration)
    return max(ends)


def paths(expansion: Expansion) -> list[list[str]]:
    """Training paths: an intermediate, everything that continues it, and their scores, in the order
    in which they run. A path cannot be split, since each step reads the one before. Scores of an
    untrained backbone are paths of their own.
    """
    roots: dict[str, str] = {}
    members: dict[str, list[str]] = {}
    for group in expansion.groups:
        for fingerprint in (*group["finetune"], *group["score"]):
            parents = expansion.steps[fingerprint].parents
            parent = parents.get("init") or parents.get("model")
            roots[fingerprint] = roots.get(parent, parent) if parent else fingerprint
            members.setdefault(roots[fingerprint], []).append(fingerprint)
    return list(members.values())


def hours_of_groups(
    expansion: Expansion,
    costs: Mapping[str, Cost],
    gpus: int,
    finished: Mapping[str, Collection[str]] | None = None,
    groups: Sequence[Mapping[str, Any]] | None = None,
    shape: tuple[int, float] | None = None,
) -> float:
    """Hours of groups that start in their order, as the pipeline starts them. Each computes its
    steps one after the other on all of its GPUs. With fewer GPUs than a group has, its hours grow
    accordingly.

    Args:
        expansion: The expanded plan.
        costs: Of every step, on the GPUs of a group.
        gpus: Number of GPUs.
        finished: kind → finished fingerprints.
        groups: Default: those of the plan.
        shape: Workers of a group, and GPUs of each. Default: as the plan has them.
    """
    workers, each = shape or workers_of_a_group(expansion)
    jobs = []
    for group in expansion.groups if groups is None else groups:
        steps = (*group["finetune"], *group["score"])
        hours = sum(_hours(fingerprint, expansion, costs, finished) for fingerprint in steps)
        jobs.append(hours + assumed("group") / 3600 if hours else 0.0)
    slots = workers_on(gpus, each) // workers
    if slots:
        return makespan(jobs, slots, longest_first=False)
    return makespan(jobs, 1) * gpus_needed(workers, each) / gpus


def hours_of_paths(
    expansion: Expansion,
    costs: Mapping[str, Cost],
    gpus: int,
    finished: Mapping[str, Collection[str]] | None = None,
) -> float:
    """Hours if every training path had one GPU: the shape `groups: N, workers: 1`. costs: on one
    GPU.
    """
    jobs = [
        sum(_hours(fingerprint, expansion, costs, finished) for fingerprint in path)
        for path in paths(expansion)
    ]
    return makespan(jobs, gpus)


def _hours(
    fingerprint: str,
    expansion: Expansion,
    costs: Mapping[str, Cost],
    finished: Mapping[str, Collection[str]] | None,
) -> float:
    done = (finished or {}).get(expansion.steps[fingerprint].kind, ())
    return 0.0 if fingerprint in done else costs[fingerprint].hours
