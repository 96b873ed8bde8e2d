"""The logs of a run's pods, from a fake Kubernetes API."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.pod_logs import pod_logs
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
        yield state


def test_logs_come_in_the_order_in_which_pods_started_without_kfps_drivers(
    cluster: Cluster,
) -> None:
    found = list(pod_logs("run-1", "kubeflow", tail=50))
    assert [(name, phase) for name, phase, _ in found] == [
        ("plan-1", "Succeeded"),
        ("stage-2", "Running"),
        ("score-3", "Pending"),
    ]
    assert found[0][2] == "log of plan-1\n"
    assert cluster.asked[0][1] == {"labelSelector": ["pipeline/runid=run-1"]}
    assert cluster.asked[1][1] == {"container": ["main"], "tailLines": ["50"]}


def test_a_pending_pod_is_shown_with_its_reason(cluster: Cluster) -> None:
    *_, (_, _, text) = pod_logs("run-1", "kubeflow", tail=50)
    assert text == "ImagePullBackOff: no such image; 0/3 nodes are available"


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "sign in to the cluster again"), (403, "pods/log"), (500, "API server")],
)
def test_an_error_says_what_to_do(cluster: Cluster, status: int, advice: str) -> None:
    cluster.fault = ("/pods", status)
    with pytest.raises(InfrastructureError, match=advice):
        list(pod_logs("run-1", "kubeflow", tail=50))


def test_a_deleted_pod_does_not_hide_the_others(cluster: Cluster) -> None:
    cluster.fault = ("/stage-2/log", 404)
    texts = {name: text for name, _, text in pod_logs("run-1", "kubeflow", tail=50)}
    assert texts["plan-1"] == "log of plan-1\n"
    assert "pods are removed" in texts["stage-2"]


def test_without_a_cluster_the_error_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none")
    )
    with pytest.raises(InfrastructureError, match="KUBECONFIG"):
        list(pod_logs("run-1", "kubeflow", tail=50))
