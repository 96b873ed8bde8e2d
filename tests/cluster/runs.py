"""A run in the cluster: its folder in the store, its tasks, its results, and what it leaves."""

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
OURS = "app.kubernetes.io/part-of=xstilts"
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

    @classmethod
    def create(cls, cluster: Cluster, namespace: str, store: Store, mirror: str) -> "Run":
        name = f"small-{uuid.uuid4().hex[:6]}"
        create(store, name, PLAN.read_text(), mirror)
        return cls(cluster, namespace, store, name, _owner(cluster, namespace, name))

    def again(self) -> "Run":
        """A new run of the same plan in the same store: finished steps are not repeated."""
        document = self.store.get_json(f"{self.folder}/run.json") or {}
        return Run.create(self.cluster, self.namespace, self.store, str(document["mirror"]))

    def in_store(self, store: Store, namespace: str | None = None) -> "Run":
        """This run, in a copy of its store."""
        where = namespace or self.namespace
        owner = _owner(self.cluster, where, self.name) if where != self.namespace else self.owner
        return replace(self, store=store, namespace=where, owner=owner)

    @property
    def folder(self) -> str:
        return f"runs/{self.name}"

    @property
    def uri(self) -> str:
        return f"{self.store.uri}/{self.folder}"

    def task(self, component: str, **inputs: Any) -> Task:
        inputs = {"run": self.uri, **inputs}
        return Task(self.cluster, self.namespace, component, inputs, self.owner).begin()

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

    def report(self) -> "Run":
        self.task("report", groups=[self.group]).wait()
        self.task("verdict", reported=self.uri).wait()
        return self

    def results(self, folder: Path) -> pd.DataFrame:
        path = folder / "results.parquet"
        self.store.get_file(f"{self.folder}/report/results.parquet", path)
        return ordered(pd.read_parquet(path))

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
        return self.cluster.items("-n", self.namespace, "rayjobs", "-l", OURS)

    def job(self, seconds: float = 60.0) -> Document:
        """The run's RayJob, once there is one."""
        return dict(until(self.jobs, "no RayJob", seconds)[0])

    def phase(self) -> str:
        """The RayJob's jobDeploymentStatus/jobStatus; `` without one or without an answer."""
        path = "{.items[0].status.jobDeploymentStatus}/{.items[0].status.jobStatus}"
        done = self.cluster.run(
            "-n",
            self.namespace,
            "get",
            "rayjobs",
            "-l",
            OURS,
            "-o",
            f"jsonpath={path}",
            check=False,
        )
        return done.stdout if done.returncode == 0 else ""

    def ray_pods(self, role: str) -> list[Document]:
        selector = f"{OURS},app.kubernetes.io/component=ray-{role}"
        return self.cluster.items("-n", self.namespace, "pods", "-l", selector)

    def lease(self, kind: str) -> str:
        return f"{self.folder}/leases/{work_of(kind, self.group)}.json"

    def orphans(self) -> list[str]:
        """RayJobs, Ray clusters and Ray pods of the namespace, and leases of the run."""
        kinds = "rayjobs,rayclusters,pods"
        selector = f"{OURS},app.kubernetes.io/component notin (step,gc)"
        found = self.cluster.items("-n", self.namespace, kinds, "-l", selector)
        names = [f"{one['kind']} {one['metadata']['name']}" for one in found]
        return names + list(self.store.list(f"{self.folder}/leases/"))

    def wait_for_no_orphan(self, seconds: float = 120.0) -> None:
        until(lambda: not self.orphans(), f"still there: {self.orphans()}", seconds, 2)


def _owner(cluster: Cluster, namespace: str, name: str) -> Document:
    cluster.apply([workflow(name, namespace)])
    uid = cluster.get("-n", namespace, "workflow", name)["metadata"]["uid"]
    return {
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": name, "uid": uid,
        "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip


def copy(source: Store, uri: str) -> Store:
    """A copy of a store at another prefix of the same bucket."""
    target = Store.open(uri, source.cache)
    for key in source.list(""):
        body = source.get_bytes_at(key)
        assert body is not None
        target.put_bytes_at(key, body)
    return target


def upload(folder: Path, uri: str) -> None:
    """Copies a folder to S3."""
    store = Store.open(uri)
    for path in _files(folder):
        store.put_file(path.relative_to(folder).as_posix(), path)


def _files(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        yield from (Path(root) / name for name in sorted(names))
