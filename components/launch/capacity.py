"""Whether a Ray cluster can ever place a group: what its nodes have, against what the workers
ask for. Pure.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from xstilts.plan.placement import Cluster


def lacking(nodes: Iterable[Mapping[str, float]], settings: Mapping[str, Any]) -> str | None:
    """What is too small, and what to do; None when the group can be placed once nothing else runs.

    nodes: the resources of each (`CPU`, `GPU`), as Ray names them. settings: of the group's steps
    (workers, gpus_per_worker, cluster).
    """
    cluster = Cluster.model_validate(settings.get("cluster") or {})
    workers = int(settings.get("workers", 1))
    return short(nodes, cluster.min_workers or workers, cluster.cpus_per_worker, _gpus(settings))


def short(
    nodes: Iterable[Mapping[str, float]], workers: int, cpus: float, gpus: float
) -> str | None:
    """The same for so many workers of so many processors and GPUs each."""
    there = [(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes]
    room = sum(_fits(has_cpus, cpus, has_gpus, gpus) for has_cpus, has_gpus in there)
    if room >= workers:
        return None
    each = f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
    seen = (
        ", ".join(f"{c:g} CPUs and {g:g} GPUs" for c, g in sorted(set(there), reverse=True)[:5])
        or "none"
    )
    found = (
        f"no node has room for a worker of {each}"
        if not room
        else f"it has room for {room} workers of {each}"
    )
    return (
        f"the group needs {workers} and {found} (nodes: {seen}), so it would wait for ever; ask for less "
        "(resources.workers, gpus_per_worker, cluster.cpus_per_worker, cluster.min_workers), or add nodes first"
    )


def grows(status: Mapping[str, Any]) -> bool:
    """Whether more nodes may come by themselves, by Ray's `/api/cluster_status`.

    Ray's monitor runs on every head. Without an autoscaler it calls each node's type `node_<id>`,
    after the node itself; types with other names are an autoscaler's. One that reports nothing
    there (version 2, or a monitor that runs elsewhere) may be growing.
    """
    report = (status.get("clusterStatus") or {}).get("autoscalerReport") or {}
    types = report.get("nodeTypeMapping") or {}
    return not types or any(kind != f"node_{node}" for node, kind in types.items())


def _fits(has_cpus: float, cpus: float, has_gpus: float, gpus: float) -> int:
    """How many workers fit on a node."""
    least = int(has_cpus / cpus + 1e-6)
    return min(least, int(has_gpus / gpus + 1e-6)) if gpus else least


def _gpus(settings: Mapping[str, Any]) -> float:
    return float(settings.get("gpus_per_worker") or 0)
