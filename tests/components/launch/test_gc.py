"""Garbage collection of RayJobs: what it removes and keeps, and that killed runs leave nothing."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.launch import gc, lease
from components.launch.kubernetes import Api, RayJobs
from components.launch.lease import SKEW_SECONDS, lease_key, work_of
from components.launch.rayjob import build, owner_of
from components.launch.state import LEASE_LOST
from tests.components.launch.conftest import ENVIRONMENT
from tests.components.launch.scripted import RUNNING, ScriptedCluster, served
from xstilts.errors import StoreError
from xstilts.step import Step
from xstilts.store.store import Store

ROOT = Path(__file__).resolve().parents[3]
LATE = lease.SECONDS + SKEW_SECONDS + 1


@pytest.fixture
def cluster() -> ScriptedCluster:
    cluster = ScriptedCluster(now=time.time())
    cluster.add("pods", {"metadata": {"name": "step-pod", "namespace": "xstilts"}})
    return cluster


@pytest.fixture
def address(cluster: ScriptedCluster) -> Iterator[str]:
    with served(cluster) as address:
        yield address


@pytest.fixture
def jobs(address: str) -> RayJobs:
    return RayJobs(Api(address), "xstilts")


def posted(jobs: RayJobs, cluster: ScriptedCluster, uri: str, group: str = "llava") -> str:
    uid = cluster.objects["pods", "step-pod"]["metadata"]["uid"]
    config = {"run_uri": uri, "group": group, "kind": "finetune"}
    owner = owner_of({"metadata": {"name": "step-pod", "uid": uid}})
    job = build({}, ENVIRONMENT, config, owner)
    jobs.create(job)
    return str(job["metadata"]["name"])


def held(
    store: Store, group: str = "llava", renewed: float | None = None, kind: str = "finetune"
) -> None:
    document = {
        "holder": "pod",
        "beat": 1,
        "renewed": renewed or time.time(),
        "seconds": lease.SECONDS,
    }
    store.put_json(lease_key("runs/r", work_of(kind, group)), document)


def test_a_job_is_kept_while_its_lease_is_held(
    store: Store, jobs: RayJobs, cluster: ScriptedCluster
) -> None:
    name = posted(jobs, cluster, f"{store.uri}/runs/r")
    held(store)
    assert list(gc.collect(jobs, store, time.time())) == [f"kept {name}: its lease is held"]
    assert cluster.jobs() == [name]


def test_an_abandoned_job_is_removed_with_its_pods(
    store: Store, jobs: RayJobs, cluster: ScriptedCluster
) -> None:
    name = posted(jobs, cluster, f"{store.uri}/runs/r")
    held(store)
    cluster.tick()
    assert {kind for kind, _ in cluster.objects} == {"pods", "rayjobs", "rayclusters"}
    [line] = gc.collect(jobs, store, time.time() + LATE)
    assert line == f"removed {name}: its lease expired"
    assert list(cluster.objects) == [("pods", "step-pod")]


def test_a_cancelled_run_s_jobs_are_removed_at_once(
    store: Store, jobs: RayJobs, cluster: ScriptedCluster
) -> None:
    for group in ("llava", "qwen"):
        posted(jobs, cluster, f"{store.uri}/runs/r", group)
        held(store, group)
    lease.cancel(store, "runs/r")
    assert all("removed" in line for line in gc.collect(jobs, store, time.time()))
    assert cluster.jobs() == []


def test_a_new_job_without_a_lease_is_kept_for_a_while(
    store: Store, jobs: RayJobs, cluster: ScriptedCluster
) -> None:
    name = posted(jobs, cluster, f"{store.uri}/runs/r")
    assert list(gc.collect(jobs, store, time.time())) == [f"kept {name}: it was just created"]
    assert list(gc.collect(jobs, store, time.time() + LATE)) == [f"removed {name}: it has no lease"]


def test_a_training_job_does_not_live_on_the_lease_of_the_scoring_after_it(
    store: Store, jobs: RayJobs, cluster: ScriptedCluster
) -> None:
    name = posted(jobs, cluster, f"{store.uri}/runs/r")
    held(store, kind="score")
    [line] = gc.collect(jobs, store, time.time() + LATE)
    assert line == f"removed {name}: it has no lease"


def test_jobs_of_others_are_kept(store: Store, jobs: RayJobs, cluster: ScriptedCluster) -> None:
    posted(jobs, cluster, "s3://another/store/runs/r")
    jobs.create(
        {"metadata": {"name": "theirs", "namespace": "xstilts", "labels": {"app": "x"}}, "spec": {}}
    )
    [line] = gc.collect(jobs, store, time.time() + LATE)
    assert "in another store, s3://another/store" in line
    assert len(cluster.jobs()) == 2


def test_a_retry_s_new_job_is_not_removed_for_the_old_one(
    store: Store, jobs: RayJobs, cluster: ScriptedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = posted(jobs, cluster, f"{store.uri}/runs/r")
    old = jobs.labelled(gc.SELECTOR)
    cluster.remove("rayjobs", name)
    posted(jobs, cluster, f"{store.uri}/runs/r")
    monkeypatch.setattr(RayJobs, "labelled", lambda *_: old)
    assert next(iter(gc.collect(jobs, store, time.time() + LATE))).startswith("kept")
    assert cluster.jobs() == [name]


def test_a_deletion_that_does_not_end_is_reported(
    store: Store, jobs: RayJobs, cluster: ScriptedCluster
) -> None:
    posted(jobs, cluster, f"{store.uri}/runs/r")
    cluster.job()["metadata"]["deletionTimestamp"] = cluster.job()["metadata"]["creationTimestamp"]
    assert "being deleted" in next(gc.collect(jobs, store, time.time()))
    assert "STUCK" in next(gc.collect(jobs, store, time.time() + gc.STUCK_SECONDS + 10))


def test_nothing_is_removed_while_the_store_is_unreachable(
    store: Store, jobs: RayJobs, cluster: ScriptedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(key: str) -> None:
        raise StoreError("away")

    posted(jobs, cluster, f"{store.uri}/runs/r")
    monkeypatch.setattr(store, "get_json", away)
    with pytest.raises(StoreError):
        list(gc.collect(jobs, store, time.time() + LATE))
    assert len(cluster.jobs()) == 1


STEP = """
    from components.launch import submit
    submit.rayjob("", {"run_uri": %r, "group": "llava", "kind": "finetune"}, {}, submit.Pace(0.2))
"""
#: The real driver, which waits forever instead of training on Ray.
DRIVER = """
    import sys, time
    import components.launch.local as local
    from components.launch import driver
    local.launch = lambda *a, **k: (print("training", flush=True), time.sleep(600))
    driver.main(%r, "llava", "finetune")
"""


def started(code: str, uri: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code % uri)], env=environment, cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def until(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_run_that_is_killed_leaves_no_gpu_busy_and_no_job_behind(
    store: Store, jobs: RayJobs, cluster: ScriptedCluster, address: str
) -> None:
    """The step and the driver are separate processes. The step is killed without time to clean up,
    like by KFP's `terminate`; the driver exits within the lease, and garbage collection removes
    the job.
    """
    cluster.scripts, lifetime = [[RUNNING]], 4.0
    step = Step("finetune", {"n": 1}, {}, {})
    body = {
        "spec": {"finetune": [step.fingerprint], "score": []},
        "steps": {step.fingerprint: step.to_json()},
    }
    store.put_json("runs/r/specs/llava.json", body)
    uid = cluster.objects["pods", "step-pod"]["metadata"]["uid"]
    environment = {
        **os.environ, **{k: v for k, v in ENVIRONMENT.items() if not k.startswith("AWS_")}, "XSTILTS_POD_UID": uid,
        "XSTILTS_KUBERNETES_API": address, "XSTILTS_LEASE_SECONDS": str(lifetime), "XSTILTS_STORE": store.uri,
    }  # fmt: skip
    uri = f"{store.uri}/runs/r"
    waiting = started(STEP, uri, environment)
    try:
        until(cluster.jobs)
        cluster.tick()
        driver = started(DRIVER, uri, environment)
        try:
            assert driver.stdout is not None
            until(lambda: "training" in driver.stdout.readline())  # type: ignore[union-attr]
            time.sleep(lifetime * 1.5)
            assert driver.poll() is None  # while the step lives, its lease is renewed
            waiting.send_signal(signal.SIGKILL)
            killed = time.monotonic()
            assert driver.wait(60) == LEASE_LOST
            assert time.monotonic() - killed < lifetime * 3
            assert "lease not renewed" in driver.stdout.read()
        finally:
            driver.kill()
    finally:
        waiting.kill()
    assert len(cluster.jobs()) == 1  # KFP keeps its pod
    assert len(list(gc.collect(jobs, store, time.time() + lifetime + SKEW_SECONDS))) == 1
    assert list(cluster.objects) == [("pods", "step-pod")]


def test_it_runs_as_the_cron_job_runs_it(
    store: Store, jobs: RayJobs, cluster: ScriptedCluster, address: str
) -> None:
    posted(jobs, cluster, f"{store.uri}/runs/r")
    lease.cancel(store, "runs/r")
    environment = {
        **os.environ, "XSTILTS_KUBERNETES_API": address, "XSTILTS_STORE": store.uri, "XSTILTS_NAMESPACE": "xstilts",
    }  # fmt: skip
    command = [sys.executable, "-m", "components.launch.gc"]
    said = subprocess.check_output(command, env=environment, cwd=ROOT, text=True)
    assert said.splitlines()[-1] == "1 of 1 RayJobs removed"
    assert cluster.jobs() == []
    environment.pop("XSTILTS_NAMESPACE")
    lacking = subprocess.run(command, env=environment, cwd=ROOT, text=True, capture_output=True)
    assert (lacking.returncode, "XSTILTS_NAMESPACE" in lacking.stderr) == (3, True)


@pytest.mark.parametrize("text", ["null", "[]", "{}", '{"renewed": "soon", "seconds": 60}', "{"])
def test_a_lease_that_cannot_be_read_keeps_its_job_and_stops_no_other(
    store: Store, jobs: RayJobs, cluster: ScriptedCluster, text: str
) -> None:
    posted(jobs, cluster, f"{store.uri}/runs/bad")
    posted(jobs, cluster, f"{store.uri}/runs/cancelled", "qwen")
    store.put_bytes_at("runs/bad/leases/finetune-llava.json", text.encode())
    store.put_json("runs/cancelled/cancelled.json", {"cancelled": 1.0})
    lines = sorted(gc.collect(jobs, store, time.time()))
    assert [line.split(" ", 1)[0] for line in lines] == ["kept", "removed"]
    assert "/runs/bad/leases/finetune-llava.json: corrupt: " in lines[0]
