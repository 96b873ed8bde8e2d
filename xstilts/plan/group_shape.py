"""Proposes `groups` and `workers`: the shape of a plan's work that finishes first on N GPUs.

Groups and workers change no result. Several workers share one step, whose updates are not faster
than the launch of their kernels; several groups train different paths. Candidates are compared by
list scheduling of the same groups that the plan would have.
"""

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from xstilts.errors import counted
from xstilts.plan.batches import group_batches
from xstilts.plan.cost import Cost, workers_of_a_group
from xstilts.plan.cost_assumptions import assumed
from xstilts.plan.expansion import Expansion
from xstilts.plan.makespan import hours_of_groups, paths
from xstilts.plan.memory_needs import memory_needs
from xstilts.plan.placement import Cluster, workers_on
from xstilts.plan.resources import MOST_GROUPS
from xstilts.plan.value_types import MOST_PROCESSES
from xstilts.tasks.private import with_private

#: Candidates within this factor of the shortest time count as equally fast.
_TOLERANCE = 1.01

#: The keys of `resources` that a proposal may set.
SHAPE = ("groups", "workers", "gpus_per_worker", "sharding")

#: GPUs of a group → cost of every step.
Costs = Callable[[float], Mapping[str, Cost]]


@dataclass(frozen=True)
class GroupShape:
    """A proposal for `resources`.

    Attributes:
        groups: Groups per backbone.
        workers: Workers of a group.
        gpus_per_worker: GPUs of a worker.
        sharding: `full` if a worker's share of the weights is all that fits; None: as in the plan.
        hours: Until the last group ends.
        gpu_hours: Of all groups.
        at_once: Groups that run at the same time.
    """

    groups: int
    workers: int
    gpus_per_worker: float
    sharding: str | None
    hours: float
    gpu_hours: float
    at_once: int

    @property
    def resources(self) -> dict[str, Any]:
        """The keys of `resources`."""
        sharding = {"sharding": self.sharding} if self.sharding else {}
        each = self.gpus_per_worker
        return {
            "groups": self.groups,
            "workers": self.workers,
            "gpus_per_worker": int(each) if each >= 1 else each,
            **sharding,
        }


def proposal(
    expansion: Expansion,
    gpus: int,
    costs: Costs,
    finished: Mapping[str, Collection[str]] | None = None,
) -> GroupShape | None:
    """The shape that finishes first. Among equally fast ones, the one with the fewest GPU-hours,
    then the fewest groups. None if no group fits on so few GPUs.

    Args:
        expansion: The expanded plan.
        gpus: Number of GPUs.
        costs: Estimates.
        finished: kind → finished fingerprints.
    """
    each = gpus_of_a_worker(expansion)
    by_backbone = _by_backbone(expansion)
    limit = min(MOST_GROUPS, _most_paths(expansion))
    shapes = [group_batches(expansion.steps, by_backbone, count) for count in range(1, limit + 1)]
    alone = fits(expansion, 1, each)
    candidates = []
    for workers in numbers_of_workers(expansion, gpus):
        if not alone and not fits(expansion, workers, each):
            continue
        width = workers * each
        of = costs(width)
        gpu_hours = sum(
            cost.gpu_hours
            for fingerprint, cost in of.items()
            if fingerprint not in (finished or {}).get(expansion.steps[fingerprint].kind, ())
        )
        sharding = None if alone else "full"
        for count, groups in enumerate(shapes, start=1):
            hours = hours_of_groups(expansion, of, gpus, finished, groups, (workers, each))
            start = len(groups) * width * assumed("group") / 3600
            at_once = min(workers_on(gpus, each) // workers, len(groups))
            candidates.append(
                GroupShape(count, workers, each, sharding, hours, gpu_hours + start, at_once)
            )
    if not candidates:
        return None
    shortest = min(candidate.hours for candidate in candidates)
    fast = [c for c in candidates if c.hours <= _TOLERANCE * shortest]
    return min(fast, key=lambda c: (c.gpu_hours, c.groups))


def no_proposal(expansion: Expansion, gpus: int) -> str:
    """Why no shape of the plan's work is possible on a number of GPUs, and what to do."""
    on, each = counted(gpus, "GPU"), gpus_of_a_worker(expansion)
    if numbers_of_workers(expansion, gpus):
        part, more = "", "assume more with --gpus"
        if each < 1:
            part, more = f" with {each:g} GPUs per worker", "raise resources.gpus_per_worker"
        return f"not every backbone of the plan fits on {on}{part}; {more}"
    cluster = _cluster(expansion)
    least = _least_workers(cluster)
    keys = [
        key
        for key, limits in (
            ("gpus_per_worker", each > 1),
            ("cluster.workers_per_node", cluster.workers_per_node > 1),
            ("cluster.min_workers", (cluster.min_workers or 1) > 1),
        )
        if limits
    ]
    return (
        f"the smallest group that the plan allows, {counted(least, 'worker')} with "
        f"{each:g} {'GPU' if each <= 1 else 'GPUs'} each, does not fit on {on}; assume more with "
        f"--gpus, or lower resources.{' or resources.'.join(keys)}"
    )


def gpus_of_a_worker(expansion: Expansion) -> float:
    """As the plan has it; 1 for a plan without GPUs."""
    return workers_of_a_group(expansion)[1]


def fits(expansion: Expansion, workers: int, gpus_per_worker: float = 1.0) -> bool:
    """Whether every backbone fits on a group of this shape, whose workers share the weights.
    Backbones of unknown shape count as fitting.
    """
    size = expansion.plan.get("resources", {}).get("gpu_memory_gib") or assumed("GPU memory")
    configs = {
        _key(expansion.steps[group["finetune"][0]].spec["backbone"]): expansion.configs.get(
            group["backbone"]
        )
        for group in expansion.groups
        if group["finetune"]
    }
    changes = {
        "workers": workers,
        "sharding": "full" if workers > 1 else "none",
        "gpus_per_worker": gpus_per_worker,
        "gpu_memory_gib": size,
        "cluster": None,
    }
    needs = memory_needs(
        expansion.steps,
        expansion.groups,
        with_private(expansion.task_files),
        lambda identity: configs.get(_key(identity)),
        changes,
    )
    return not any(need.problems for need in needs)


def numbers_of_workers(expansion: Expansion, gpus: int) -> list[int]:
    """Workers of a group on this number of GPUs: whole nodes, doubled again and again; the least
    that `resources.cluster` allows; and as many as the plan has.
    """
    cluster = _cluster(expansion)
    least = _least_workers(cluster)
    most = min(workers_on(gpus, gpus_of_a_worker(expansion)), MOST_PROCESSES)
    node, own = cluster.workers_per_node, expansion.plan.get("resources", {}).get("workers", 1)
    doubled = {node * 2**power for power in range(most.bit_length())}
    return sorted(number for number in {*doubled, least, own} if least <= number <= most)


def _least_workers(cluster: Cluster) -> int:
    """The fewest workers that fill whole nodes and are at least `min_workers`."""
    node = cluster.workers_per_node
    return node * math.ceil((cluster.min_workers or 1) / node)


def _cluster(expansion: Expansion) -> Cluster:
    return Cluster.model_validate(expansion.plan.get("resources", {}).get("cluster") or {})


def _key(identity: Any) -> str:
    return json.dumps(identity, sort_keys=True)


def _most_paths(expansion: Expansion) -> int:
    """Paths of the backbone that has the most."""
    counts: dict[str, int] = {}
    backbones = {
        fingerprint: group["backbone"]
        for group in expansion.groups
        for fingerprint in (*group["finetune"], *group["score"])
    }
    for path in paths(expansion):
        counts[backbones[path[0]]] = counts.get(backbones[path[0]], 0) + 1
    return max(counts.values(), default=1)


def _by_backbone(expansion: Expansion) -> dict[str, list[str]]:
    """Backbone → its finetune and score steps, in the order of the expansion, which decides how
    paths are dealt to groups.
    """
    order: dict[str, list[str]] = {}
    for cell in expansion.cells:
        order.setdefault(cell["backbone"], []).extend([*cell["chain"], *cell["scores"].values()])
    for entry in expansion.intermediates:
        if entry["score"]:
            order.setdefault(entry["backbone"], []).append(entry["score"])
    return order
