"""Whether the pods of a group fit on a cluster: pure functions over the JSON of nodes, pods,
quotas, limit ranges and Kueue's queues.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from components.launch.quantity import number, shown
from xstilts.errors import counted

Object = Mapping[str, Any]
Amounts = Mapping[str, float]

#: Effects of taints that keep a pod off a node.
REPELS = ("NoSchedule", "NoExecute")
#: Allowance for the rounding of sums.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Need:
    """`count` equal pods of a group. amounts: requests of one pod, by resource."""

    role: str
    count: int
    amounts: Amounts
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Object] = ()
    priority_class: str = ""


@dataclass(frozen=True)
class Misfit:
    """kind: `never`, `nodes` (unless an autoscaler adds nodes) or `now` (it waits)."""

    kind: Literal["never", "nodes", "now"]
    text: str


def needs_of(job: Object) -> list[Need]:
    """The pods of a RayJob: its head and its workers."""
    spec = job["spec"]["rayClusterSpec"]
    groups = [("head", 1, spec["headGroupSpec"])]
    groups += [("worker", int(w["replicas"]), w) for w in spec["workerGroupSpecs"]]
    needs = []
    for role, count, group in groups:
        pod = group["template"]["spec"]
        amounts: dict[str, float] = {}
        for container in pod["containers"]:
            for resource, quantity in container["resources"]["requests"].items():
                amounts[resource] = amounts.get(resource, 0.0) + number(quantity)
        priority = pod.get("priorityClassName", "")
        selector, tolerations = pod.get("nodeSelector", {}), pod.get("tolerations", ())
        needs.append(Need(role, count, amounts, selector, tolerations, priority))
    return needs


def node_problems(
    needs: Sequence[Need], nodes: Sequence[Object], pods: Iterable[Object] | None
) -> Iterator[Misfit]:
    """What does not fit on the nodes: one pod on the largest, all on idle nodes, all on free ones.

    pods: of all namespaces; None: not known, so that only idle nodes are considered.
    """
    for need in needs:
        if not any(_allows(node, need) and _holds(_idle(node), need.amounts) for node in nodes):
            yield Misfit("nodes", _no_node(need, nodes))
            return
    if unplaced := _unplaced(needs, nodes, {_name(n): dict(_idle(n)) for n in nodes}):
        yield Misfit("nodes", f"all nodes together have no room for {unplaced}, even if idle")
    elif pods is not None and (unplaced := _unplaced(needs, nodes, _free(nodes, pods))):
        resources = sorted({r for need in needs for r in need.amounts})
        free = _total(_free(nodes, pods).values())
        text = ", ".join(f"{r} {shown(r, free.get(r, 0.0))}" for r in resources)
        yield Misfit("now", f"no room now for {unplaced}; it waits (free on all nodes: {text})")


def room_problem(
    needs: Sequence[Need], nodes: Sequence[Object], groups: int, queued: bool
) -> Iterator[Misfit]:
    """Whether several such groups have room on idle nodes at the same time.

    queued: whether Kueue starts a group when there is room for it. Otherwise its pods are pending.
    """
    free = {_name(node): _idle(node) for node in nodes}
    room = 0
    while room < groups and not _unplaced(needs, nodes, free):
        room += 1
    if 0 < room < groups:
        rest = (
            "the others wait in the queue"
            if queued
            else "the others fail after resources.cluster.start_minutes, unless an autoscaler adds "
            f"nodes; set `groups: {room}` in the settings of the cluster"
        )
        yield Misfit("now", f"{groups} run at once, and the nodes have room for {room}; {rest}")


def quota_problems(needs: Sequence[Need], quotas: Iterable[Object]) -> Iterator[Misfit]:
    """Quotas that never admit the group, or not now."""
    for quota in quotas:
        counted = [need for need in needs if _counts(quota, need)]
        total = _total(
            {r: a * need.count for r, a in {**need.amounts, "pods": 1.0}.items()}
            for need in counted
        )
        state, name = quota.get("status", {}), quota["metadata"]["name"]
        hard = state.get("hard") or quota["spec"].get("hard", {})
        for key, limit in hard.items():
            resource = key.removeprefix("requests.").removeprefix("limits.").removeprefix("count/")
            asked, most = total.get(resource, 0.0), number(limit)
            used = number(state.get("used", {}).get(key, "0"))
            text = f"quota {name}: the group needs {shown(resource, asked)} of {key}"
            if asked > most + ROUNDING:
                yield Misfit("never", f"{text}, the quota has {shown(resource, most)}")
            elif asked and asked > most - used + ROUNDING:
                rest = f"{shown(resource, most - used)} of {shown(resource, most)}"
                yield Misfit("now", f"{text}, {rest} are left; it waits")


def limit_problems(needs: Sequence[Need], ranges: Iterable[Object]) -> Iterator[Misfit]:
    """Limit ranges that reject a pod."""
    for limits in ranges:
        for item in limits["spec"].get("limits", []):
            if item["type"] not in ("Container", "Pod"):
                continue
            for need in needs:
                for resource, amount in need.amounts.items():
                    name = f"limit range {limits['metadata']['name']}: a {need.role} pod needs"
                    text = f"{name} {shown(resource, amount)} of {resource}"
                    most, least = item.get("max", {}), item.get("min", {})
                    if resource in most and amount > number(most[resource]) + ROUNDING:
                        yield Misfit("never", f"{text}, the maximum is {most[resource]}")
                    if resource in least and amount < number(least[resource]) - ROUNDING:
                        yield Misfit("never", f"{text}, the minimum is {least[resource]}")


def queue_problems(
    needs: Sequence[Need], queue: Object, flavors: Iterable[Object]
) -> Iterator[Misfit]:
    """What a ClusterQueue can never admit. flavors: the ResourceFlavors.

    In a cohort without a borrowing limit the maximum is not known, and not checked.
    """
    name, spec = f"ClusterQueue {queue['metadata']['name']}", queue["spec"]
    for condition in queue.get("status", {}).get("conditions", []):
        if condition["type"] == "Active" and condition["status"] != "True":
            yield Misfit("never", f"{name} is not active: {condition.get('message', '')}")
    if spec.get("stopPolicy", "None") != "None":
        yield Misfit("never", f"{name} is stopped (stopPolicy: {spec['stopPolicy']})")
    by_name = {flavor["metadata"]["name"]: flavor for flavor in flavors}
    groups = spec.get("resourceGroups", [])
    covered = {resource for group in groups for resource in group["coveredResources"]}
    for need in needs:
        if lacking := sorted(set(need.amounts) - covered):
            yield Misfit("never", f"{name} does not cover {', '.join(lacking)} of {need.role} pods")
    cohort = bool(spec.get("cohortName") or spec.get("cohort"))
    for group in groups:
        yield from _group_problems(name, needs, group, by_name, cohort)


def _group_problems(
    name: str, needs: Sequence[Need], group: Object, flavors: Mapping[str, Object], cohort: bool
) -> Iterator[Misfit]:
    """Kueue gives all pods of a role one flavor of each resource group."""
    total: dict[str, float] = {}
    most: dict[str, float] = {}
    for item in group["flavors"]:
        for resource, limit in _maximum(item, cohort).items():
            most[resource] = most.get(resource, 0.0) + limit
    for need in needs:
        asked = {r: a * need.count for r, a in need.amounts.items()}
        asked = {r: a for r, a in asked.items() if r in group["coveredResources"]}
        for resource, amount in asked.items():
            total[resource] = total.get(resource, 0.0) + amount
        usable = [i for i in group["flavors"] if _admits(flavors.get(i["name"]), need)]
        if not usable:
            names = ", ".join(item["name"] for item in group["flavors"])
            yield Misfit(
                "never", f"{name}: no flavor ({names}) matches the {need.role} pods' nodes"
            )
        elif not any(_holds(_maximum(item, cohort), asked) for item in usable):
            best = {r: max(_maximum(item, cohort)[r] for item in usable) for r in asked}
            over = [r for r, amount in asked.items() if amount > best[r] + ROUNDING]
            text = ", ".join(f"{r}: at most {shown(r, best[r])}" for r in over)
            reason = text or "no single flavor has all of it"
            yield Misfit("never", f"{name} can never admit {_pods(need)} ({reason})")
            return
    for resource, amount in total.items():
        if amount > most[resource] + ROUNDING:
            text = f"{resource}: {shown(resource, amount)} in all"
            text += f", at most {shown(resource, most[resource])}"
            yield Misfit("never", f"{name} can never admit the group: {text}")


def _maximum(flavor: Object, cohort: bool) -> dict[str, float]:
    """The most that a queue can use of a flavor, by resource."""
    amounts = {}
    for item in flavor["resources"]:
        limit = item.get("borrowingLimit")
        borrowed = 0.0 if not cohort else math.inf if limit is None else number(limit)
        amounts[item["name"]] = number(item["nominalQuota"]) + borrowed
    return amounts


def _admits(flavor: Object | None, need: Need) -> bool:
    """Whether pods may run on a flavor's nodes: equal labels where both name one, and taints."""
    spec = (flavor or {}).get("spec") or {}
    labels = spec.get("nodeLabels", {})
    tolerations = [*need.tolerations, *spec.get("tolerations", [])]
    return all(labels.get(k, v) == v for k, v in need.node_selector.items()) and _tolerates(
        tolerations, spec.get("nodeTaints", [])
    )


def _counts(quota: Object, need: Need) -> bool:
    """Whether a quota counts pods with this priority class; they have requests and no deadline."""
    spec = quota["spec"]
    if {"BestEffort", "Terminating"} & set(spec.get("scopes", [])):
        return False
    for rule in (spec.get("scopeSelector") or {}).get("matchExpressions", []):
        scope, operator, values = rule["scopeName"], rule["operator"], rule.get("values", [])
        if scope in ("BestEffort", "Terminating"):
            return False
        if scope == "PriorityClass":
            has = bool(need.priority_class)
            matches = {
                "In": need.priority_class in values, "NotIn": need.priority_class not in values,
                "Exists": has, "DoesNotExist": not has,
            }[operator]  # fmt: skip
            if not matches:
                return False
    return True


def _allows(node: Object, need: Need) -> bool:
    """Whether a node takes the pod: it is ready, and its labels and taints match."""
    labels, spec = node["metadata"].get("labels", {}), node.get("spec", {})
    conditions = {c["type"]: c["status"] for c in node.get("status", {}).get("conditions", [])}
    return (
        conditions.get("Ready", "True") == "True"
        and not spec.get("unschedulable")
        and need.node_selector.items() <= labels.items()
        and _tolerates(need.tolerations, spec.get("taints", []))
    )


def _tolerates(tolerations: Iterable[Object], taints: Iterable[Object]) -> bool:
    tolerations = list(tolerations)
    return all(
        any(
            t.get("key") in (None, "", taint["key"])
            and (t.get("operator") == "Exists" or t.get("value", "") == taint.get("value", ""))
            and t.get("effect") in (None, "", taint["effect"])
            for t in tolerations
        )
        for taint in taints
        if taint["effect"] in REPELS
    )


def _idle(node: Object) -> dict[str, float]:
    allocatable = node.get("status", {}).get("allocatable", {})
    return {resource: number(quantity) for resource, quantity in allocatable.items()}


def _free(nodes: Iterable[Object], pods: Iterable[Object]) -> dict[str, dict[str, float]]:
    """Node → what its pods leave free."""
    free = {_name(node): _idle(node) for node in nodes}
    for pod in pods:
        left = free.get(pod["spec"].get("nodeName", ""))
        if left is None or pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            continue
        for resource, amount in {**_requests(pod), "pods": 1.0}.items():
            left[resource] = left.get(resource, 0.0) - amount
    return free


def _requests(pod: Object) -> dict[str, float]:
    """What the scheduler counts: the sum of the containers, or a larger init container."""

    def amounts(container: Object) -> dict[str, float]:
        requests = container.get("resources", {}).get("requests", {})
        return {resource: number(quantity) for resource, quantity in requests.items()}

    total = _total(amounts(container) for container in pod["spec"].get("containers", []))
    for container in pod["spec"].get("initContainers", []):
        for resource, amount in amounts(container).items():
            total[resource] = max(total.get(resource, 0.0), amount)
    return total


def _unplaced(
    needs: Sequence[Need], nodes: Sequence[Object], free: Mapping[str, dict[str, float]]
) -> str:
    """The pods that find no node, largest pods first; empty if all do. Uses up `free`."""
    left: list[Need] = []
    for need in sorted(needs, key=lambda n: sorted(n.amounts.items()), reverse=True):
        unplaced = 0
        for _ in range(need.count):
            amounts = {**need.amounts, "pods": 1.0}
            rooms = [
                free[_name(node)]
                for node in nodes
                if _allows(node, need) and _holds(free[_name(node)], amounts)
            ]
            if not rooms:
                unplaced += 1
                continue
            room = min(rooms, key=lambda r: (r.get("nvidia.com/gpu", 0.0), r["cpu"]))
            for resource, amount in amounts.items():
                room[resource] = room.get(resource, 0.0) - amount
        if unplaced:
            left.append(Need(need.role, unplaced, need.amounts))
    return " and ".join(_pods(need) for need in left)


def _no_node(need: Need, nodes: Sequence[Object]) -> str:
    allowed = [node for node in nodes if _allows(node, need)]
    if not allowed:
        rule = ", ".join(f"{k}={v}" for k, v in need.node_selector.items())
        which = f"node_selector {rule}" if rule else "tolerations"
        return f"no ready node takes the {need.role} pods ({which}; {counted(len(nodes), 'node')})"
    largest = max(allowed, key=lambda n: [_idle(n).get(r, 0.0) for r in sorted(need.amounts)[::-1]])
    has = ", ".join(f"{r} {shown(r, _idle(largest).get(r, 0.0))}" for r in need.amounts)
    return f"no node is large enough for {_pods(need)}; the largest, {_name(largest)}, has {has}"


def _pods(need: Need) -> str:
    each = ", ".join(f"{r} {shown(r, a)}" for r, a in need.amounts.items())
    return f"{need.count} {need.role} pod{'s' * (need.count > 1)} of {each}"


def _holds(room: Amounts, amounts: Amounts) -> bool:
    return all(room.get(r, 0.0) + ROUNDING >= amount for r, amount in amounts.items() if amount)


def _total(parts: Iterable[Amounts]) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for resource, amount in part.items():
            total[resource] = total.get(resource, 0.0) + amount
    return total


def _name(node: Object) -> str:
    return str(node["metadata"]["name"])
