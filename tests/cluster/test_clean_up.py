"""Jobs whose step is gone are removed, also while nothing else can start."""

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from components.launch.lease import cancel, cancelled_key
from tests.cluster.install import LEASE
from tests.cluster.kube import Cluster, until
from tests.cluster.runs import Run


def collect(cluster: Cluster, namespace: str, store: str) -> str:
    """Runs the CronJob's job now, for a store; returns its log."""
    name = f"gc-{uuid.uuid4().hex[:6]}"
    command = ("create", "job", name, "--from=cronjob/xstilts-gc", "--dry-run=client", "-o", "json")
    job = json.loads(cluster.run("-n", namespace, *command).stdout)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    container["env"].append({"name": "XSTILTS_STORE", "value": store})
    cluster.apply([job])
    done = ("wait", f"job/{name}", "--for=condition=Complete", "--timeout=90s")
    cluster.run("-n", namespace, *done)
    return cluster.run("-n", namespace, "logs", f"job/{name}").stdout


def expire(run: Run) -> None:
    """Makes the lease as old as it would be after its lifetime and the allowed difference of clocks."""
    key = run.lease("finetune")
    lease = run.store.get_json(key)
    assert lease is not None
    run.store.put_json(key, {**lease, "renewed": time.time() - 1000})


@pytest.mark.parametrize("full", [False, True], ids=["", "with a full quota"])
def test_a_job_whose_step_is_gone_is_removed_when_its_lease_expires(
    idle: Run, quota: Callable[[int], None], full: bool
) -> None:
    if full:
        quota(0)
    task = idle.finetune()
    name = idle.job()["metadata"]["name"]
    until(lambda: idle.store.get_json(idle.lease("finetune")), "no lease")
    task.kill()
    assert f"kept {name}: its lease is held" in collect(
        idle.cluster, idle.namespace, idle.store.uri
    )
    expire(idle)
    assert f"removed {name}: its lease expired" in collect(
        idle.cluster, idle.namespace, idle.store.uri
    )
    idle.wait_for_no_orphan()


@pytest.mark.slow
def test_the_driver_ends_when_its_step_is_gone_and_a_second_attempt_trains_on(
    run: Run, local_results: Path, tmp_path: Path
) -> None:
    """Nobody renews the lease, so the GPUs are free; a later attempt replaces the ended job."""
    task = run.finetune()
    until(run.attempts, task.log, 300)
    first = run.job()["metadata"]["uid"]
    task.kill()
    until(lambda: run.phase().startswith(("Failed", "Complete")), run.phase, LEASE + 90, 1)
    task.begin().wait(600)
    until(lambda: first not in run.uids(), "the first job is not removed")
    run.score().report()
    run.assert_equal(local_results, tmp_path)
    run.wait_for_no_orphan()


@pytest.mark.slow
def test_a_cancelled_run_ends_and_can_be_submitted_again(
    run: Run, local_results: Path, tmp_path: Path
) -> None:
    task = run.finetune()
    until(run.attempts, task.log, 300)
    cancel(run.store, run.folder)
    task.wait_for_failure()
    run.wait_for_no_orphan(60)
    run.store.delete(cancelled_key(run.folder))
    run.train().score().report()
    run.assert_equal(local_results, tmp_path)
