"""Why a job waits, from objects as a cluster returned them (Kubernetes 1.36, KubeRay 1.6.2, Kueue 0.19),
cut to the fields that are read.
"""

import time
from typing import Any

import pytest

from components.launch.lease import Keeper
from components.launch.waiting import Waiting, clear, pod_reason, reasons, record, recorded
from xstilts.store.store import Store

Object = dict[str, Any]
SUSPENDED = "Suspended"


def job(status: str = "Initializing", queue: str | None = None, refused: str = "") -> Object:
    failure = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": refused.split("\n")[0],
        "message": refused,
    }
    return {
        "metadata": {"name": "xs-j", "uid": "u", "labels": {"kueue.x-k8s.io/queue-name": queue} if queue else {}},
        "spec": {"suspend": queue is not None},
        "status": {
            "jobDeploymentStatus": status,
            "rayClusterStatus": {"conditions": [
                *([failure] if refused else []),
                {"type": "HeadPodReady", "status": "False", "reason": "Unknown", "message": ""},
                {"type": "RayClusterProvisioned", "status": "False", "reason": "RayClusterPodsProvisioning",
                 "message": "RayCluster Pods are being provisioned for first time"},
            ]},
        },
    }  # fmt: skip


def pod(
    role: str = "worker", phase: str = "Pending", unscheduled: str = "", **status: Any
) -> Object:
    scheduled = {"type": "PodScheduled", "status": "True"}
    if unscheduled:
        scheduled = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": unscheduled,
        }
    return {
        "metadata": {"name": f"xs-j-{role}-1", "labels": {"ray.io/node-type": role}},
        "status": {"phase": phase, "conditions": [scheduled], **status},
    }


def container(
    name: str, reason: str, message: str = "", image: str = "r.example/none:1", last: Any = None
) -> Object:
    waiting = {"reason": reason, **({"message": message} if message else {})}
    return {
        "name": name,
        "image": image,
        "state": {"waiting": waiting},
        **({"lastState": last} if last else {}),
    }


def warning(
    kind: str, name: str, reason: str, message: str, at: str = "2026-01-01T00:00:01Z"
) -> Object:
    return {
        "type": "Warning", "reason": reason, "message": message, "lastTimestamp": at,
        "involvedObject": {"kind": kind, "name": name},
    }  # fmt: skip


def workload(*conditions: Object, created: str = "2026-01-01T00:00:00Z", **more: Any) -> Object:
    return {
        "metadata": {"creationTimestamp": created},
        "spec": {"active": more.pop("active", True)},
        "status": {"conditions": list(conditions), **more},
    }


def reserved(message: str, reason: str = "Pending") -> Object:
    return {"type": "QuotaReserved", "status": "False", "reason": reason, "message": message}


GPUS = (
    "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient nvidia.com/gpu. no new claims to deallocate, "
    "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
)
SELECTOR = (
    "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, "
    "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
)
PULL = (
    'failed to pull and unpack image "registry.example/none:1": failed to resolve reference '
    '"registry.example/none:1": failed to do request: Head "https://registry.example/v2/none/manifests/1": dial tcp: '
    "lookup registry.example on 172.19.0.2:53: no such host"
)
QUOTA = (
    'FailedCreateWorkerPod\npods "xs-j-6p9gv-workers-worker-4z4zh" is forbidden: exceeded quota: xstilts, requested: '
    "requests.nvidia.com/gpu=8, used: requests.nvidia.com/gpu=0, limited: requests.nvidia.com/gpu=1"
)
ACCOUNT = (
    'FailedCreateHeadPod\npods "xs-j-g866z-head-" is forbidden: error looking up service account n/absent: '
    'serviceaccount "absent" not found'
)
NEVER = (
    "couldn't assign flavors to pod set workers: insufficient quota for nvidia.com/gpu in flavor any, previously "
    "considered podsets requests (0) + current podset request (2) > maximum capacity (1)"
)
LATER = "couldn't assign flavors to pod set workers: insufficient unused quota for cpu in flavor any, 1 more needed"
EVICTED = {
    "type": "Evicted", "status": "True", "reason": "Preempted",
    "message": "Preempted to accommodate a workload (UID: 1) due to prioritization in the ClusterQueue",
}  # fmt: skip

#: what happens: (job, pods, workloads, events, the reasons)
CASES: dict[str, tuple[Object, list[Object], list[Object] | None, list[Object], list[str]]] = {
    "it starts": (job(), [pod("head"), pod()], None, [], []),
    "containers are created": (
        job(), [pod(containerStatuses=[container("ray-worker", "ContainerCreating")])], None, [], [],
    ),
    "workers wait for the head": (
        job(), [pod(initContainerStatuses=[{"name": "wait-gcs-ready", "image": "i", "state": {"running": {}}}],
                    containerStatuses=[container("ray-worker", "PodInitializing")])], None, [], [],
    ),
    "no node has the resources": (
        job(), [pod("head"), pod(unscheduled=GPUS), pod(unscheduled=GPUS)], None, [],
        ["2 worker pods: not scheduled: 0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient nvidia.com/gpu"],
    ),
    "head and workers for one reason": (
        job(), [pod("head", unscheduled=GPUS), pod(unscheduled=GPUS)], None, [],
        ["head pod and worker pod: not scheduled: 0/1 nodes are available: 1 Insufficient cpu, "
         "1 Insufficient nvidia.com/gpu"],
    ),
    "no node has the label": (
        job(), [pod(unscheduled=SELECTOR)], None, [],
        ["worker pod: not scheduled: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector"],
    ),
    "the image is not there": (
        job(), [pod("head", containerStatuses=[container("ray-head", "ErrImagePull", "not found")])], None, [],
        ["head pod: image r.example/none:1 cannot be pulled: not found"],
    ),
    "a second attempt to pull": (
        job(), [pod("head", containerStatuses=[container("ray-head", "ImagePullBackOff", 'Back-off pulling image "i": ErrImagePull: no such host')])],
        None, [], ["head pod: image r.example/none:1 cannot be pulled: no such host"],
    ),
    "a container that crashes": (
        job(), [pod("head", "Running", containerStatuses=[container(
            "ray-head", "CrashLoopBackOff", "back-off 10s restarting failed container",
            last={"terminated": {"reason": "OOMKilled", "exitCode": 137}})])], None, [],
        ["head pod: container ray-head CrashLoopBackOff: it ended with OOMKilled, exit code 137"],
    ),
    "a secret is missing": (
        job(), [pod(containerStatuses=[container("ray-worker", "CreateContainerConfigError", 'secret "s" not found')])],
        None, [], ['worker pod: container ray-worker CreateContainerConfigError: secret "s" not found'],
    ),
    "a volume cannot be mounted": (
        job(), [pod(containerStatuses=[container("ray-worker", "ContainerCreating")])], None,
        [warning("Pod", "xs-j-worker-1", "FailedMount", 'MountVolume.SetUp failed for volume "x"'),
         warning("Pod", "another", "FailedMount", "of another pod")],
        ['worker pod: FailedMount: MountVolume.SetUp failed for volume "x"'],
    ),
    "the quota is exhausted": (
        job(refused=QUOTA), [pod("head")], None, [],
        ["the operator cannot create a pod: exceeded quota: xstilts, requested: requests.nvidia.com/gpu=8, used: "
         "requests.nvidia.com/gpu=0, limited: requests.nvidia.com/gpu=1"],
    ),
    "the service account is missing": (
        job(refused=ACCOUNT), [], None, [],
        ['the operator cannot create a pod: error looking up service account n/absent: serviceaccount "absent" not '
         "found"],
    ),
    "only an event says why": (
        job(), [], None, [warning("RayJob", "xs-j", "FailedToCreateRayCluster", "webhook denied the request")],
        ["FailedToCreateRayCluster: webhook denied the request"],
    ),
    "Kueue can never admit it": (
        job(SUSPENDED, "main"), [], [workload(reserved(NEVER))], [], [f"queue main: can never be admitted: {NEVER}"],
    ),
    "the queue is full": (job(SUSPENDED, "main"), [], [workload(reserved(LATER))], [], [f"queue main: {LATER}"]),
    "the queue is full, and only an event says so": (
        job(SUSPENDED, "main"), [], [workload({"type": "PodsReady", "status": "False", "message": "Not all"})],
        [warning("Workload", "rayjob-xs-j", "Pending", LATER)], [f"queue main: {LATER}"],
    ),
    "Kueue has not looked at it": (job(SUSPENDED, "main"), [], [workload()], [], ["queue main: pending"]),
    "it was refused, and is admitted now": (
        job(SUSPENDED, "main"), [], [workload({"type": "Admitted", "status": "True", "message": ""})],
        [warning("Workload", "rayjob-xs-j", "Pending", LATER)], [],
    ),
    "the queue does not exist": (
        job(SUSPENDED, "absent"), [], [workload(reserved("LocalQueue absent doesn't exist", "Inadmissible"))], [],
        ["queue absent: LocalQueue absent doesn't exist"],
    ),
    "a higher priority took its place": (
        job(SUSPENDED, "main"), [], [workload(EVICTED, reserved(LATER))], [],
        [f"queue main: evicted (Preempted): {EVICTED['message']}", f"queue main: {LATER}"],
    ),
    "the workload is deactivated": (
        job(SUSPENDED, "main"), [], [workload(active=False)], [],
        ["queue main: the Workload is deactivated (spec.active: false)"],
    ),
    "an admission check is open": (
        job(SUSPENDED, "main"), [],
        [workload({"type": "QuotaReserved", "status": "True", "reason": "QuotaReserved", "message": ""},
                  admissionChecks=[{"name": "provision", "state": "Pending", "message": "waits for nodes"}])],
        [], ["queue main: admission check provision Pending: waits for nodes"],
    ),
    "the newest workload counts": (
        job(SUSPENDED, "main"), [],
        [workload(reserved("new"), created="2026-01-02T00:00:00Z"), workload(reserved("old"))], [], ["queue main: new"],
    ),
    "Kueue does not answer": (
        job(SUSPENDED, "main"), [], [], [],
        ["queue main: Kueue has not created a Workload; is its controller running, with the integration "
         "ray.io/rayjob?"],
    ),
    "Kueue has had no time": (job("", "main"), [], [], [], []),
    "suspended by hand": (
        job(SUSPENDED), [], [], [], ["suspended without a queue: it was suspended by hand"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_reasons_of_a_waiting_job(case: str) -> None:
    rayjob, pods, workloads, events, lines = CASES[case]
    assert reasons(rayjob, pods, workloads, events) == lines


def test_the_cause_at_the_end_of_a_long_message_is_kept() -> None:
    waiting = container("ray-worker", "ErrImagePull", PULL)
    assert pod_reason(pod(containerStatuses=[waiting])) == (
        'image r.example/none:1 cannot be pulled: … failed to resolve reference "registry.example/none:1": failed to '
        'do request: Head "https://registry.example/v2/none/manifests/1": dial tcp: lookup registry.example on '
        "172.19.0.2:53: no such host"
    )


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_an_ended_pod_does_not_wait(phase: str) -> None:
    assert pod_reason(pod(phase=phase, unscheduled=GPUS)) is None


WAITING = Waiting("finetune", "llava", "xs-j", "kubeflow", "pending", 1.0, ("no nodes",))


def test_status_reads_what_the_step_recorded(store: Store) -> None:
    record(store, "runs/r", WAITING)
    with Keeper(store, "runs/r", "finetune-llava", "me"):
        assert recorded(store, "runs/r", time.time()) == [WAITING]
        clear(store, "runs/r", "finetune-llava")
        assert recorded(store, "runs/r", time.time()) == []


def test_a_record_that_a_killed_step_left_is_not_shown(store: Store) -> None:
    record(store, "runs/r", WAITING)
    assert recorded(store, "runs/r", time.time()) == []
