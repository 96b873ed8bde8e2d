"""resources.cluster: what it may hold, what does not fit together, and that it names no result."""

from collections.abc import Callable

import pytest

from xstilts.plan.expansion import Expansion
from xstilts.plan.load import load_plan
from xstilts.plan.problems import InvalidPlan
from xstilts.plan.tables import Tables

Expanded = Callable[..., Expansion]

CLUSTER = """
resources:
  workers: 16
  gpus_per_worker: 1
  cluster:
    workers_per_node: 8
    min_workers: 8
    memory_gib_per_worker: 64
    shm_gib: 16
    node_selector: {nvidia.com/gpu.product: H200}
    tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
    queue: xstilts
    priority_class: xstilts-high
    deadline_hours: 4
"""


def test_a_cluster_changes_no_fingerprint_and_reaches_the_steps(
    expanded: Expanded, text: str
) -> None:
    before, after = expanded(), expanded(text + CLUSTER)
    assert list(after.steps) == list(before.steps)
    step = after.steps[after.by_kind()["finetune"][0]]
    cluster = step.settings["cluster"]
    assert (cluster["workers_per_node"], cluster["queue"], cluster["deadline_hours"]) == (
        8,
        "xstilts",
        4,
    )
    assert cluster["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    assert "cluster" not in before.steps[next(iter(before.steps))].settings


def test_a_plan_with_a_cluster_reads_its_own_json_back(tables: Tables, text: str) -> None:
    plan = load_plan(text + CLUSTER, tables)
    assert type(plan).model_validate(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        (
            "workers: 10, cluster: {workers_per_node: 8}",
            "10 is no multiple of resources.cluster.workers_per_node: 8",
        ),
        (
            "workers: 2, cluster: {min_workers: 3}",
            "min_workers: 3 is more than resources.workers: 2",
        ),
        ("gpus_per_worker: 0.5, cluster: {}", "a node is asked for whole GPUs"),
        ("cluster: {shm_gib: 8}", "counts towards the pod's memory, which is 8 GiB"),
        ("cluster: {queue: My_Queue}", "'My_Queue' names no object"),
        ("cluster: {node_selector: {'a b': c}}", "'a b' is no label key"),
        ("cluster: {node_selector: {a: 'c d'}}", "'c d' is no label value"),
        ("cluster: {tolerations: [{operator: Exists, key: a, value: b}]}", "Exists has no value"),
        ("cluster: {tolerations: [{value: b}]}", "Equal needs a key"),
        (
            "cluster: {tolerations: [{key: a, tolerationSeconds: 3}]}",
            "belongs to effect: NoExecute",
        ),
        ("cluster: {queue_hours: 0}", "resources.cluster.queue_hours"),
        ("cluster: {deadline_hours: 0}", "resources.cluster.deadline_hours"),
        ("cluster: {gpu: 1}", "resources.cluster: key 'gpu' is unknown"),
    ],
)
def test_a_mistake_is_named_with_its_place(
    tables: Tables, text: str, resources: str, said: str
) -> None:
    with pytest.raises(InvalidPlan) as caught:
        load_plan(f"{text}resources: {{{resources}}}\n", tables)
    assert any("resources" in problem and said in problem for problem in caught.value.problems), (
        caught.value
    )
