"""Proposes `groups` and `workers`: the shape of a plan's work that finishes first on N GPUs.

Groups and workers change no result. Several workers share one step, whose updates are not faster
than the launch of their kernels; several groups train different paths. Candidates are compared by
list scheduling of the same groups that the plan would have.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xstilts.plan.batches import group_batches
from xstilts.plan.cost import Cost
from xstilts.plan.cost_assumptions import assumed
from xstilts.plan.expansion import Expansion
from xstilts.plan.makespan import hours_of_groups, paths
from xstilts.plan.memory_needs import memory_needs
from xstilts.plan.resources import MOST_GROUPS
from xstilts.tasks.private import with_private

#: Candidates within this factor of the shortest time count as equally fast.
_TOLERANCE = 1.01

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
        gpus = int(self.gpus_per_worker) if self.gpus_per_worker >= 1 else self.gpus_per_worker
        return {
            "groups": self.groups,
            "workers": self.workers,
            "gpus_per_worker": gpus,
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
    resources = expansion.plan.get("resources", {})
    each = float(resources.get("gpus_per_worker") or 1)
    by_backbone = _by_backbone(expansion)
    limit = min(MOST_GROUPS, _most_paths(expansion))
    least = least_workers(expansion, int(gpus // each), each)
    shapes = [group_batches(expansion.steps, by_backbone, count) for count in range(1, limit + 1)]
    candidates = []
    for workers in _numbers_of_workers(resources.get("cluster") or {}, int(gpus // each)):
        if least is None or workers < least:
            continue
        width = workers * each
        of = costs(width)
        gpu_hours = sum(
            cost.gpu_hours
            for fingerprint, cost in of.items()
            if fingerprint not in (finished or {}).get(expansion.steps[fingerprint].kind, ())
        )
        for count, groups in enumerate(shapes, start=1):
            hours = hours_of_groups(expansion, of, gpus, finished, groups, width)
            start = len(groups) * width * assumed("group") / 3600
            at_once = min(int(gpus // width), len(groups))
            sharding = "full" if least > 1 else None
            candidates.append(
                GroupShape(count, workers, each, sharding, hours, gpu_hours + start, at_once)
            )
    if not candidates:
        return None
    shortest = min(candidate.hours for candidate in candidates)
    fast = [c for c in candidates if c.hours <= _TOLERANCE * shortest]
    return min(fast, key=lambda c: (c.gpu_hours, c.groups))


def least_workers(expansion: Expansion, most: int, gpus_per_worker: float = 1.0) -> int | None:
    """The smallest number of workers with which every backbone fits: 1, or a power of two that
    shards. None if `most` workers are not enough. Backbones of unknown shape count as fitting.
    """
    size = expansion.plan.get("resources", {}).get("gpu_memory_gib") or assumed("GPU memory")
    tasks = with_private(expansion.task_files)
    configs = {
        _key(expansion.steps[group["finetune"][0]].spec["backbone"]): expansion.configs.get(
            group["backbone"]
        )
        for group in expansion.groups
        if group["finetune"]
    }
    workers = 1
    while workers <= most:
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
            tasks,
            lambda identity: configs.get(_key(identity)),
            changes,
        )
        if not any(need.problems for need in needs):
            return workers
        workers *= 2
    return None


def _key(identity: Any) -> str:
    return json.dumps(identity, sort_keys=True)


def _numbers_of_workers(cluster: Mapping[str, Any], most: int) -> Sequence[int]:
    """Powers of two that `resources.cluster` allows."""
    node, least = cluster.get("workers_per_node", 1), cluster.get("min_workers") or 1
    numbers = (2**power for power in range(most.bit_length()))
    return [n for n in numbers if n % node == 0 and least <= n <= most]


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
