"""A run in the cluster: its folder in the store, its tasks, its results, and what it leaves."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from components.launch.lease import work_of
from tests.cluster.kube import Cluster, until
from tests.cluster.tasks import Task, workflow
from tests.k8s.manifests import Document
from xstilts.runs.folder import create, planned_ids, spec_of
from xstilts.store.store import Store

PLAN = Path(__file__).with_name("plan.yaml")
KEYS = ["backbone", "arm", "seed", "evaluation", "split", "language", "metric"]


def ordered(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(KEYS).reset_index(drop=True)


@dataclass(frozen=True)
class Run:
    """A run of the small plan, whose pods belong to a workflow as in KFP."""

    cluster: Cluster
    namespace: str
    store: Store
    name: str
    owner: Document
    #: Variable → value for the steps, in place of the installation's.
    settings: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def create(cls, cluster: Cluster, namespace: str, store: Store, mirror: str) -> "Run":
        name = f"small-{uuid.uuid4().hex[:6]}"
        create(store, name, PLAN.read_text(), mirror)
        return cls(cluster, namespace, store, name, _owner(cluster, namespace, name))

    def copied(self, uri: str) -> "Run":
        """This run under a new name, in a copy of its store at another prefix."""
        name, store = f"small-{uuid.uuid4().hex[:6]}", Store.open(uri, self.store.cache)
        for key in self.store.list(""):
            body = self.store.get_bytes_at(key)
            assert body is not None
            store.put_bytes_at(key.replace(f"{self.folder}/", f"runs/{name}/", 1), body)
        key = f"runs/{name}/run.json"
        store.put_json(key, {**(store.get_json(key) or {}), "run": name})
        owner = _owner(self.cluster, self.namespace, name)
        return replace(self, store=store, name=name, owner=owner)

    def in_namespace(self, namespace: str) -> "Run":
        """This run, of which another namespace has the jobs."""
        return replace(self, namespace=namespace)

    def with_settings(self, **settings: str) -> "Run":
        """This run with other variables of its steps."""
        return replace(self, settings={**self.settings, **settings})

    def change_cluster(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Changes `resources.cluster` of the group's steps."""
        key = f"{self.folder}/specs/{self.group}.json"
        document = self.store.get_json(key)
        assert document is not None
        for step in document["steps"].values():
            change(step["settings"]["cluster"])
        self.store.put_json(key, document)

    def status(self) -> str:
        """What `xstilts status` prints."""
        command = [sys.executable, "-m", "pipelines.cli", "status", self.name]
        command += ["--store", self.store.uri]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    @property
    def folder(self) -> str:
        return f"runs/{self.name}"

    @property
    def selector(self) -> str:
        """Of the run's objects in the cluster."""
        return f"app.kubernetes.io/part-of=xstilts,xstilts.dev/run={self.name}"

    @property
    def uri(self) -> str:
        return f"{self.store.uri}/{self.folder}"

    def task(self, component: str, **inputs: Any) -> Task:
        inputs = {"run": self.uri, **inputs}
        return Task(
            self.cluster, self.namespace, component, inputs, self.owner, self.settings
        ).begin()

    def plan(self) -> "Run":
        self.task("plan").wait()
        return self

    def ids(self, kind: str) -> list[str]:
        return planned_ids(self.uri)[kind]

    def stage(self) -> "Run":
        """All data steps."""
        for component, kind in (("stage", "sources"), ("build", "builds"), ("stage", "encodings")):
            for batch in self.ids(kind):
                self.task(component, batch=batch).wait(600)
        return self

    @property
    def group(self) -> str:
        (group,) = self.ids("groups")
        return group

    def finetune(self) -> Task:
        """Begins the finetune task."""
        return self.task("finetune", group=self.group)

    def train(self) -> "Run":
        self.finetune().wait(900)
        return self

    def score(self) -> "Run":
        """The score task; its steps are done if training went well."""
        self.task("score", group=self.group).wait(900)
        return self

    def report(self) -> "Run":
        self.task("report", groups=[self.group]).wait()
        self.task("verdict", reported=self.uri).wait()
        return self

    def results(self, folder: Path) -> pd.DataFrame:
        path = folder / "results.parquet"
        self.store.get_file(f"{self.folder}/report/results.parquet", path)
        return ordered(pd.read_parquet(path))

    def assert_equal(self, expected: Path, folder: Path) -> None:
        """Fails if results.parquet differs from the expected file in any bit of any value."""
        frame = ordered(pd.read_parquet(expected))
        pd.testing.assert_frame_equal(self.results(folder), frame, check_exact=True)

    def planned(self, kind: str) -> int:
        """How many steps of a kind the group has."""
        spec, _ = spec_of(self.store, self.folder, self.group)
        return len(spec[kind])

    def done(self, kind: str) -> int:
        """How many of the group's steps of a kind are done."""
        spec, _ = spec_of(self.store, self.folder, self.group)
        return len(set(spec[kind]) & self.store.done(kind))

    def attempts(self) -> dict[str, int]:
        """Finetune step → how often its training was begun."""
        keys = self.store.list(f"{self.folder}/attempts/")
        names = [key.split("/")[3] for key in keys]
        return {name: names.count(name) for name in names}

    def checkpoints(self) -> list[str]:
        return [key for key in self.store.list("work/") if key.endswith("/state.json")]

    def failures(self) -> list[str]:
        keys = self.store.list(f"{self.folder}/failures/")
        return [str((self.store.get_json(key) or {}).get("error")) for key in keys]

    def jobs(self) -> list[Document]:
        return self.cluster.items("-n", self.namespace, "rayjobs", "-l", self.selector)

    def uids(self) -> set[str]:
        """The uids of the run's RayJobs; none without an answer."""
        path = "{.items[*].metadata.uid}"
        done = self.cluster.run(
            "-n", self.namespace, "get", "rayjobs", "-l", self.selector, "-o", f"jsonpath={path}", check=False
        )  # fmt: skip
        return set(done.stdout.split()) if done.returncode == 0 else set()

    def kill(self, role: str) -> None:
        """Deletes a Ray pod at once, as the loss of its node does."""
        name = self.ray_pods(role)[0]["metadata"]["name"]
        now = ("--grace-period=0", "--force")
        self.cluster.run("-n", self.namespace, "delete", "pod", name, *now)

    def job(self, seconds: float = 60.0) -> Document:
        """The run's RayJob, once there is one."""
        return dict(until(self.jobs, "no RayJob", seconds)[0])

    def phase(self) -> str:
        """The RayJob's jobDeploymentStatus/jobStatus; `` without one or without an answer."""
        path = "{.items[0].status.jobDeploymentStatus}/{.items[0].status.jobStatus}"
        done = self.cluster.run(
            "-n", self.namespace, "get", "rayjobs", "-l", self.selector, "-o", f"jsonpath={path}", check=False
        )  # fmt: skip
        return done.stdout if done.returncode == 0 else ""

    def ray_pods(self, role: str) -> list[Document]:
        selector = f"{self.selector},app.kubernetes.io/component=ray-{role}"
        return self.cluster.items("-n", self.namespace, "pods", "-l", selector)

    def ready(self) -> list[str]:
        """Names of the run's Ray pods that are ready."""
        pods = self.ray_pods("head") + self.ray_pods("worker")
        return [
            pod["metadata"]["name"]
            for pod in pods
            for condition in pod["status"].get("conditions", [])
            if condition["type"] == "Ready" and condition["status"] == "True"
        ]

    def lease(self, kind: str) -> str:
        return f"{self.folder}/leases/{work_of(kind, self.group)}.json"

    def orphans(self) -> list[str]:
        """RayJobs, Ray clusters and Ray pods of the run."""
        kinds = "rayjobs,rayclusters,pods"
        objects = self.cluster.items("-n", self.namespace, kinds, "-l", self.selector)
        return [f"{each['kind']} {each['metadata']['name']}" for each in objects]

    def leases(self) -> list[str]:
        return list(self.store.list(f"{self.folder}/leases/"))

    def remove(self) -> None:
        """Removes what the run may have left in the cluster; its workflow owns its step pods."""
        self.cluster.delete("-n", self.namespace, "rayjobs", "-l", self.selector)
        self.cluster.delete("-n", self.namespace, "workflow", self.name)

    def wait_for_no_orphan(self, seconds: float = 120.0) -> None:
        until(lambda: not self.orphans(), lambda: ", ".join(self.orphans()), seconds, 2)


def _owner(cluster: Cluster, namespace: str, name: str) -> Document:
    cluster.apply([workflow(name, namespace)])
    uid = cluster.get("-n", namespace, "workflow", name)["metadata"]["uid"]
    return {
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": name, "uid": uid,
        "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip


def upload(folder: Path, uri: str) -> None:
    """Copies a folder to S3."""
    store = Store.open(uri)
    for path in _files(folder):
        store.put_file(path.relative_to(folder).as_posix(), path)


def _files(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        yield from (Path(root) / name for name in sorted(names))
