"""Whether a Ray cluster can ever place a group."""

from typing import Any

import pytest

from components.launch.capacity import grows, problem, problem_of

BIG, SMALL = {"CPU": 16.0, "GPU": 8.0}, {"CPU": 4.0}


def test_workers_are_counted_node_by_node() -> None:
    """The remainders of two nodes do not add up to a third worker."""
    assert problem([SMALL, SMALL], 2, 3, 0) is None
    assert "3 workers of 3 CPUs, but only 2 fit" in str(problem([SMALL, SMALL], 3, 3, 0))


def test_the_scarcer_of_cpus_and_gpus_decides() -> None:
    assert problem([BIG], 8, 2, 1) is None
    assert "only 5 fit" in str(problem([BIG], 8, 3, 1))
    assert "only 8 fit" in str(problem([BIG], 9, 1, 1))


def test_workers_may_share_a_gpu() -> None:
    assert problem([{"CPU": 8.0, "GPU": 1.0}], 3, 1, 1 / 3) is None
    assert problem([{"CPU": 8.0, "GPU": 1.0}], 4, 1, 1 / 3) is not None


def test_a_part_of_a_gpu_is_of_one_gpu() -> None:
    """Two GPUs have room for two workers of 0.6, although three would need 1.8."""
    assert problem([{"CPU": 8.0, "GPU": 2.0}], 2, 1, 0.6) is None
    assert "only 2 fit" in str(problem([{"CPU": 8.0, "GPU": 2.0}], 3, 1, 0.6))


def test_the_message_lists_the_nodes() -> None:
    message = problem_of([BIG, SMALL, SMALL], {"workers": 2, "gpus_per_worker": 16})
    assert "2 workers of 2 CPUs and 16 GPUs, but none fits on a node" in str(message)
    assert "nodes: 16 CPUs and 8 GPUs, 4 CPUs and 0 GPUs" in str(message)


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ({"ab": "node_ab", "cd": "node_cd"}, False),
        ({"ab": "node_ab", "10.0.0.7": "workers"}, True),
        ({}, True),
    ],
)
def test_an_autoscaler_is_known_by_the_types_of_its_nodes(
    types: dict[str, str], expected: bool
) -> None:
    assert grows({"clusterStatus": {"autoscalerReport": {"nodeTypeMapping": types}}}) is expected


@pytest.mark.parametrize(
    "status", [{}, {"clusterStatus": None}, {"clusterStatus": {"autoscalerReport": None}}]
)
def test_a_cluster_that_reports_no_autoscaler_of_either_kind_may_be_growing(
    status: dict[str, Any],
) -> None:
    assert grows(status)
