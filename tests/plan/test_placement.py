"""resources.cluster: allowed values, contradictions, and no effect on fingerprints."""

from collections.abc import Callable

import pytest

from xstilts.plan.expansion import Expansion
from xstilts.plan.load import load_plan
from xstilts.plan.placement import gpus_needed, workers_on
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
        (
            "gpus_per_worker: 0.5, cluster: {}",
            "makes 0.5 GPUs per node, and its workers need 1; use a combination that fills whole",
        ),
        (
            "workers: 5, gpus_per_worker: 0.4, cluster: {workers_per_node: 5}",
            "makes 2 GPUs per node, and its workers need 3",
        ),
        ("gpus_per_worker: 1.5", "gpus_per_worker: invalid value 1.5; allowed: a whole number"),
        ("gpus_per_worker: 0.00001", "invalid value 1e-05; allowed: a whole number"),
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


@pytest.mark.parametrize(
    ("gpus", "each", "workers"),
    [
        (1, 0.2, 5), (1, 0.1, 10), (1, 0.3, 3), (7, 0.1, 70), (1, 1 / 3, 3), (1, 0.0001, 10_000),
        (1, 0.6, 1), (2, 0.6, 2), (2, 0.4, 4), (8, 1, 8), (8, 3, 2), (4, 8, 0), (0, 0.5, 0),
    ],
)  # fmt: skip
def test_workers_on_gpus(gpus: int, each: float, workers: int) -> None:
    assert workers_on(gpus, each) == workers


@pytest.mark.parametrize(
    ("workers", "each", "gpus"),
    [(5, 0.2, 1), (6, 0.2, 2), (25, 0.28, 9), (50, 0.14, 8), (3, 0.6, 3), (3, 2, 6), (4, 0, 0)],
)
def test_gpus_of_workers(workers: int, each: float, gpus: int) -> None:
    assert gpus_needed(workers, each) == gpus


@pytest.mark.parametrize("workers", range(1, 60))
@pytest.mark.parametrize("each", [0.01, 0.07, 0.1, 0.14, 0.2, 0.28, 1 / 3, 0.5, 0.7, 1, 2, 3])
def test_the_gpus_that_workers_need_are_the_fewest_on_which_they_fit(
    workers: int, each: float
) -> None:
    gpus = gpus_needed(workers, each)
    assert workers_on(gpus, each) >= workers > workers_on(gpus - 1, each)
