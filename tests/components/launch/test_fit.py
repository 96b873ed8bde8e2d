"""Whether a group's pods fit: nodes, quotas, limit ranges and Kueue's queues."""

from typing import Any

import pytest

from components.launch.fit import (
    Need,
    limit_problems,
    needs_of,
    node_problems,
    queue_problems,
    quota_problems,
    room_problem,
)
from components.launch.quantity import number

Object = dict[str, Any]
WORKERS = Need(
    "worker", 2, {"cpu": 4, "memory": 2.0**33, "nvidia.com/gpu": 1}, priority_class="xstilts-batch"
)


@pytest.mark.parametrize(
    ("text", "value"),
    [("2100m", 2.1), ("2", 2), ("1Gi", 2**30), ("1G", 1e9), ("264212084Ki", 264212084 * 1024), ("1e3", 1000),
     ("1.5", 1.5), ("100k", 1e5), ("0", 0), ("1E", 1e18)],
)  # fmt: skip
def test_a_quantity_is_a_number(text: str, value: float) -> None:
    assert number(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "2 Gi", "Gi", "1gb", "1mi", "None"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        number(text)


def test_needs_are_the_pods_of_the_rayjob(job: Object) -> None:
    head, workers = needs_of(job)
    assert (head.role, head.count, head.amounts["cpu"]) == ("head", 1, 4)
    assert (workers.role, workers.count) == ("worker", 2)
    assert workers.amounts["nvidia.com/gpu"] == 8
    assert workers.amounts["memory"] == 8 * 96 * 2**30
    assert workers.node_selector == {"nvidia.com/gpu.product": "NVIDIA-H200"}
    assert workers.priority_class == "xstilts-batch"


def node(name: str = "n", cpu: str = "8", gpus: str = "1", **more: Any) -> Object:
    allocatable = {"cpu": cpu, "memory": "64Gi", "pods": "110", "nvidia.com/gpu": gpus}
    status = {
        "allocatable": allocatable,
        "conditions": [{"type": "Ready", "status": more.pop("ready", "True")}],
    }
    return {
        "metadata": {"name": name, "labels": more.pop("labels", {})},
        "spec": more,
        "status": status,
    }


def running(on: str, cpu: str, phase: str = "Running", **more: Any) -> Object:
    containers = [{"resources": {"requests": {"cpu": cpu, **more}}}]
    return {"spec": {"nodeName": on, "containers": containers}, "status": {"phase": phase}}


TAINT = {"key": "gpu", "effect": "NoSchedule"}
#: (nodes, pods, kind and start of the problem)
NODES: dict[str, tuple[list[Object], list[Object] | None, tuple[str, str] | None]] = {
    "two nodes": ([node("a"), node("b")], [], None),
    "one node of two GPUs": ([node(gpus="2")], [], None),
    "no node is large enough": ([node(cpu="3900m")] * 2, [], ("nodes", "no node is large enough for 2 worker pods")),
    "one node of one GPU": ([node()], [], ("nodes", "all nodes together have no room for 1 worker pod")),
    "a taint": ([node("a", taints=[TAINT]), node("b", taints=[TAINT])], [], ("nodes", "no ready node takes")),
    "a soft taint": ([node("a", taints=[TAINT | {"effect": "PreferNoSchedule"}]), node("b")], [], None),
    "cordoned": ([node("a", unschedulable=True), node("b")], [], ("nodes", "all nodes together")),
    "not ready": ([node("a", ready="False"), node("b")], [], ("nodes", "all nodes together")),
    "another pod has the GPU": (
        [node("a"), node("b")], [running("a", "1", **{"nvidia.com/gpu": "1"})], ("now", "no room now for 1 worker pod"),
    ),
    "an ended pod has nothing": ([node("a"), node("b")], [running("a", "8", "Succeeded")], None),
    "other pods are not known": ([node("a"), node("b")], None, None),
}  # fmt: skip


@pytest.mark.parametrize("case", NODES)
def test_nodes(case: str) -> None:
    nodes, pods, expected = NODES[case]
    problems = list(node_problems([WORKERS], nodes, pods))
    if expected is None:
        assert problems == []
    else:
        [problem] = problems
        assert problem.kind == expected[0]
        assert problem.text.startswith(expected[1])


@pytest.mark.parametrize(
    ("gpus", "groups", "room"),
    [(8, 1, None), (8, 4, None), (8, 5, 4), (7, 4, 3), (2, 24, 1), (1, 4, None)],
)
def test_groups_that_have_no_room_at_the_same_time(
    gpus: int, groups: int, room: int | None
) -> None:
    """A group has two workers with a GPU each. Where not even one fits, `node_problems` says it."""
    nodes = [node(str(each), cpu="96") for each in range(gpus)]
    texts = [problem.text for problem in room_problem([WORKERS], nodes, groups, queued=True)]
    expected = f"{groups} run at once, and the nodes have room for {room}; the others wait"
    assert [text.removesuffix(" in the queue") for text in texts] == [expected] * bool(room)


def test_without_a_queue_pods_of_further_groups_are_pending_until_they_fail() -> None:
    [problem] = room_problem([WORKERS], [node(gpus="2", cpu="16")], 2, queued=False)
    assert problem.kind == "now"
    assert problem.text.endswith(
        "the others fail after resources.cluster.start_minutes, unless an autoscaler adds nodes; "
        "set `groups: 1` in the settings of the cluster"
    )


@pytest.mark.parametrize(
    ("tolerations", "selector", "fits"),
    [
        ([{"key": "gpu", "operator": "Exists"}], {}, True),
        ([{"operator": "Exists"}], {}, True),
        ([{"key": "gpu", "operator": "Equal", "value": "other"}], {}, False),
        ([{"key": "gpu", "operator": "Exists", "effect": "NoExecute"}], {}, False),
        ([{"operator": "Exists"}], {"gpu": "h200"}, True),
        ([{"operator": "Exists"}], {"gpu": "a100"}, False),
    ],
)
def test_labels_and_taints_of_nodes(
    tolerations: list[Object], selector: dict[str, str], fits: bool
) -> None:
    need = Need("worker", 1, {"cpu": 1}, selector, tolerations)
    nodes = [node(labels={"gpu": "h200"}, taints=[TAINT])]
    assert (list(node_problems([need], nodes, [])) == []) is fits


def quota(hard: Object, used: Object | None = None, **spec: Any) -> Object:
    return {"metadata": {"name": "q"}, "spec": spec, "status": {"hard": hard, "used": used or {}}}


def of_class(operator: str, *values: str) -> Object:
    rule = {"scopeName": "PriorityClass", "operator": operator, "values": list(values)}
    return {"scopeSelector": {"matchExpressions": [rule]}}


QUOTAS: dict[str, tuple[Object, str | None]] = {
    "enough": (quota({"requests.cpu": "8", "pods": "2", "limits.memory": "16Gi"}), None),
    "too small": (quota({"requests.cpu": "7900m"}), "never"),
    "too few pods": (quota({"count/pods": "1"}), "never"),
    "the old name of a key": (quota({"cpu": "7"}), "never"),
    "used now": (quota({"requests.nvidia.com/gpu": "4"}, {"requests.nvidia.com/gpu": "3"}), "now"),
    "used, of a resource that is not needed": (quota({"services": "1"}, {"services": "1"}), None),
    "for our class": (quota({"pods": "1"}, **of_class("In", "xstilts-batch", "x")), "never"),
    "for another class": (quota({"pods": "1"}, **of_class("In", "x")), None),
    "for all other classes": (quota({"pods": "1"}, **of_class("NotIn", "xstilts-batch")), None),
    "for pods with a class": (quota({"pods": "1"}, **of_class("Exists")), "never"),
    "for pods without requests": (quota({"pods": "1"}, scopes=["BestEffort"]), None),
}  # fmt: skip


@pytest.mark.parametrize("case", QUOTAS)
def test_quotas(case: str) -> None:
    document, kind = QUOTAS[case]
    assert [p.kind for p in quota_problems([WORKERS], [document])] == ([kind] if kind else [])


@pytest.mark.parametrize(
    ("item", "problems"),
    [
        ({"type": "Container", "max": {"cpu": "4"}}, 0),
        ({"type": "Container", "max": {"cpu": "3999m"}}, 1),
        ({"type": "Pod", "max": {"memory": "1Gi"}}, 1),
        ({"type": "Container", "min": {"cpu": "5"}}, 1),
        ({"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}, 0),
    ],
)
def test_limit_ranges(item: Object, problems: int) -> None:
    document = {"metadata": {"name": "l"}, "spec": {"limits": [item]}}
    assert len(list(limit_problems([WORKERS], [document]))) == problems


def queue(
    *flavors: Object, covered: tuple[str, ...] = tuple(WORKERS.amounts), **spec: Any
) -> Object:
    groups = [{"coveredResources": list(covered), "flavors": list(flavors)}]
    return {"metadata": {"name": "cq"}, "spec": {"resourceGroups": groups, **spec}}


def flavor(name: str = "any", gpus: str = "2", **borrowing: str) -> Object:
    amounts = {"cpu": "100", "memory": "1Ti", "nvidia.com/gpu": gpus}
    return {
        "name": name, "resources": [{"name": n, "nominalQuota": q, **borrowing} for n, q in amounts.items()]
    }  # fmt: skip


TAINTED = {"metadata": {"name": "any"}, "spec": {"nodeTaints": [TAINT]}}
STOPPED = {
    "status": {"conditions": [{"type": "Active", "status": "False", "message": "flavor not found"}]}
}
QUEUES: dict[str, tuple[Object, list[Object], str | None]] = {
    "enough": (queue(flavor()), [], None),
    "too few GPUs": (queue(flavor(gpus="1")), [], "can never admit 2 worker pods"),
    "no flavor has all of them": (queue(flavor("a", "1"), flavor("b", "1")), [], "can never admit"),
    "one of the flavors": (queue(flavor("a", "1"), flavor("b", "2")), [], None),
    "borrowed from a cohort": (queue(flavor(gpus="1"), cohortName="c"), [], None),
    "borrowed up to a limit": (queue(flavor(gpus="1", borrowingLimit="0"), cohortName="c"), [], "can never admit"),
    "a resource that is not covered": (
        queue(flavor(), covered=("cpu", "memory")), [], "does not cover nvidia.com/gpu",
    ),
    "a flavor with a taint": (queue(flavor()), [TAINTED], "no flavor (any) matches"),
    "not active": ({**queue(flavor()), **STOPPED}, [], "is not active: flavor not found"),
    "stopped": (queue(flavor(), stopPolicy="Hold"), [], "is stopped"),
}  # fmt: skip


@pytest.mark.parametrize("case", QUEUES)
def test_cluster_queues(case: str) -> None:
    document, flavors, expected = QUEUES[case]
    problems = [p.text for p in queue_problems([WORKERS], document, flavors)]
    assert len(problems) == (expected is not None)
    assert expected is None or expected in problems[0]
