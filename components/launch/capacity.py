"""Whether a Ray cluster can ever place a group: the resources of its nodes and of the workers."""

from collections.abc import Iterable, Mapping
from typing import Any

from xstilts.plan.placement import Cluster, fitting, workers_on


def problem_of(nodes: Iterable[Mapping[str, float]], settings: Mapping[str, Any]) -> str | None:
    """What is too small and what to do, None if the group fits on an idle cluster.

    nodes: the resources of each node, by Ray's names (`CPU`, `GPU`). settings: of the group's
    steps (workers, gpus_per_worker, cluster).
    """
    cluster = Cluster.model_validate(settings.get("cluster") or {})
    workers = int(settings.get("workers", 1))
    return problem(nodes, cluster.min_workers or workers, cluster.cpus_per_worker, _gpus(settings))


def problem(
    nodes: Iterable[Mapping[str, float]], workers: int, cpus: float, gpus: float
) -> str | None:
    """Like `problem_of`, for `workers` workers of `cpus` CPUs and `gpus` GPUs each."""
    sizes = [(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes]
    capacity = sum(_fits(has_cpus, cpus, has_gpus, gpus) for has_cpus, has_gpus in sizes)
    if capacity >= workers:
        return None
    each = f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
    shown = [f"{c:g} CPUs and {g:g} GPUs" for c, g in sorted(set(sizes), reverse=True)[:5]]
    fits = f"only {capacity} fit" if capacity else "none fits on a node"
    return (
        f"the group needs {workers} workers of {each}, but {fits} (nodes: "
        f"{', '.join(shown) or 'none'}); reduce resources.workers, gpus_per_worker, "
        "cluster.cpus_per_worker or cluster.min_workers, or add nodes"
    )


def grows(status: Mapping[str, Any]) -> bool:
    """Whether an autoscaler may add nodes, according to Ray's `/api/cluster_status`.

    Ray's monitor runs on every head. Without an autoscaler it names each node's type `node_<id>`;
    other names belong to an autoscaler. A status without types (autoscaler v2, or a monitor on
    another machine) counts as growing.
    """
    report = (status.get("clusterStatus") or {}).get("autoscalerReport") or {}
    types = report.get("nodeTypeMapping") or {}
    return not types or any(kind != f"node_{node}" for node, kind in types.items())


def _fits(has_cpus: float, cpus: float, has_gpus: float, gpus: float) -> int:
    """How many workers fit on a node."""
    by_cpus = fitting(has_cpus, cpus)
    return min(by_cpus, workers_on(has_gpus, gpus)) if gpus else by_cpus


def _gpus(settings: Mapping[str, Any]) -> float:
    return float(settings.get("gpus_per_worker") or 0)
