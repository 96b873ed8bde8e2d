"""What the network policies open and what stays shut, in the namespace of KFP and in a profile's
own.
"""

import pytest

from tests.k8s.manifests import Document
from tests.k8s.reach import End, reaches


def ours(component: str, namespace: str, node_type: str | None = None) -> End:
    labels = {"app.kubernetes.io/part-of": "xstilts", "app.kubernetes.io/component": component}
    return End(labels | ({"ray.io/node-type": node_type} if node_type else {}), namespace)


def ends(home: str) -> dict[str, End]:
    return {
        "step": ours("step", home),
        "head": ours("ray-head", home, "head"),
        "worker": ours("ray-worker", home),
        "gc": ours("gc", home),
        "a stranger of the namespace": End({"app": "notebook"}, home),
        "another's Ray head": End({"ray.io/node-type": "head"}, home),
        "our step elsewhere": ours("step", "team-b"),
        "operator by kustomize": End(
            {"app.kubernetes.io/name": "kuberay", "app.kubernetes.io/component": "kuberay-operator"}, "default"
        ),
        "operator by helm": End(
            {"app.kubernetes.io/name": "kuberay-operator", "app.kubernetes.io/component": "kuberay-operator"}, "ray"
        ),
        "dns": End({"k8s-app": "kube-dns"}, "kube-system"),
        "node's dns cache": End(None, address="169.254.20.10"),
        "api server": End(None, address="172.18.0.2"),
        "kfp api": End({"app": "ml-pipeline"}, "kubeflow"),
        "kfp metadata": End({"component": "metadata-grpc-server"}, "kubeflow"),
        "kfp s3": End({"app": "seaweedfs"}, "kubeflow"),
        "kfp database": End({"app": "mysql"}, "kubeflow"),
        "prometheus": End({"app.kubernetes.io/name": "prometheus"}, "monitoring"),
        "s3 of aws": End(None, address="52.218.0.1"),
        "instance metadata": End(None, address="169.254.169.254"),
    }  # fmt: skip


OPEN = [
    ("step", "dns", 53), ("head", "dns", 53), ("gc", "node's dns cache", 53),
    ("step", "api server", 6443), ("step", "api server", 443), ("gc", "api server", 6443),
    ("step", "kfp api", 8887), ("step", "kfp metadata", 8080),
    ("step", "kfp s3", 8333), ("head", "kfp s3", 8333), ("worker", "kfp s3", 8333), ("gc", "kfp s3", 8333),
    ("head", "worker", 12345), ("worker", "head", 6379), ("worker", "worker", 40000),
    ("operator by kustomize", "head", 8265), ("operator by helm", "head", 8265),
    ("step", "head", 8265), ("step", "another's Ray head", 8265),
    # KFP's own pods are never cut off
    ("kfp api", "kfp database", 3306), ("a stranger of the namespace", "kfp api", 8888),
    ("kfp api", "s3 of aws", 443), ("kfp s3", "api server", 6443),
]  # fmt: skip
SHUT = [
    ("a stranger of the namespace", "head", 8265), ("a stranger of the namespace", "worker", 10001),
    ("a stranger of the namespace", "step", 80), ("our step elsewhere", "head", 8265),
    ("operator by kustomize", "head", 6379), ("operator by kustomize", "worker", 8265),
    ("head", "api server", 6443), ("worker", "api server", 443), ("worker", "kfp api", 8888),
    ("worker", "step", 80), ("step", "worker", 8265), ("step", "head", 10001),
    ("step", "kfp database", 3306), ("gc", "head", 8265), ("gc", "kfp api", 8888),
    ("worker", "another's Ray head", 8265), ("prometheus", "head", 8080),
    ("worker", "s3 of aws", 443), ("step", "instance metadata", 80),
]  # fmt: skip


def _policies(builds: dict[str, list[Document]], home: str, name: str = "kind") -> list[Document]:
    policies = [d for d in builds[name] if d["kind"] == "NetworkPolicy"]
    return [{**d, "metadata": {**d["metadata"], "namespace": home}} for d in policies]


@pytest.mark.parametrize("home", ["kubeflow", "team-a"])
@pytest.mark.parametrize(("source", "target", "port"), OPEN)
def test_open(
    builds: dict[str, list[Document]], home: str, source: str, target: str, port: int
) -> None:
    there = ends(home)
    protocol = "UDP" if port == 53 else "TCP"
    assert reaches(_policies(builds, home), there[source], there[target], port, protocol)


@pytest.mark.parametrize("home", ["kubeflow", "team-a"])
@pytest.mark.parametrize(("source", "target", "port"), SHUT)
def test_shut(
    builds: dict[str, list[Document]], home: str, source: str, target: str, port: int
) -> None:
    there = ends(home)
    assert not reaches(_policies(builds, home), there[source], there[target], port)


def test_https_opens_s3_outside_and_not_instance_metadata(
    builds: dict[str, list[Document]],
) -> None:
    there, policies = ends("team-a"), _policies(builds, "team-a", "gpu")
    assert reaches(policies, there["worker"], there["s3 of aws"], 443)
    assert not reaches(policies, there["worker"], there["instance metadata"], 443)
    assert not reaches(policies, there["worker"], there["s3 of aws"], 80)


def test_prometheus_reaches_ray_s_metrics_with_its_component(
    builds: dict[str, list[Document]],
) -> None:
    there, policies = ends("team-a"), _policies(builds, "team-a", "prometheus")
    assert reaches(policies, there["prometheus"], there["head"], 8080)
    assert reaches(policies, there["prometheus"], there["worker"], 8080)
    assert not reaches(policies, there["prometheus"], there["head"], 8265)
    assert not reaches(policies, there["prometheus"], there["step"], 8080)
