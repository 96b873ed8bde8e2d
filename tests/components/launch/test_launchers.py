"""One suite for all launchers: the guarantees for a group's step, wherever its job runs.

`xstilts.runs.actions.finetune` is called like the component calls it. The cluster is scripted; its
time advances with each wait.
"""

import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from components.launch import backends, choose, lease, local, submit, waiting
from components.launch.kubernetes import DOUBT_SECONDS, Api, ApiError, RayJobs
from components.launch.state import MOST_LOSSES
from tests.components.launch.conftest import ENVIRONMENT
from tests.components.launch.scripted import (
    PENDING,
    RUNNING,
    SAME,
    STOPPED,
    SUCCEEDED,
    SUSPENDED,
    Object,
    ScriptedCluster,
    Step,
    failed,
    served,
    vanish,
)
from xstilts.errors import InfrastructureError, StoreError
from xstilts.runs import actions
from xstilts.runs.actions import Launch
from xstilts.runs.folder import failure_key
from xstilts.step import Step as PlanStep
from xstilts.store.store import Store

CLUSTER = {"deadline_hours": 0.25, "queue_hours": 2}
WORK = PlanStep(
    "finetune", {"n": 1}, {}, {"label": "the only step", "workers": 2, "cluster": CLUSTER}
)


class Killed(BaseException):
    """The step's process was killed."""


@dataclass
class Place:
    """A place where a group's job runs, and how it is launched there."""

    name: str
    cluster: ScriptedCluster
    launch: Launch
    store: Store
    uri: str

    def script(self, *scripts: list[Step]) -> None:
        self.cluster.scripts = [list(script) for script in scripts]

    def work(self, cluster: ScriptedCluster, job: Object) -> None:
        """A step of a script: the job finishes the group's only step."""
        self.store.commit(WORK, {}, {})

    def settle(self) -> dict[str, int]:
        return actions.finetune(self.uri, "llava", self.launch)

    def asks(self, cluster: dict[str, Any], gpus: float) -> None:
        """Sets the resources of the workers; no fingerprint changes."""
        step = WORK.to_json() | {
            "settings": {**WORK.settings, "gpus_per_worker": gpus, "cluster": CLUSTER | cluster}
        }
        body = {
            "spec": {"finetune": [WORK.fingerprint], "score": []},
            "steps": {WORK.fingerprint: step},
        }
        self.store.put_json("runs/r/specs/llava.json", body)

    def paced(self, poll: float) -> None:
        """Sets the polling interval."""
        pace = submit.Pace(poll, self.cluster.tick, lambda: self.cluster.now)
        self.launch = functools.partial(choose.launcher(), pace=pace)  # type: ignore[call-arg]

    def failure(self) -> str:
        found = self.store.get_json("runs/r/failures/finetune-llava.json")
        return "" if found is None else str(found["error"])

    def left(self) -> list[str]:
        """Jobs that run or are about to."""
        over = ("Complete", "Failed")
        jobs = [job for (kind, _), job in self.cluster.objects.items() if kind == "rayjobs"]
        return [
            job["metadata"]["name"]
            for job in jobs
            if job.get("status", {}).get("jobDeploymentStatus") not in over
        ]

    def things(self) -> list[tuple[str, str]]:
        """All objects in the cluster except the pods of steps."""
        things = self.cluster.objects.items()
        return [
            key
            for key, thing in things
            if key[0] != "pods" or thing["metadata"].get("ownerReferences")
        ]

    def killed_after(self, ticks: int) -> None:
        """Settles, and kills the step after some ticks: nothing of it is cleaned up, its lease
        neither.
        """

        def tick(seconds: float) -> None:
            nonlocal ticks
            self.cluster.tick(seconds)
            ticks -= 1
            if ticks <= 0:
                raise Killed

        pace = submit.Pace(5.0, tick, lambda: self.cluster.now)
        launch = functools.partial(choose.LAUNCHERS[self.name], pace=pace)  # type: ignore[call-arg]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lease.Keeper, "__exit__", lambda keeper, *_: keeper._stop.set())
            with pytest.raises(Killed):
                actions.finetune(self.uri, "llava", launch)


@pytest.fixture
def place(
    request: pytest.FixtureRequest, store: Store, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    cluster, name = ScriptedCluster(), request.param
    store.put_json(
        "runs/r/specs/llava.json",
        {
            "spec": {"finetune": [WORK.fingerprint], "score": []},
            "steps": {WORK.fingerprint: WORK.to_json()},
        },
    )
    for key, value in ENVIRONMENT.items():
        if not key.startswith("AWS_"):
            monkeypatch.setenv(key, value)
    monkeypatch.setenv("XSTILTS_LAUNCHER", name)
    pod = cluster.add("pods", {"metadata": {"name": "step-pod", "namespace": "xstilts"}})
    monkeypatch.setenv("XSTILTS_POD_UID", pod["metadata"]["uid"])
    with served(cluster) as address:
        made = functools.partial(Api, sleep=cluster.tick, clock=lambda: cluster.now)
        monkeypatch.setattr(Api, "in_cluster", lambda: made(address, doubt=DOUBT_SECONDS))
        monkeypatch.setattr(submit, "ray_api", lambda given: made(address))
        monkeypatch.setattr(local, "launch", functools.partial(_played, cluster))
        pace = submit.Pace(5.0, cluster.tick, lambda: cluster.now)
        launch = functools.partial(choose.launcher(), pace=pace)  # type: ignore[call-arg]
        yield Place(name, cluster, launch, store, f"{store.uri}/runs/r")


def _played(cluster: ScriptedCluster, worker: str, config: Any, resources: Any) -> None:
    """Stands for Ray on this machine: the script is played at once. Ray itself is tested in
    tests/e2e.
    """
    cluster.made += 1
    for step in cluster.scripts[0]:
        if callable(step):
            step(cluster, {})
        elif step.get("jobStatus") == "FAILED":
            raise InfrastructureError(f"{step['reason']}: {step['message']}")


everywhere = pytest.mark.parametrize("place", ["local", "ray", "rayjob"], indirect=True)
remote = pytest.mark.parametrize("place", ["ray", "rayjob"], indirect=True)
rayjob = pytest.mark.parametrize("place", ["rayjob"], indirect=True)
ray = pytest.mark.parametrize("place", ["ray"], indirect=True)
DONE, LOST = {"done": 1, "failed": 0, "new": 1}, {"done": 0, "failed": 1, "new": 0}


@everywhere
def test_a_group_is_settled_and_its_job_is_removed(place: Place) -> None:
    place.script([PENDING, RUNNING, SAME, place.work, SUCCEEDED])
    assert place.settle() == DONE
    assert place.cluster.made == 1
    assert place.things() == []
    assert place.store.list("runs/r/leases/") == []
    assert place.store.list("runs/r/failures/") == []


@everywhere
def test_settled_work_is_not_launched_again(place: Place) -> None:
    place.store.commit(WORK, {}, {})
    assert place.settle() == {"done": 1, "failed": 0, "new": 0}
    assert place.cluster.made == 0


@remote
@pytest.mark.parametrize("ends", [True, False], ids=["ended", "runs"])
def test_a_retry_that_finds_the_work_done_removes_the_job_of_the_attempt_before(
    place: Place, ends: bool
) -> None:
    """The step was killed near the end: nothing is left to train, but a job and its lease are."""
    place.script([RUNNING, place.work, *([] if ends else [SAME, SAME, SAME]), SUCCEEDED])
    place.killed_after(3)
    assert place.store.list("runs/r/leases/") != []
    assert place.settle() == {"done": 1, "failed": 0, "new": 0}
    assert place.cluster.made == 1
    assert place.things() == []
    assert place.store.list("runs/r/leases/") == []


@remote
def test_a_job_of_done_work_that_cannot_be_removed_fails_nothing(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.script([RUNNING, place.work, SUCCEEDED])
    place.killed_after(3)

    def launch(worker: str, config: object, resources: object) -> None:
        raise InfrastructureError("no API server")

    place.launch = launch  # type: ignore[assignment]
    assert place.settle() == {"done": 1, "failed": 0, "new": 0}
    assert place.failure() == ""
    assert "finetune llava: cannot remove the job" in caplog.text


@everywhere
def test_the_manifest_decides_whatever_the_job_reports(place: Place) -> None:
    place.script([RUNNING, place.work, failed("AppFailed", "the log stream broke off")])
    assert place.settle() == DONE
    assert place.failure() == ""


@everywhere
def test_a_job_that_succeeded_without_results_has_failed(place: Place) -> None:
    place.script([RUNNING, SUCCEEDED])
    assert place.settle() == LOST
    found = place.store.get_json(failure_key("runs/r", "finetune", WORK.fingerprint))
    assert "ended without finishing this step" in found["error"]


@everywhere
def test_a_failed_job_is_reported_with_its_reason(place: Place) -> None:
    place.script([RUNNING, failed("AppFailed", "CUDA out of memory on rank 3")])
    assert place.settle() == LOST
    assert "CUDA out of memory on rank 3" in place.failure()
    assert "AppFailed" in place.failure()
    assert place.cluster.made == 1
    assert place.left() == []


@everywhere
def test_a_step_with_its_failure_recorded_is_settled(place: Place) -> None:
    def record(cluster: ScriptedCluster, job: Object) -> None:
        key = failure_key("runs/r", "finetune", WORK.fingerprint)
        place.store.put_json(key, actions.failure("the only step", ValueError("NaN in update 7")))

    place.script([RUNNING, record, failed("AppFailed", "and then it fell over")])
    assert place.settle() == LOST
    assert place.failure() == ""
    assert (
        "NaN" in place.store.get_json(failure_key("runs/r", "finetune", WORK.fingerprint))["error"]
    )


@remote
def test_a_retry_adopts_the_running_job(place: Place) -> None:
    place.script([PENDING, RUNNING, SAME, SAME, SAME, SAME, place.work, SUCCEEDED])
    place.killed_after(3)
    assert len(place.left()) == 1
    assert place.settle() == DONE
    assert place.cluster.made == 1


@remote
def test_a_retry_keeps_the_failures_of_the_running_job(place: Place) -> None:
    key = failure_key("runs/r", "finetune", WORK.fingerprint)

    def record(cluster: ScriptedCluster, job: Object) -> None:
        place.store.put_json(key, actions.failure("the only step", ValueError("NaN in update 7")))

    place.script([RUNNING, record, SAME, SAME, SAME, SUCCEEDED])
    place.killed_after(3)
    assert place.settle() == LOST
    assert "NaN in update 7" in place.store.get_json(key)["error"]
    place.script([RUNNING, place.work, SUCCEEDED])
    assert place.settle() == DONE  # the next attempt starts from scratch
    assert place.store.get_json(key) is None


@remote
def test_a_job_that_failed_in_an_earlier_try_is_made_anew(place: Place) -> None:
    place.script([PENDING, failed("AppFailed", "old")], [RUNNING, place.work, SUCCEEDED])
    place.killed_after(1)
    place.cluster.tick()
    assert place.settle() == DONE
    assert place.cluster.made == 2


@remote
def test_a_job_that_ended_between_two_attempts_counts(place: Place) -> None:
    """Its only step is recorded as failed: nothing is started again."""
    key = failure_key("runs/r", "finetune", WORK.fingerprint)

    def record(cluster: ScriptedCluster, job: Object) -> None:
        place.store.put_json(key, actions.failure("the only step", ValueError("NaN in update 7")))

    place.script([RUNNING, record, SUCCEEDED])
    place.killed_after(1)
    place.cluster.tick()
    place.cluster.tick()
    assert place.settle() == LOST
    assert "NaN in update 7" in place.store.get_json(key)["error"]
    assert (place.cluster.made, place.left()) == (1, [])


@remote
def test_the_loop_waits_for_an_unreachable_store_when_the_job_ends(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, fails = submit.settled, iter([False, *[True] * 5])

    def flaky(*arguments: Any) -> bool:
        if next(fails, False):
            raise StoreError("away")
        return known(*arguments)

    monkeypatch.setattr(submit, "settled", flaky)
    place.script([RUNNING, place.work, failed("AppFailed", "the store was away")])
    assert place.settle() == DONE
    assert place.cluster.made == 1


@remote
def test_a_job_that_vanishes_is_started_again(place: Place) -> None:
    place.script([RUNNING, vanish], [RUNNING, place.work, SUCCEEDED])
    assert place.settle() == DONE
    assert place.cluster.made == 2


@remote
def test_a_job_that_vanishes_too_often_fails(place: Place) -> None:
    place.script([RUNNING, vanish])
    assert place.settle() == LOST
    assert place.cluster.made == MOST_LOSSES + 1
    assert "it vanished" in place.failure()


@remote
def test_a_job_that_vanishes_when_its_work_is_done_is_done(place: Place) -> None:
    place.script([RUNNING, place.work, vanish])
    assert place.settle() == DONE
    assert place.cluster.made == 1


@remote
def test_a_stopped_job_is_not_started_again(place: Place) -> None:
    place.script([RUNNING, STOPPED])
    assert place.settle() == LOST
    assert "stopped by hand" in place.failure()
    assert place.cluster.made == 1


@remote
def test_a_cancelled_run_stops_waiting_and_leaves_no_job_running(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancel(cluster: ScriptedCluster, job: Object) -> None:
        lease.cancel(place.store, "runs/r")
        keeper[0].renew()  # the keeper's thread uses the real clock

    keeper: list[lease.Keeper] = []
    enter = lease.Keeper.__enter__
    monkeypatch.setattr(lease.Keeper, "__enter__", lambda self: keeper.append(self) or enter(self))
    place.script([RUNNING, cancel, SAME])
    with pytest.raises(InfrastructureError, match="the run was cancelled"):
        place.settle()
    assert place.left() == []
    with pytest.raises(InfrastructureError, match="submit it again"):
        place.settle()
    assert place.cluster.made == 1


FAULTS = {
    "429": [429, 429], "500": [500], "502": [502], "503": [503, 503, 503], "dropped": ["drop", "drop"],
    "answer lost": ["drop after"], "a storm": [500, "drop", 429, "drop after", 503],
}  # fmt: skip


@remote
@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("fault", FAULTS)
def test_temporary_errors_are_retried(place: Place, fault: str, before: int) -> None:
    """before: requests that succeed first, so that every verb meets the fault."""
    place.script([PENDING, RUNNING, SAME, SAME, SAME, place.work, SUCCEEDED])
    place.cluster.faults = [None] * before + FAULTS[fault]
    assert place.settle() == DONE
    assert place.cluster.made == 1
    assert place.things() == []


@remote
def test_an_outage_of_ten_minutes_does_not_end_the_job(place: Place) -> None:
    place.script([RUNNING, *[SAME] * 40, place.work, SUCCEEDED])
    place.cluster.faults = [None] * 5 + ["drop"] * 25  # the job runs by then
    assert place.settle() == DONE
    assert place.cluster.made == 1


@rayjob
def test_a_job_waits_in_its_queue_and_survives_preemption(place: Place) -> None:
    place.script([
        SUSPENDED, *[SAME] * 20, PENDING, RUNNING, SAME, {"jobDeploymentStatus": "Suspending"}, SUSPENDED,
        *[SAME] * 20, {"jobDeploymentStatus": "Initializing"}, RUNNING, place.work, SUCCEEDED,
    ])  # fmt: skip
    assert place.settle() == DONE
    assert place.cluster.made == 1


@rayjob
def test_a_job_that_is_never_admitted_times_out_and_is_removed(place: Place) -> None:
    """The wait does not count towards the deadline, 15 minutes here."""
    place.script([SUSPENDED])
    place.paced(120.0)
    before = place.cluster.now
    assert place.settle() == LOST
    assert 2 * 3600 < place.cluster.now - before < 2 * 3600 + 300
    name = backends.name_of("r", "llava", "finetune")
    assert "not admitted within 2 hours" in place.failure()
    assert "queue xstilts of namespace xstilts" in place.failure()
    assert f"kubectl -n xstilts describe workload rayjob-{name}" in place.failure()
    assert (
        place.store.get_json("runs/r/failures/finetune-llava.json")["exit_code"]
        == InfrastructureError.exit_code
    )
    assert (place.cluster.made, place.things()) == (1, [])


@rayjob
def test_a_job_without_an_operator_times_out(place: Place) -> None:
    place.script([SAME])
    place.paced(240.0)
    assert place.settle() == LOST
    assert "is the KubeRay operator running?" in place.failure()
    assert place.things() == []


NODE, GPUS = {"CPU": 8.0, "memory": 1e10}, {"CPU": 8.0, "GPU": 1.0}
TOO_SMALL = {
    "no node is large enough": (
        {"cpus_per_worker": 9},
        0,
        [NODE, NODE],
        "2 workers of 9 CPUs, but none fits on a node",
    ),
    "too few nodes": (
        {"cpus_per_worker": 5},
        0,
        [NODE],
        "2 workers of 5 CPUs, but only 1 fit",
    ),
    "no GPUs": ({}, 1, [NODE, NODE], "2 workers of 2 CPUs and 1 GPUs, but none fits"),
    "too few GPUs": ({}, 1, [NODE, GPUS], "2 workers of 2 CPUs and 1 GPUs, but only 1 fit"),
    "no nodes": ({}, 0, [], "nodes: none"),
}


@ray
@pytest.mark.parametrize("name", TOO_SMALL)
def test_a_group_that_its_cluster_can_never_place_is_refused_at_once(
    place: Place, name: str
) -> None:
    more, gpus, place.cluster.nodes, words = TOO_SMALL[name]
    place.asks(more, gpus)
    before = place.cluster.now
    assert place.settle() == LOST
    assert words in place.failure()
    assert (place.cluster.made, place.cluster.now) == (0, before)


@ray
def test_a_cluster_that_grows_is_waited_for(place: Place) -> None:
    place.cluster.nodes, place.cluster.autoscaling = [NODE], True
    place.asks({"cpus_per_worker": 64}, 0)
    place.script([PENDING, RUNNING, place.work, SUCCEEDED])
    assert place.settle() == DONE


@ray
def test_a_cluster_with_room_for_the_fewest_workers_is_large_enough(place: Place) -> None:
    place.cluster.nodes = [NODE]
    place.asks({"cpus_per_worker": 8, "min_workers": 1}, 0)
    place.script([RUNNING, place.work, SUCCEEDED])
    assert place.settle() == DONE


@rayjob
@pytest.mark.parametrize(
    "reason", ["DeadlineExceeded", "PreRunningDeadlineExceeded", "ValidationFailed"]
)
def test_a_reason_that_will_come_again_is_final(place: Place, reason: str) -> None:
    place.script([PENDING, failed(reason, "says the operator", job="")])
    assert place.settle() == LOST
    assert reason in place.failure()
    assert "says the operator" in place.failure()
    assert place.cluster.made == 1
    assert place.left() == []


@rayjob
@pytest.mark.parametrize("reason", ["SubmissionFailed", "JobStatusCheckTimeoutExceeded"])
def test_a_lost_head_is_replaced(place: Place, reason: str) -> None:
    place.script([RUNNING, failed(reason, "", job="RUNNING")], [RUNNING, place.work, SUCCEEDED])
    assert place.settle() == DONE
    assert place.cluster.made == 2


@rayjob
def test_both_status_fields_count(place: Place) -> None:
    complete_but_failed: Step = {"jobDeploymentStatus": "Complete", "jobStatus": "FAILED"}
    place.script(
        [{"jobDeploymentStatus": "Running", "jobStatus": "SUCCEEDED"}, SAME, complete_but_failed]
    )
    assert place.settle() == LOST


@rayjob
def test_an_operator_that_is_restarted_is_waited_for(place: Place) -> None:
    ended: Step = {"jobDeploymentStatus": "Running", "jobStatus": "SUCCEEDED"}
    place.script([RUNNING, *[SAME] * 50, place.work, ended, *[SAME] * 30, SUCCEEDED])
    assert place.settle() == DONE
    assert place.cluster.made == 1


@rayjob
def test_an_operator_that_never_comes_back_does_not_hold_the_step_for_ever(place: Place) -> None:
    place.script([RUNNING])
    place.paced(60.0)
    assert place.settle() == LOST
    assert "past its deadline" in place.failure()
    assert place.things() == []


def unschedulable(cluster: ScriptedCluster, job: Object) -> None:
    """A step of a script: a worker's pod fits on no node."""
    message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: not helpful."
    condition = {"type": "PodScheduled", "status": "False", "message": message}
    pod = {
        "metadata": {
            "name": "x-worker", "namespace": "xstilts", "labels": {"ray.io/cluster": "x", "ray.io/node-type": "worker"},
            "ownerReferences": [{"uid": job["metadata"]["uid"]}],
        },
        "status": {"phase": "Pending", "conditions": [condition]},
    }  # fmt: skip
    cluster.add("pods", pod)
    job["status"] = {"jobDeploymentStatus": "Initializing", "rayClusterName": "x"}


NO_GPUS = "worker pod: not scheduled: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu"


@rayjob
def test_the_step_says_why_it_waits(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """In its log and in the run's folder, within 30 s; not any more once the job runs."""
    seen: list[list[waiting.Waiting]] = []
    times: list[float] = []

    def look(cluster: ScriptedCluster, job: Object) -> None:
        seen.append(waiting.recorded(place.store, "runs/r", time.time()))
        times.extend([cluster.now] * any(w.reasons for w in seen[-1]))

    def start(cluster: ScriptedCluster, job: Object) -> None:
        times.append(cluster.now)
        unschedulable(cluster, job)

    def fits(cluster: ScriptedCluster, job: Object) -> None:
        cluster.remove("pods", "x-worker")
        job["status"] = dict(RUNNING) | {"rayClusterName": "x"}  # type: ignore[call-overload]

    place.script([PENDING, start, look, look, look, look, fits, SAME, look, place.work, SUCCEEDED])
    assert place.settle() == DONE
    assert times[1] - times[0] <= 30
    [record] = seen[3]
    assert (record.kind, record.group, record.state) == ("finetune", "llava", "pending")
    assert record.reasons == (NO_GPUS,)
    assert seen[-1] == []
    assert sum(NO_GPUS in message for message in caplog.messages) == 1
    assert place.store.list("runs/r/waiting/") == []


@rayjob
def test_a_job_that_did_not_start_says_why(place: Place) -> None:
    def gone(cluster: ScriptedCluster, job: Object) -> None:
        """The operator ended the job, and its pods are already deleted."""
        cluster.remove("pods", "x-worker")
        job["status"] = failed("PreRunningDeadlineExceeded", "", job="")

    place.script([PENDING, unschedulable, SAME, SAME, SAME, gone])
    place.settle()
    assert f"did not start within resources.cluster.start_minutes (Failed, PreRunningDeadlineExceeded); {NO_GPUS}" in (
        place.failure()
    )  # fmt: skip


@rayjob
def test_a_queued_job_says_why(place: Place) -> None:
    def wait(cluster: ScriptedCluster, job: Object) -> None:
        condition = {
            "type": "QuotaReserved",
            "status": "False",
            "message": "request (2) > maximum capacity (1)",
        }
        cluster.add("workloads", {
            "metadata": {"name": "w", "namespace": "xstilts",
                         "labels": {"kueue.x-k8s.io/job-uid": job["metadata"]["uid"]},
                         "ownerReferences": [{"uid": job["metadata"]["uid"]}]},
            "status": {"conditions": [condition]},
        })  # fmt: skip

    place.script([SUSPENDED, wait])
    place.paced(240.0)
    place.settle()
    assert "queue xstilts: can never be admitted: request (2) > maximum capacity (1)" in (
        place.failure()
    )


@rayjob
@pytest.mark.parametrize("what", ["pods", "workloads", "events"])
def test_a_step_without_the_right_to_see_why_waits_all_the_same(
    place: Place, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> Any:
        raise ApiError(f"GET {what}", 403, "forbidden")

    monkeypatch.setattr(RayJobs, what, refused)
    place.script([SUSPENDED, unschedulable, SAME, SAME, RUNNING, place.work, SUCCEEDED])
    assert place.settle() == DONE


@pytest.fixture
def workflow(place: Place) -> str:
    """The uid of the Argo Workflow that owns the step's pods."""
    metadata = {"name": "run-x", "namespace": "xstilts"}
    uid = str(place.cluster.add("workflows", {"metadata": metadata})["metadata"]["uid"])
    own(place.cluster.objects["pods", "step-pod"], uid)
    return uid


def own(pod: Object, workflow: str) -> None:
    pod["metadata"]["ownerReferences"] = [
        {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "run-x", "uid": workflow}
    ]


def next_attempt(place: Place, monkeypatch: pytest.MonkeyPatch) -> Object:
    """The pod of the step's next attempt."""
    pod = place.cluster.add("pods", {"metadata": {"name": "other-pod", "namespace": "xstilts"}})
    monkeypatch.setenv("XSTILTS_POD_NAME", "other-pod")
    monkeypatch.setenv("XSTILTS_POD_UID", pod["metadata"]["uid"])
    return pod


@rayjob
def test_training_survives_the_deletion_of_its_steps_pod(
    place: Place, workflow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drained node, a preemption and the autoscaler delete pods. The next attempt adopts the job."""
    place.script([PENDING, RUNNING, SAME, SAME, SAME, place.work, SUCCEEDED])
    place.killed_after(3)
    place.cluster.remove("pods", "step-pod")
    [name] = place.left()
    uid = place.cluster.job()["metadata"]["uid"]
    place.cluster.tick(30)
    assert place.cluster.job()["metadata"]["uid"] == uid
    own(next_attempt(place, monkeypatch), workflow)
    assert place.settle() == DONE
    assert place.cluster.made == 1
    assert ("rayjobs", name) not in place.things()


@rayjob
def test_the_job_is_deleted_with_its_workflow(place: Place, workflow: str) -> None:
    place.script([PENDING, RUNNING])
    place.killed_after(3)
    assert len(place.left()) == 1
    place.cluster.remove("workflows", "run-x")
    assert place.left() == []


@rayjob
def test_without_a_workflow_a_retry_adds_its_pod_as_owner(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners: list[list[str]] = []

    def look(cluster: ScriptedCluster, job: Object) -> None:
        owners.append([owner["uid"] for owner in job["metadata"]["ownerReferences"]])

    first = place.cluster.objects["pods", "step-pod"]["metadata"]["uid"]
    place.script([PENDING, RUNNING, look, SAME, SAME, look, place.work, SUCCEEDED])
    place.killed_after(3)
    other = next_attempt(place, monkeypatch)["metadata"]["uid"]
    place.cluster.faults = [None, None, None, 409]  # a change between the read and the patch
    assert place.settle() == DONE
    assert owners == [[first], [first, other]]


@rayjob
def test_a_job_in_another_namespace_has_no_owner(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubernetes would find no such owner and delete the job at once."""
    monkeypatch.setenv("XSTILTS_RAY_NAMESPACE", "gpus")
    owners: list[Any] = []

    def look(cluster: ScriptedCluster, job: Object) -> None:
        owners.append(job["metadata"].get("ownerReferences"))

    place.script([RUNNING, look, place.work, SUCCEEDED])
    assert place.settle() == DONE
    assert owners == [None]


@rayjob
@pytest.mark.parametrize("before", range(1, 9))
def test_a_restart_of_the_api_server_does_not_lose_the_group(place: Place, before: int) -> None:
    """before: requests that succeed first, so that each kind of request meets the restart."""
    place.cluster.faults = [None] * before + ["drop", "drop", 403, 403, 404, 503, 403]
    place.script([PENDING, RUNNING, SAME, SAME, SAME, place.work, SUCCEEDED])
    assert place.settle() == DONE
    assert (place.cluster.made, place.things()) == (1, [])


@rayjob
def test_a_forbidden_verb_is_named(place: Place) -> None:
    place.cluster.faults = [None, None, *[403] * 30]
    place.settle()
    assert "POST /apis/ray.io/v1/namespaces/xstilts/rayjobs: HTTP 403" in place.failure()
    assert "Role xstilts-step" in place.failure()


def test_an_unknown_launcher_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XSTILTS_LAUNCHER", "slurm")
    with pytest.raises(InfrastructureError, match="allowed: local, ray, rayjob"):
        choose.launcher()


def test_the_address_of_ray_s_jobs_is_http() -> None:
    with pytest.raises(InfrastructureError, match="http://HOST:8265"):
        backends.ray_api("ray://head:10001")


def test_a_step_that_only_waits_needs_neither_torch_nor_ray() -> None:
    import subprocess
    import sys

    code = (
        "import sys, components.launch.choose, components.launch.gc\n"
        "print(sorted({'torch', 'ray', 'transformers', 'kubernetes', 'kfp'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
