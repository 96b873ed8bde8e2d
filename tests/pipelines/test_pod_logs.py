"""The logs of a run's pods, from a Kubernetes API that answers as a cluster's does."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from pipelines.pod_logs import pod_logs
from xstilts.errors import InfrastructureError

OURS = {"app.kubernetes.io/part-of": "xstilts", "pipeline/runid": "run-1"}


def pod(name: str, phase: str, made: str, labels: dict[str, str], **status: Any) -> dict[str, Any]:
    metadata = {"name": name, "labels": labels, "creationTimestamp": f"2026-11-25T10:{made}:00Z"}
    return {"metadata": metadata, "spec": {"containers": []}, "status": {"phase": phase, **status}}


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


class Cluster:
    """What the API answers; a status other than 200 stands for every request whose path ends with the given word."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.fault: tuple[str, int] | None = None

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, str]:
        self.asked.append((path, query))
        if self.fault is not None and path.endswith(self.fault[0]):
            return self.fault[1], "{}"
        if path == "/api/v1/namespaces/kubeflow/pods":
            return 200, json.dumps({"kind": "PodList", "apiVersion": "v1", "items": PODS})
        return 200, f"log of {path.split('/')[-2]}\n"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    state = Cluster()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            status, text = state.answer(parts.path, parse_qs(parts.query))
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if text.startswith("{") else "text/plain")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{http.server_address[1]}"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }  # fmt: skip
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
    yield state
    http.shutdown()
    http.server_close()


def test_logs_come_in_the_order_in_which_pods_started_without_kfps_drivers(cluster: Cluster) -> None:
    found = list(pod_logs("run-1", "kubeflow", tail=50))
    assert [(name, phase) for name, phase, _ in found] == [
        ("plan-1", "Succeeded"),
        ("stage-2", "Running"),
        ("score-3", "Pending"),
    ]
    assert found[0][2] == "log of plan-1\n"
    assert cluster.asked[0][1] == {"labelSelector": ["pipeline/runid=run-1"]}
    assert cluster.asked[1][1] == {"container": ["main"], "tailLines": ["50"]}


def test_a_pod_that_does_not_start_says_why(cluster: Cluster) -> None:
    *_, (_, _, text) = pod_logs("run-1", "kubeflow", tail=50)
    assert text == "ImagePullBackOff: no such image; 0/3 nodes are available"


@pytest.mark.parametrize(("status", "advice"), [(401, "sign in again"), (403, "pods/log"), (500, "API server")])
def test_a_refusal_says_what_to_do(cluster: Cluster, status: int, advice: str) -> None:
    cluster.fault = ("/pods", status)
    with pytest.raises(InfrastructureError, match=advice):
        list(pod_logs("run-1", "kubeflow", tail=50))


def test_a_pod_that_is_gone_hides_no_other(cluster: Cluster) -> None:
    cluster.fault = ("/stage-2/log", 404)
    texts = {name: text for name, _, text in pod_logs("run-1", "kubeflow", tail=50)}
    assert texts["plan-1"] == "log of plan-1\n"
    assert "cleared away" in texts["stage-2"]


def test_without_a_cluster_it_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(InfrastructureError, match="KUBECONFIG"):
        list(pod_logs("run-1", "kubeflow", tail=50))
