"""What must connect connects, what must not does not: pods with our labels, before and after the
policies are applied.
"""

import json
import os
import time
import urllib.parse
import uuid
from collections.abc import Iterator

import pytest

from components.images import reference
from tests.cluster.conftest import need
from tests.cluster.install import dns_policy, namespace_of, overlay
from tests.cluster.kube import Cluster
from tests.k8s.manifests import Document

OURS = {"app.kubernetes.io/part-of": "xstilts"}
PORTS = (6379, 8080, 8265, 8333, 8887, 8888, 10001)
SERVER = f"""
import selectors, socket
waiting = selectors.DefaultSelector()
for port in {PORTS}:
    waiting.register(socket.create_server(("0.0.0.0", port)), selectors.EVENT_READ)
while True:
    for key, _ in waiting.select():
        key.fileobj.accept()[0].close()
"""
PROBE = """
import json, socket, sys
def connects(host, port):
    try:
        socket.create_connection((host, port), timeout=3).close()
        return True
    except OSError:
        return False
def resolves():
    try:
        return bool(socket.getaddrinfo("kubernetes.default.svc.cluster.local", 443))
    except OSError:
        return False
print(json.dumps([resolves() if host == "dns" else connects(host, port) for host, port in json.loads(sys.argv[1])]))
"""
#: Pod → (namespace, labels). home: with our policies; kubeflow: KFP's; other: of somebody else.
PODS = {
    "step": ("home", {**OURS, "app.kubernetes.io/component": "step"}),
    "head": ("home", {**OURS, "app.kubernetes.io/component": "ray-head", "ray.io/node-type": "head"}),
    "worker": ("home", {**OURS, "app.kubernetes.io/component": "ray-worker", "ray.io/node-type": "worker"}),
    "gc": ("home", {**OURS, "app.kubernetes.io/component": "gc"}),
    "stranger": ("home", {"app": "notebook"}),
    "operator": ("other", {"app.kubernetes.io/component": "kuberay-operator"}),
    "step-elsewhere": ("other", {**OURS, "app.kubernetes.io/component": "step"}),
    "kfp-api": ("kubeflow", {"app": "ml-pipeline"}),
    "kfp-metadata": ("kubeflow", {"component": "metadata-grpc-server"}),
    "kfp-s3": ("kubeflow", {"app": "seaweedfs"}),
}  # fmt: skip
OPEN = [
    *((source, "dns", 53) for source in ("step", "head", "worker", "gc")),
    *((source, "s3", 0) for source in ("step", "head", "worker", "gc")),
    ("step", "api-server", 443), ("gc", "api-server", 443), ("step", "head", 8265), ("operator", "head", 8265),
    ("step", "kfp-api", 8887), ("step", "kfp-api", 8888), ("step", "kfp-metadata", 8080), ("step", "kfp-s3", 8333),
    ("worker", "head", 6379), ("head", "worker", 10001), ("worker", "head", 10001), ("worker", "kfp-s3", 8333),
    ("stranger", "kfp-api", 8888), ("stranger", "api-server", 443),
]  # fmt: skip
SHUT = [
    ("stranger", "head", 8265), ("step-elsewhere", "head", 8265), ("gc", "head", 8265), ("kfp-api", "head", 8265),
    *((source, "head", 6379) for source in ("stranger", "step", "operator", "step-elsewhere", "gc", "kfp-api")),
    *((source, "head", 10001) for source in ("stranger", "step", "operator")),
    ("stranger", "worker", 8265), ("step", "worker", 8265), ("operator", "worker", 10001),
    ("head", "api-server", 443), ("worker", "api-server", 443),
    ("head", "kfp-api", 8888), ("worker", "kfp-api", 8888), ("worker", "kfp-metadata", 8080), ("gc", "kfp-api", 8888),
    ("worker", "step", 8080), ("stranger", "step", 8080), ("stranger", "gc", 8080),
]  # fmt: skip


def _pod(name: str, namespace: str, labels: Document) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {"name": "main", "image": reference("finetune"), "command": ["python", "-c", SERVER]}
            ],
        },
    }  # fmt: skip


class Network:
    """The pods, and what connected before and after our policies were applied."""

    def __init__(self, cluster: Cluster, namespaces: dict[str, str]) -> None:
        self.cluster, self.namespaces = cluster, namespaces
        self.addresses: dict[str, tuple[str, int]] = {}

    def start(self) -> None:
        pods = [
            _pod(name, self.namespaces[where], labels) for name, (where, labels) in PODS.items()
        ]
        self.cluster.apply(pods)
        for name, (where, _) in PODS.items():
            home = self.namespaces[where]
            ready = ("--for=condition=Ready", "--timeout=120s")
            self.cluster.run("-n", home, "wait", f"pod/{name}", *ready)
            self.addresses[name] = (self.cluster.get("-n", home, "pod", name)["status"]["podIP"], 0)
        s3 = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL"])
        self.addresses["s3"] = (str(s3.hostname), s3.port or 443)
        service = self.cluster.get("-n", "default", "service", "kubernetes")
        self.addresses["api-server"] = (service["spec"]["clusterIP"], 443)
        self.addresses["dns"] = ("dns", 53)

    def look(self) -> dict[tuple[str, str, int], bool]:
        found = {}
        for source in {one[0] for one in (*OPEN, *SHUT)}:
            pairs = [pair for pair in (*OPEN, *SHUT) if pair[0] == source]
            ends = []
            for _, target, port in pairs:
                host, own = self.addresses[target]
                ends.append((host, own or port))
            where = self.namespaces[PODS[source][0]]
            command = ("python", "-c", PROBE, json.dumps(ends))
            answer = self.cluster.run("-n", where, "exec", source, "--", *command).stdout
            found |= dict(zip(pairs, json.loads(answer), strict=True))
        return found


@pytest.fixture(scope="module")
def network(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[tuple[str, str, int], bool], dict[tuple[str, str, int], bool]]]:
    """(before, after): what connected without and with our policies."""
    need("policies", "KFP's own pods are not replaced by stand-ins" if cluster.has_kfp else None)
    unique = uuid.uuid4().hex[:6]
    namespaces = {
        "home": f"xstilts-test-{unique}", "other": f"xstilts-test-{unique}-other", "kubeflow": "kubeflow",
    }  # fmt: skip
    created = [name for name in namespaces.values() if not cluster.exists("namespace", name)]
    cluster.apply([namespace_of(name) for name in created])
    try:
        there = Network(cluster, namespaces)
        there.start()
        before = there.look()
        built = overlay(tmp_path_factory.mktemp("policies"), namespaces["home"], "s3://bench/store")
        policies = [document for document in built if document["kind"] == "NetworkPolicy"]
        cluster.apply([*policies, *dns_policy(cluster, namespaces["home"])])
        after = _settled(there)
        enforced = any(not after[pair] for pair in SHUT)
        need("policies", None if enforced else "this cluster does not enforce NetworkPolicies")
        yield before, after
    finally:
        for name, (where, _) in PODS.items():
            cluster.delete("-n", namespaces[where], "pod", name, "--force", "--grace-period=0")
        for name in created:
            cluster.delete("namespace", name)


def _settled(network: Network) -> dict[tuple[str, str, int], bool]:
    """What connects once the rules are in place, which takes a moment: two equal looks after a first change."""
    last: dict[tuple[str, str, int], bool] = {}
    for _ in range(10):
        now = network.look()
        if now == last and not all(now.values()):
            break
        last = now
        time.sleep(1)
    return now


@pytest.mark.parametrize("pair", [*OPEN, *SHUT], ids=lambda pair: "-".join(map(str, pair)))
def test_without_policies_every_probe_connects(network, pair) -> None:  # type: ignore[no-untyped-def]
    assert network[0][pair]


@pytest.mark.parametrize("pair", OPEN, ids=lambda pair: "-".join(map(str, pair)))
def test_open(network, pair) -> None:  # type: ignore[no-untyped-def]
    assert network[1][pair]


@pytest.mark.parametrize("pair", SHUT, ids=lambda pair: "-".join(map(str, pair)))
def test_shut(network, pair) -> None:  # type: ignore[no-untyped-def]
    assert not network[1][pair]
