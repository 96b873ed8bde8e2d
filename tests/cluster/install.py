"""Installs k8s/base in a namespace of the tests, as a site's overlay does."""

import os
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.cluster.kube import MARK, Cluster, labelled
from tests.k8s.manifests import K8S, Document, documents, kustomize

#: Seconds of a lease: short, so that tests of its end do not wait for minutes.
LEASE = 30
#: A node of a small machine has fewer processors than the smallest Ray cluster requests. Limits
#: stay, so Ray sees the processors of the plan.
SMALL_NODE = 6.0


def bucket() -> str:
    """The bucket of the tests: XSTILTS_TEST_BUCKET, or `xstilts`."""
    return os.environ.get("XSTILTS_TEST_BUCKET", "xstilts")


def secret(namespace: str) -> Document:
    keys = {key: os.environ[key] for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    return {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "xstilts-s3", "namespace": namespace},
        "stringData": keys,
    }  # fmt: skip


def overlay(
    folder: Path, namespace: str, store: str, components: Sequence[str] = (), **settings: str
) -> list[Document]:
    """The documents of a site on the base.

    Args:
        folder: an empty folder beside nothing else.
        namespace: of the installation.
        store: URI of the store.
        components: folders of k8s/components.
        settings: further entries of the ConfigMap.
    """
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    values = {
        "XSTILTS_STORE": store,
        "AWS_REGION": os.environ.get("AWS_REGION", "us-east-1"),
        "AWS_ENDPOINT_URL": endpoint,
        "XSTILTS_LEASE_SECONDS": str(LEASE),
        **settings,
    }
    lines = [
        f"namespace: {namespace}",
        "resources:",
        f"- {os.path.relpath(K8S / 'base', folder)}",
        "- s3.yaml",
        "components:",
        *[f"- {os.path.relpath(K8S / 'components' / name, folder)}" for name in components],
        "patches:",
        "- target: {kind: ConfigMap, name: xstilts-config}",
        "  patch: |-",
        *[
            f'    - {{op: add, path: /data/{key}, value: "{value}"}}'
            for key, value in values.items()
        ],
    ]
    if not components:
        lines.remove("components:")
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath("kustomization.yaml").write_text("\n".join(lines) + "\n")
    parts = urllib.parse.urlsplit(endpoint)
    port = parts.port or {"http": 80}.get(parts.scheme, 443)
    folder.joinpath("s3.yaml").write_text(POLICY.format(port=port))
    return documents(kustomize(folder))


#: What k8s/guide/base.sh writes for an S3 server on a port of its own.
POLICY = """apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: xstilts-s3-endpoint
  labels: {{app.kubernetes.io/part-of: xstilts}}
spec:
  podSelector:
    matchLabels: {{app.kubernetes.io/part-of: xstilts}}
  policyTypes: [Egress]
  egress:
  - ports:
    - {{port: {port}, protocol: TCP}}
"""


def dns_policy(cluster: Cluster, namespace: str) -> list[Document]:
    """A rule for the cluster's DNS, if it is not a pod that xstilts-dns selects."""
    selector = "k8s-app=kube-dns"
    if cluster.items("-n", "kube-system", "pods", "-l", selector):
        return []
    slices = cluster.items(
        "-n", "kube-system", "endpointslices", "-l", "kubernetes.io/service-name=kube-dns"
    )
    addresses = [a for one in slices for end in one["endpoints"] for a in end["addresses"]]
    rule = {
        "to": [{"ipBlock": {"cidr": f"{address}/32"}} for address in addresses],
        "ports": [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")],
    }
    ours = {"app.kubernetes.io/part-of": "xstilts"}
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "xstilts-dns-of-nodes", "namespace": namespace, "labels": ours},
            "spec": {"podSelector": {"matchLabels": ours}, "policyTypes": ["Egress"], "egress": [rule]},
        }
    ]  # fmt: skip


def namespace_of(name: str, labels: Mapping[str, str] | None = None) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {**MARK, **(labels or {})}},
    }


def queue_of(name: str, namespace: str, cpus: int) -> list[Document]:
    """A queue of one flavor with so many processors, in which a job preempts those of lower priority."""
    api = "kueue.x-k8s.io/v1beta2"
    amounts = {"cpu": str(cpus), "memory": "100Gi", "ephemeral-storage": "1Ti"}
    flavor = {
        "name": name,
        "resources": [{"name": key, "nominalQuota": value} for key, value in amounts.items()],
    }
    specs: list[tuple[str, Document]] = [
        ("ResourceFlavor", {}),
        ("ClusterQueue", {
            "namespaceSelector": {"matchLabels": MARK},
            "preemption": {"withinClusterQueue": "LowerPriority"},
            "resourceGroups": [{"coveredResources": list(amounts), "flavors": [flavor]}],
        }),
        ("LocalQueue", {"clusterQueue": name}),
    ]  # fmt: skip
    documents: list[Document] = [
        {"apiVersion": api, "kind": kind, "metadata": {"name": name, "labels": MARK}, "spec": spec}
        for kind, spec in specs
    ]
    documents[-1]["metadata"] = {"name": name, "namespace": namespace, "labels": MARK}
    return documents


def missing_priorities(cluster: Cluster) -> list[Document]:
    """Our classes of priority in Kueue's queues that the cluster does not have."""
    return [
        labelled(document, MARK)
        for document in documents(kustomize(K8S / "components" / "kueue" / "cluster"))
        if document["kind"] == "WorkloadPriorityClass"
        and not cluster.exists("workloadpriorityclass", document["metadata"]["name"])
    ]


def small_requests(cluster: Cluster) -> list[Document]:
    """Admission of our pods with smaller processor requests, if the cluster is too small for them."""
    if cluster.cpus >= SMALL_NODE:
        return []
    name = "xstilts-test-requests"
    ours = "has(object.metadata.labels) && 'app.kubernetes.io/part-of' in object.metadata.labels"
    requests = "object.spec.containers[0].resources.requests"
    patch = 'op: "replace", path: "/spec/containers/0/resources/requests/cpu", value: "20m"'
    policy: dict[str, Any] = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name, "labels": MARK},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                ]
            },
            "matchConditions": [
                {"name": "ours", "expression": ours},
                {"name": "requests", "expression": f"has({requests}) && 'cpu' in {requests}"},
            ],
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "mutations": [
                {"patchType": "JSONPatch", "jsonPatch": {"expression": f"[JSONPatch{{{patch}}}]"}}
            ],
        },
    }  # fmt: skip
    binding = {
        "apiVersion": policy["apiVersion"],
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": policy["metadata"],
        "spec": {
            "policyName": name,
            "matchResources": {"namespaceSelector": {"matchLabels": MARK}},
        },
    }
    return [policy, binding]
