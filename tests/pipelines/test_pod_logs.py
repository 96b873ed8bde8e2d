"""The pods of a run and their logs, from a fake Kubernetes API."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.pod_logs import configure, log_of, pods_of
from tests.pipelines.kubernetes import OURS, Cluster, pod, served
from xstilts.errors import InfrastructureError

PODS = [
    pod("stage-2", "Running", "02", OURS),
    pod("plan-1", "Succeeded", "01", OURS),
    pod("driver-0", "Succeeded", "00", {"pipeline/runid": "run-1"}),
    pod(
        "score-3", "Pending", "03", OURS,
        containerStatuses=[
            {
                "name": "main", "image": "i", "imageID": "", "ready": False, "restartCount": 0,
                "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}},
            }
        ],
        conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}],
    ),
]  # fmt: skip


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    state = Cluster(PODS)
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config")
    )
    with served(state, tmp_path / "config"):
        configure()
        yield state


def test_pods_come_in_the_order_in_which_they_started_without_kfps_drivers(
    cluster: Cluster,
) -> None:
    pods = pods_of("run-1", "kubeflow")
    assert [(pod.name, pod.title) for pod in pods] == [
        ("plan-1", "==> plan (succeeded)"),
        ("stage-2", "==> stage sources-2 (running)"),
        ("score-3", "==> score (pending)"),
    ]
    assert log_of("plan-1", "kubeflow", tail_lines=50) == "log of plan-1\n"
    assert cluster.asked[0][1] == {"labelSelector": ["pipeline/runid=run-1"]}
    assert cluster.asked[1][1] == {"container": ["main"], "tailLines": ["50"]}


def test_a_pending_pod_has_its_reason(cluster: Cluster) -> None:
    *_, pod = pods_of("run-1", "kubeflow")
    assert pod.waiting == "ImagePullBackOff: no such image; 0/3 nodes are available"


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "sign in to the cluster again"), (403, "pods/log"), (500, "API server")],
)
def test_an_error_says_what_to_do(cluster: Cluster, status: int, advice: str) -> None:
    cluster.fault = ("/pods", status)
    with pytest.raises(InfrastructureError, match=advice):
        pods_of("run-1", "kubeflow")


def test_the_log_of_a_deleted_pod_says_where_else_it_is(cluster: Cluster) -> None:
    cluster.fault = ("/stage-2/log", 404)
    with pytest.raises(InfrastructureError, match="pods are removed"):
        log_of("stage-2", "kubeflow")


def test_without_a_cluster_the_error_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none")
    )
    with pytest.raises(InfrastructureError, match="KUBECONFIG"):
        configure()
