"""The scripts of k8s/guide on the cluster, from nodes.sh to remove.sh."""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.install import namespace_of
from tests.cluster.kube import Cluster, until
from tests.cluster.tasks import pod
from tests.k8s.manifests import K8S, Document, tool

OURS = "app.kubernetes.io/part-of=xstilts"
KINDS = "configmap,secret,serviceaccount,role,rolebinding,networkpolicy,resourcequota,limitrange,cronjob,localqueue"
LOCK = f"finetune-step r.example.org/x/finetune-step:v1 sha256:{'5' * 64}"


class Guide:
    """A copy of k8s/ with the settings of a namespace."""

    def __init__(self, folder: Path, namespace: str) -> None:
        self.folder, self.namespace = folder, namespace
        shutil.copytree(K8S, folder / "k8s")  # creates the folder
        settings = {
            "NAMESPACE": namespace, "BUCKET": "bench", "PREFIX": "store", "MIRROR": "mirror", "REGION": "us-east-1",
            "REGISTRY": "r.example.org/x", "TAG": "v1", "ENDPOINT": os.environ["AWS_ENDPOINT_URL"],
        }  # fmt: skip
        lines = [f"{key}={value}\n" for key, value in settings.items()]
        (folder / "site.env").write_text("".join(lines))
        (folder / "xstilts").write_text(f"#!/bin/sh\necho '{LOCK}'\n")
        (folder / "xstilts").chmod(0o755)

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(tool('kubectl')).parent}:{os.environ['PATH']}"
        environment = {
            **os.environ, "PATH": path, "SITE_ENV": str(self.folder / "site.env"), "XSTILTS": str(self.folder / "xstilts"),
        }  # fmt: skip
        return subprocess.run(
            [str(self.folder / "k8s" / "guide" / f"{script}.sh")],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def passes(self, script: str) -> str:
        done = self.run(script)
        assert done.returncode == 0, f"{script}.sh: {done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture
def pool(cluster: Cluster) -> Iterator[str]:
    """A node that is labeled by hand, if no node is in the pool."""
    nodes = cluster.items("nodes")
    if any("xstilts.dev/pool" in node["metadata"]["labels"] for node in nodes):
        pytest.skip("the cluster has a pool of xstilts, whose labels remove.sh might delete")
    name = nodes[0]["metadata"]["name"]
    cluster.run("label", "node", name, "xstilts.dev/pool=gpu")
    yield name
    cluster.run("label", "node", name, "xstilts.dev/pool-")


@pytest.mark.slow
def test_the_guide_installs_diffs_and_removes(
    cluster: Cluster, kueue: None, pool: str, new_namespace: str, tmp_path: Path
) -> None:
    guide = Guide(tmp_path, new_namespace)
    labels = cluster.get("namespace", new_namespace)["metadata"]["labels"]
    for script in ("nodes", "keys", "base"):
        guide.passes(script)
    assert cluster.items("-n", new_namespace, KINDS, "-l", OURS)
    assert "\n-" not in guide.passes("base").partition("+ kubectl apply")[0]
    guide.passes("remove")
    assert cluster.items("-n", new_namespace, KINDS, "-l", OURS) == []
    assert cluster.get("namespace", new_namespace)["metadata"]["labels"] == labels


def test_the_guide_gives_steps_their_priority(
    cluster: Cluster, new_namespace: str, pool: str, tmp_path: Path
) -> None:
    served = cluster.run("get", "--raw", "/apis/admissionregistration.k8s.io/v1").stdout
    if '"mutatingadmissionpolicies"' not in served:
        pytest.skip("the API server has no MutatingAdmissionPolicy")
    guide = Guide(tmp_path, new_namespace)
    guide.passes("base")
    step = pod("finetune", {"run": "s3://b/runs/r", "group": "g"}, "step", new_namespace)
    try:
        until(lambda: _created(cluster, step)["priorityClassName"] == "xstilts-step", "no class")
        assert _created(cluster, step)["priority"] == 100
    finally:
        guide.passes("remove")


def _created(cluster: Cluster, document: Document) -> Document:
    """The spec with which the API server would create a pod."""
    command = ("create", "--dry-run=server", "-f", "-", "-o", "json")
    answer = json.loads(cluster.run(*command, stdin=json.dumps(document)).stdout)
    return {"priorityClassName": "", **answer["spec"]}


@pytest.mark.slow
def test_remove_keeps_what_another_installation_uses(
    cluster: Cluster, kueue: None, pool: str, new_namespace: str, tmp_path: Path
) -> None:
    other = f"xstilts-test-{uuid.uuid4().hex[:6]}"
    cluster.apply([namespace_of(other)])
    try:
        for name in (other, new_namespace):
            guide = Guide(tmp_path / name, name)
            guide.passes("nodes")
            guide.passes("base")
        said = guide.passes("remove")
        assert other in said
        assert cluster.exists("priorityclass", "xstilts-batch")
        assert cluster.items("-n", other, KINDS, "-l", OURS)
    finally:
        cluster.delete("namespace", other)


def test_nodes_without_a_gpu_are_named(
    cluster: Cluster, new_namespace: str, tmp_path: Path
) -> None:
    for label in ("nvidia.com/gpu.present=true", "xstilts.dev/pool=gpu"):
        if cluster.items("nodes", "-l", label):
            pytest.skip(f"nodes of this cluster have the label {label}")
    done = Guide(tmp_path, new_namespace).run("nodes")
    assert done.returncode == 1
    assert "no node has the label nvidia.com/gpu.present=true" in done.stderr
