"""`xstilts doctor --cluster`: one line for each check, with advice on what is missing."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from components.launch.doctor import checks, report
from components.launch.kubernetes import Api
from pipelines.cli import main
from tests.components.launch.scripted import ScriptedCluster, served
from xstilts.store.server import Server
from xstilts.store.store import Store

NAMES = {
    "configmaps": "xstilts-config", "secrets": "xstilts-s3", "cronjobs": "xstilts-gc", "localqueues": "xstilts",
    "priorityclasses": "xstilts-batch", "workloadpriorityclasses": "xstilts-batch",
}  # fmt: skip


def operator(ready: str) -> dict[str, Any]:
    """A pod of KubeRay's operator, as in its own manifests."""
    metadata = {
        "name": "kuberay-operator-7d", "namespace": "default",
        "labels": {"app.kubernetes.io/name": "kuberay", "app.kubernetes.io/component": "kuberay-operator"},
    }  # fmt: skip
    return {"metadata": metadata, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


@pytest.fixture
def cluster(store: Store) -> ScriptedCluster:
    """A cluster that passes all checks."""
    cluster = ScriptedCluster()
    cluster.add("pods", operator("True"))
    for kind, name in (
        *NAMES.items(),
        ("serviceaccounts", "xstilts-step"),
        ("serviceaccounts", "xstilts-ray"),
    ):
        cluster.add(kind, {"metadata": {"name": name, "namespace": "xstilts"}})
    cluster.objects["configmaps", "xstilts-config"]["data"] = {
        "XSTILTS_STORE": store.uri, "XSTILTS_QUEUE": "xstilts", "XSTILTS_PRIORITY_CLASS": "xstilts-batch",
    }  # fmt: skip
    quota = {
        "metadata": {"name": "gpus"},
        "status": {"hard": {"pods": "64"}, "used": {"pods": "3"}},
    }
    cluster.add("resourcequotas", quota)
    return cluster


@pytest.fixture
def address(cluster: ScriptedCluster) -> Iterator[str]:
    with served(cluster) as address:
        yield address


def missing(address: str, environment: Mapping[str, str] | None = None) -> list[str]:
    lines = list(checks(Api(address, patience=0), "xstilts", environment or {}))
    return [what for good, what in lines if not good]


def test_a_complete_cluster_passes_all_checks(cluster: ScriptedCluster, address: str) -> None:
    lines = list(checks(Api(address, patience=0), "xstilts", {}))
    assert [what for good, what in lines if not good] == []
    assert any("quota gpus: pods 3 of 64" in what for _, what in lines)
    assert any("written, read and deleted" in what for _, what in lines)


ABSENT = {
    ("configmaps", "xstilts-config"): "ConfigMap xstilts-config in xstilts: absent; apply k8s/base",
    ("serviceaccounts", "xstilts-ray"): "ServiceAccount xstilts-ray in xstilts: absent",
    ("cronjobs", "xstilts-gc"): "without it RayJobs of killed runs are not removed",
    ("localqueues", "xstilts"): "RayJobs would wait forever",
    ("priorityclasses", "xstilts-batch"): "pods that name it would be rejected",
    (
        "workloadpriorityclasses",
        "xstilts-batch",
    ): "Kueue rejects RayJobs that name it",
}


@pytest.mark.parametrize("thing", ABSENT)
def test_a_missing_object_is_named(
    cluster: ScriptedCluster, address: str, thing: tuple[str, str]
) -> None:
    del cluster.objects[thing]
    assert any(ABSENT[thing] in line for line in missing(address))


def test_a_cluster_whose_pods_have_an_identity_needs_no_secret(
    cluster: ScriptedCluster, address: str
) -> None:
    del cluster.objects["secrets", "xstilts-s3"]
    assert missing(address) == []


def test_a_missing_crd_is_reported_with_what_to_install(
    cluster: ScriptedCluster, address: str
) -> None:
    cluster.kuberay = False
    assert missing(address) == ["KubeRay's CRD rayjobs.ray.io/v1: absent; install KubeRay 1.7"]


def test_a_missing_operator_is_reported_although_its_crd_exists(
    cluster: ScriptedCluster, address: str
) -> None:
    cluster.remove("pods", "kuberay-operator-7d")
    [line] = missing(address)
    assert "KubeRay's operator" in line
    assert "absent; install KubeRay 1.7: without the operator no RayJob starts" in line


def test_pods_of_ray_are_not_taken_for_the_operator(cluster: ScriptedCluster, address: str) -> None:
    """Pods of a Ray cluster have the same name label, and another component."""
    head = operator("True")
    head["metadata"] |= {"name": "x-head", "labels": {"app.kubernetes.io/name": "kuberay"}}
    cluster.add("pods", head)
    cluster.remove("pods", "kuberay-operator-7d")
    assert len(missing(address)) == 1


def test_an_operator_that_does_not_run_is_named(cluster: ScriptedCluster, address: str) -> None:
    cluster.add("pods", operator("False"))
    [line] = missing(address)
    assert "see `kubectl -n default describe pod kuberay-operator-7d`" in line


def test_without_rights_the_operator_is_reported_as_not_checked(
    cluster: ScriptedCluster, address: str
) -> None:
    """A step's pod lacks the right to see it; that does not mean it is missing."""
    assert missing(address) == []
    asked = next(n for n, request in enumerate(cluster.requests) if "/api/v1/pods" in request)
    cluster.faults = [None] * asked + [403]
    lines = list(checks(Api(address, patience=0), "xstilts", {}))
    assert all(good for good, _ in lines)
    assert any(
        "KubeRay's operator" in what and "no permission to list pods" in what for _, what in lines
    )


def test_a_missing_right_is_named_with_its_account(cluster: ScriptedCluster, address: str) -> None:
    cluster.allowed = lambda spec: spec["resourceAttributes"]["verb"] != "patch"
    assert missing(address) == [
        "xstilts-step may create, get, patch, delete rayjobs: denied: patch; apply k8s/base"
    ]


def test_without_review_rights_the_callers_own_access_is_checked(
    cluster: ScriptedCluster, address: str
) -> None:
    assert missing(address) == []
    first = next(
        n for n, request in enumerate(cluster.requests) if "subjectaccessreviews" in request
    )
    cluster.requests.clear()
    cluster.faults = [None] * first + [403]
    assert missing(address) == []
    assert "/selfsubjectaccessreviews" in cluster.requests[first + 1]


def test_a_quota_that_is_used_up_is_missing(cluster: ScriptedCluster, address: str) -> None:
    cluster.objects["resourcequotas", "gpus"]["status"]["used"]["pods"] = "64"
    assert missing(address) == ["quota gpus: pods 64 of 64; exhausted: pods; no pod starts"]


def test_a_store_that_refuses_is_missing(cluster: ScriptedCluster, address: str) -> None:
    [line] = missing(address, {"XSTILTS_STORE": "s3://no-such-bucket/x"})
    assert "the bucket does not exist" in line


def test_an_unreachable_server_is_the_only_line() -> None:
    [line] = missing("http://127.0.0.1:1")
    assert line.startswith("Kubernetes API: GET /version: http://127.0.0.1:1 unreachable")


def test_the_command_exits_with_3_when_something_is_missing(
    cluster: ScriptedCluster, address: str, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    monkeypatch.setenv("XSTILTS_KUBERNETES_API", address)
    assert main(["doctor", "--cluster", "--namespace", "xstilts"]) == 0
    cluster.kuberay = False
    assert main(["doctor", "--cluster", "--namespace", "xstilts"]) == 3


def test_the_default_namespace_is_that_of_a_single_user_kfp(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XSTILTS_KUBERNETES_API", address)
    monkeypatch.delenv("XSTILTS_NAMESPACE", raising=False)
    report(print, None)
    assert "ConfigMap xstilts-config in kubeflow" in capsys.readouterr().out
