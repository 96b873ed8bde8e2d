"""resources.cluster: allowed values, contradictions, and no effect on fingerprints."""

from collections.abc import Callable

import pytest

from xstilts.plan.expansion import Expansion
from xstilts.plan.load import load_plan
from xstilts.plan.plan_errors import InvalidPlan
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
    ("resources", "message"),
    [
        (
            "workers: 10, cluster: {workers_per_node: 8}",
            "10 is not a multiple of resources.cluster.workers_per_node: 8",
        ),
        (
            "workers: 2, cluster: {min_workers: 3}",
            "min_workers: 3 is more than resources.workers: 2",
        ),
        ("gpus_per_worker: 0.5, cluster: {}", "makes 0.5 GPUs per node"),
        ("cluster: {shm_gib: 8}", "counts towards the pod's memory of 8 GiB"),
        ("cluster: {queue: My_Queue}", "invalid object name 'My_Queue'"),
        ("cluster: {node_selector: {'a b': c}}", "invalid label key 'a b'"),
        ("cluster: {node_selector: {a: 'c d'}}", "invalid label value 'c d'"),
        ("cluster: {tolerations: [{operator: Exists, key: a, value: b}]}", "Exists takes no value"),
        ("cluster: {tolerations: [{value: b}]}", "Equal needs a key"),
        (
            "cluster: {tolerations: [{key: a, tolerationSeconds: 3}]}",
            "only allowed with effect: NoExecute",
        ),
        ("cluster: {queue_hours: 0}", "resources.cluster.queue_hours"),
        ("cluster: {deadline_hours: 0}", "resources.cluster.deadline_hours"),
        ("cluster: {gpu: 1}", "resources.cluster: key 'gpu' is unknown"),
    ],
)
def test_an_invalid_value_is_reported_with_its_key(
    tables: Tables, text: str, resources: str, message: str
) -> None:
    with pytest.raises(InvalidPlan) as caught:
        load_plan(f"{text}resources: {{{resources}}}\n", tables)
    assert any(
        "resources" in problem and message in problem for problem in caught.value.problems
    ), caught.value
