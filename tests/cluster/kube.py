"""The cluster under test: kubectl, what is installed there, and how its parts are killed."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tests.k8s.manifests import ROOT, Document, tool

#: Starts a Kubernetes of plain processes, whose components can be killed one by one.
TOOL = ROOT.parent / "shared" / "tools" / "cluster" / "cluster"
#: Label of the suite's namespaces and of its cluster-wide objects.
MARK = {"xstilts.dev/test": "cluster"}
#: Messages of kubectl about a server that does not answer, and for how long it may not.
SILENT = (
    "failed calling webhook",
    "connection refused",
    "was refused",
    "unable to handle the request",
)
RECOVERY_SECONDS = 180.0


class Missing(Exception):
    """The cluster lacks something that a test needs."""


def until(
    condition: Callable[[], Any],
    what: str | Callable[[], str],
    seconds: float = 60.0,
    every: float = 0.5,
) -> Any:
    """The first true value of a condition. Fails with `what` after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(every)
    return value


@dataclass(frozen=True)
class Cluster:
    """The cluster of KUBECONFIG."""

    def run(
        self, *arguments: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """kubectl, with its output. A failed command raises AssertionError with its message, if `check`;
        one that a restarted API server or webhook does not answer yet is repeated.
        """
        deadline = time.monotonic() + RECOVERY_SECONDS
        while True:
            done = subprocess.run(
                [tool("kubectl"), *arguments],
                input=stdin, capture_output=True, text=True, check=False,
            )  # fmt: skip
            silent = any(text in done.stderr for text in SILENT)
            if not (check and done.returncode and silent and time.monotonic() < deadline):
                break
            time.sleep(1)
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done

    def get(self, *arguments: str) -> Document:
        return dict(json.loads(self.run("get", *arguments, "-o", "json").stdout))

    def items(self, *arguments: str) -> list[Document]:
        return list(self.get(*arguments)["items"])

    def apply(self, documents: Sequence[Document], *options: str) -> str:
        """Server-side apply, as the guide does it."""
        text = "\n---\n".join(json.dumps(document) for document in documents)
        command = ("apply", "--server-side", "--force-conflicts", *options, "-f", "-")
        return self.run(*command, stdin=text).stdout

    def delete(self, *arguments: str) -> None:
        self.run("delete", "--ignore-not-found", "--wait=false", *arguments)

    def exists(self, *arguments: str) -> bool:
        return self.run("get", *arguments, check=False).returncode == 0

    @cached_property
    def version(self) -> str:
        return str(json.loads(self.run("get", "--raw", "/version").stdout)["gitVersion"])

    @cached_property
    def operator(self) -> tuple[str, str]:
        """(namespace, label selector) of KubeRay's operator."""
        selector = "app.kubernetes.io/component=kuberay-operator"
        pods = self.items("pods", "-A", "-l", selector)
        if not pods or not self.exists("crd", "rayjobs.ray.io"):
            raise Missing("KubeRay is not installed")
        return pods[0]["metadata"]["namespace"], selector

    @cached_property
    def has_kueue(self) -> bool:
        return self.exists("crd", "clusterqueues.kueue.x-k8s.io")

    @cached_property
    def has_kfp(self) -> bool:
        return self.exists("-n", "kubeflow", "deployment/ml-pipeline")

    @cached_property
    def name(self) -> str:
        """What the table of results calls this cluster."""
        parts = [f"Kubernetes {self.version}"]
        for title, where, label in (
            ("KubeRay", self.operator[0], self.operator[1]),
            ("Kueue", "kueue-system", "control-plane=controller-manager"),
            ("KFP", "kubeflow", "app=ml-pipeline"),
        ):
            pods = self.items("-n", where, "pods", "-l", label)
            if pods:
                image = pods[0]["spec"]["containers"][0]["image"].partition("@")[0]
                parts.append(f"{title} {image.rpartition(':')[2].removeprefix('v')}")
        return ", ".join(parts)

    @cached_property
    def cpus(self) -> float:
        """Processors that pods may request, of all nodes."""
        amounts = [node["status"]["allocatable"]["cpu"] for node in self.items("nodes")]
        return sum(float(a[:-1]) / 1000 if a.endswith("m") else float(a) for a in amounts)

    def operator_pods(self) -> list[str]:
        namespace, selector = self.operator
        return [
            pod["metadata"]["name"] for pod in self.items("-n", namespace, "pods", "-l", selector)
        ]

    def restart_operator(self) -> None:
        namespace, selector = self.operator
        self.run("-n", namespace, "delete", "pod", "-l", selector, "--grace-period=0", "--force")

    def restart_process(self, name: str, seconds: float) -> None:
        """Kills a component of the control plane or the node, and starts it after some seconds."""
        processes("kill", name)
        time.sleep(seconds)
        processes("restart", name)


def has_processes() -> str | None:
    """Why components of this cluster cannot be killed, or None if they can."""
    if not TOOL.is_file():
        return f"{TOOL} is absent, which kills components of its own cluster"
    if str(Path(os.environ.get("KUBECONFIG", ""))) != str(_tool_kubeconfig()):
        return f"the cluster of KUBECONFIG is not that of {TOOL}"
    if _outside() is None:
        return f"not started by `{TOOL} exec`, from whose caller components can be killed"
    return None


def _outside() -> int | None:
    """The nearest ancestor outside the cluster's mount namespace, in which the tool works."""
    inside, pid = os.readlink("/proc/self/ns/mnt"), os.getppid()
    while pid > 1:
        if os.readlink(f"/proc/{pid}/ns/mnt") != inside:
            return pid
        status = Path(f"/proc/{pid}/status").read_text()
        pid = int(status.partition("PPid:")[2].split()[0])
    return None


def _tool_kubeconfig() -> Path:
    root = Path(os.environ.get("XSTILTS_CLUSTER", "/var/tmp/xstilts-cluster"))
    return root / "state" / "pki" / "admin.kubeconfig"


def processes(*arguments: str) -> str:
    """The tool that made the cluster, run in the namespaces of the machine."""
    outside = ("nsenter", "--target", str(_outside()), "--mount", "--net", "--")
    done = subprocess.run(
        [*outside, str(TOOL), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"cluster {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def labelled(document: Document, labels: Mapping[str, str]) -> Document:
    """A copy of a document with further labels."""
    metadata = document.get("metadata", {})
    return {
        **document,
        "metadata": {**metadata, "labels": {**metadata.get("labels", {}), **labels}},
    }
