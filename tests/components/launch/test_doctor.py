"""`xstilts doctor --cluster`: one line for each check, with advice on what is missing."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from components.launch import doctor
from components.launch.doctor import check_fit, checks, report
from components.launch.kubernetes import Api
from pipelines.cli import main
from tests.components.launch.scripted import ScriptedCluster, said, served
from xstilts.errors import InfrastructureError
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
        "spec": {},
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
    return [what for good, what in lines if good is False]


def unknown(address: str, **options: Any) -> list[str]:
    lines = list(checks(Api(address, patience=0), "xstilts", {}, **options))
    return [what for good, what in lines if good is None]


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
    [line] = unknown(address)
    assert "KubeRay's operator" in line
    assert "no permission to list pods" in line


@pytest.mark.parametrize("thing", sorted(kind for kind, _ in ABSENT))
def test_an_object_that_may_not_be_read_is_not_reported_as_missing(
    cluster: ScriptedCluster, address: str, thing: str
) -> None:
    assert missing(address) == []
    reads = [n for n, request in enumerate(cluster.requests) if f"/{thing}/" in request]
    cluster.requests.clear()
    cluster.faults = [403 if n in reads else None for n in range(max(reads) + 1)]
    lines = list(checks(Api(address, patience=0), "xstilts", {}))
    assert [what for good, what in lines if good is False and "not set" not in what] == []
    assert any("you are not allowed to read it" in what for good, what in lines if good is None)


def test_a_missing_right_is_named_with_its_account(cluster: ScriptedCluster, address: str) -> None:
    cluster.allowed = lambda spec: spec["resourceAttributes"]["verb"] != "patch"
    assert missing(address) == [
        "xstilts-step may create, get, patch, delete rayjobs: denied: patch; apply k8s/base"
    ]


def test_without_review_rights_an_accounts_rights_are_not_checked(
    cluster: ScriptedCluster, address: str
) -> None:
    """The caller's own rights say nothing about those of another account."""
    assert missing(address) == []
    first = next(
        n for n, request in enumerate(cluster.requests) if "subjectaccessreviews" in request
    )
    cluster.requests.clear()
    cluster.faults = [None] * first + [403]
    [line] = unknown(address)
    assert line.startswith("xstilts-step may create, get, patch, delete rayjobs: not checked")
    assert not any("selfsubjectaccessreviews" in request for request in cluster.requests)


def test_an_operator_whose_lease_is_stale_does_not_answer(
    cluster: ScriptedCluster, address: str
) -> None:
    spec = {"holderIdentity": "kuberay-operator-7d_1", "renewTime": "2020-01-01T00:00:00.000000Z"}
    cluster.add("leases", {"metadata": {"name": "ray-operator-leader"}, "spec": spec})
    [line] = missing(address)
    assert "is ready, but has not renewed its lease" in line
    spec["renewTime"] = datetime.now(UTC).isoformat()
    assert missing(address) == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "it does not manage RayJobs"),
        (
            (500, said('failed calling webhook "mrayjob.kb.io": connection refused')),
            "mrayjob.kb.io",
        ),
    ],
)
def test_a_kueue_that_does_not_answer_is_missing(
    cluster: ScriptedCluster, address: str, answer: Any, reason: str
) -> None:
    """Its objects are there. A dry run changes nothing."""
    cluster.kueue = False
    assert any("it does not manage RayJobs" in line for line in missing(address))
    probe = next(n for n, r in enumerate(cluster.requests) if r.startswith("POST /apis/ray.io"))
    cluster.faults = [None] * probe + [answer] * 5
    assert any(reason in line for line in missing(address))
    assert cluster.jobs() == []


RESOURCES = {"workers": 2, "gpus_per_worker": 1, "cluster": {"cpus_per_worker": 4}}


def test_the_groups_of_a_plan_are_checked_on_nodes_quota_limits_and_queue(
    cluster: ScriptedCluster, address: str
) -> None:
    node = {
        "cpu": "16",
        "memory": "64Gi",
        "ephemeral-storage": "500Gi",
        "pods": "110",
        "nvidia.com/gpu": "1",
    }
    cluster.add("nodes", {"metadata": {"name": "n1"}, "status": {"allocatable": node}})
    quota = cluster.objects["resourcequotas", "gpus"]
    quota["spec"], quota["status"]["hard"]["requests.nvidia.com/gpu"] = {}, "1"
    limits = {"limits": [{"type": "Container", "max": {"cpu": "3000m"}}]}
    cluster.add("limitranges", {"metadata": {"name": "most"}, "spec": limits})
    cluster.objects["localqueues", "xstilts"]["spec"] = {"clusterQueue": "gpus-queue"}
    amounts = [{"name": n, "nominalQuota": q} for n, q in (node | {"nvidia.com/gpu": "1"}).items()]
    cluster.add(
        "clusterqueues",
        {
            "metadata": {"name": "gpus-queue"},
            "spec": {
                "resourceGroups": [
                    {
                        "coveredResources": list(node),
                        "flavors": [{"name": "any", "resources": amounts}],
                    }
                ]
            },
        },
    )
    cluster.add("resourceflavors", {"metadata": {"name": "any"}})
    lines = [
        what
        for good, what in checks(Api(address, patience=0), "xstilts", {}, RESOURCES)
        if good is False
    ]
    texts = [line.removeprefix("the plan's groups: ") for line in lines]
    assert [text.split(":")[0] for text in texts] == [
        "quota gpus", "limit range most", "all nodes together have no room for 1 worker pod of cpu 4, memory 8Gi, "
        "nvidia.com/gpu 1, ephemeral-storage 50Gi, even if idle",
        "ClusterQueue gpus-queue can never admit 2 worker pods of cpu 4, memory 8Gi, nvidia.com/gpu 1, "
        "ephemeral-storage 50Gi (nvidia.com/gpu",
    ]  # fmt: skip


def test_what_of_the_fit_could_not_be_read_is_not_checked(
    cluster: ScriptedCluster, address: str
) -> None:
    assert any("nodes: not checked" in line for line in unknown(address, resources=RESOURCES))


def test_a_plan_that_can_never_run_is_not_submitted(
    cluster: ScriptedCluster, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XSTILTS_KUBERNETES_API", address)
    monkeypatch.delenv("XSTILTS_LAUNCHER", raising=False)
    quota = cluster.objects["resourcequotas", "gpus"]
    quota["spec"], quota["status"]["hard"]["requests.nvidia.com/gpu"] = {}, "1"
    with pytest.raises(InfrastructureError, match=r"not submitted.*quota gpus: the group needs 2"):
        check_fit(RESOURCES, "xstilts", print)


def test_a_cluster_out_of_reach_does_not_stop_a_submission(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XSTILTS_KUBERNETES_API", "http://127.0.0.1:1")
    monkeypatch.setattr(Api, "in_cluster", lambda: Api("http://127.0.0.1:1", sleep=lambda _: None))
    warnings: list[str] = []
    monkeypatch.setattr(doctor, "api_here", lambda: Api("http://127.0.0.1:1", patience=0))
    check_fit(RESOURCES, "xstilts", warnings.append)
    assert "not checked whether the plan's groups fit" in warnings[0]


@pytest.mark.parametrize(
    ("key", "used", "hard"),
    [("pods", "64", "64"), ("requests.cpu", "2100m", "2"), ("requests.memory", "1024Mi", "1Gi")],
)
def test_a_quota_that_is_used_up_is_missing(
    cluster: ScriptedCluster, address: str, key: str, used: str, hard: str
) -> None:
    cluster.objects["resourcequotas", "gpus"]["status"] = {"hard": {key: hard}, "used": {key: used}}
    assert missing(address) == [
        f"quota gpus: {key} {used} of {hard}; exhausted: {key}; no pod starts"
    ]


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
