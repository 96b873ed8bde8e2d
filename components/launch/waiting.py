"""Why a group's job does not run yet: pure functions over the JSON of Kubernetes objects, and the
record that a step writes for `xstilts status`.

`runs/<run>/waiting/<kind>-<group>.json` {kind, group, job, namespace, state, since, reasons} exists
while a job is queued, while its pods start, and while a pod of a running job is missing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from components.launch.lease import status, work_of
from xstilts.document_shape import fields_in
from xstilts.store.store import Store

Object = Mapping[str, Any]

#: Reasons of a waiting container that are part of a normal start.
STARTING = ("ContainerCreating", "PodInitializing")
#: Reasons of a waiting container whose image cannot be used.
IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
#: The end of a long message is kept: container runtimes put the cause last.
LONGEST = 240
#: Kueue writes this for a workload that does not fit in an empty queue.
NEVER = "> maximum capacity"


@dataclass(frozen=True)
class Waiting:
    """A job that waits. state: queued (by Kueue), pending (its pods start) or running (a pod of a
    running job is missing). since: seconds since the epoch. reasons: one sentence each; empty if
    none is known.
    """

    kind: str
    group: str
    job: str
    namespace: str
    state: Literal["queued", "pending", "running"] = "pending"
    since: float = 0.0
    reasons: tuple[str, ...] = ()


def reasons(
    job: Object,
    pods: Iterable[Object] = (),
    workloads: Sequence[Object] | None = None,
    events: Sequence[Object] = (),
) -> list[str]:
    """Why a RayJob does not run, one sentence each; empty if no reason is known.

    Args:
        job: the RayJob.
        pods: of its Ray cluster.
        workloads: its Kueue Workloads; None if it has no queue or they cannot be read.
        events: of the RayJob, its Ray cluster, its pods and its newest Workload.
    """
    lines: list[str] = []
    if is_queued(job) and workloads is not None:
        lines += _queue_reasons(job, workloads, events)
    lines += _creation_reasons(job)
    lines += pod_reasons(pods, events)
    about = [e for e in events if _kind(e) not in ("Pod", "Workload")]
    if not lines:  # conditions are current, events are history
        lines += _event_reasons(about)
    return list(dict.fromkeys(lines))


def is_queued(job: Object) -> bool:
    """Whether a RayJob is suspended: it waits for admission by its queue."""
    return job.get("status", {}).get("jobDeploymentStatus", "") in ("Suspended", "Suspending") or (
        not job.get("status", {}).get("jobDeploymentStatus") and bool(job["spec"].get("suspend"))
    )


def pod_reasons(pods: Iterable[Object], events: Sequence[Object] = ()) -> list[str]:
    """Why pods do not run; pods with the same reason share a sentence."""
    roles: dict[str, dict[str, int]] = {}
    for pod in pods:
        if reason := pod_reason(pod, events):
            counts = roles.setdefault(reason, {})
            role = pod["metadata"].get("labels", {}).get("ray.io/node-type", "")
            counts[role] = counts.get(role, 0) + 1
    return [f"{_subject(counts)}: {reason}" for reason, counts in roles.items()]


def pod_reason(pod: Object, events: Sequence[Object] = ()) -> str | None:
    """Why a pod does not run, None if it runs, has ended or starts normally.

    events: warnings of this and other pods.
    """
    state = pod.get("status", {})
    if pod["metadata"].get("deletionTimestamp") or state.get("phase") not in ("Pending", "Running"):
        return None
    for condition in state.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"not scheduled: {_first_sentence(condition.get('message', ''))}"
    for container in (
        *state.get("initContainerStatuses", []),
        *state.get("containerStatuses", []),
    ):
        if reason := _container_reason(container):
            return reason
    if state.get("phase") == "Running":
        return None
    name = pod["metadata"]["name"]
    about = [e for e in events if e.get("involvedObject", {}).get("name") == name]
    return next(reversed(_event_reasons(about)), None)


def _subject(counts: Mapping[str, int]) -> str:
    """For example `head pod and 2 worker pods`."""
    parts = []
    for role, count in sorted(counts.items()):
        pods = f"{role} pod".strip() + ("s" if count > 1 else "")
        parts.append(f"{count} {pods}" if count > 1 else pods)
    return " and ".join(parts)


def _container_reason(container: Object) -> str | None:
    waiting = container.get("state", {}).get("waiting") or {}
    reason = waiting.get("reason", "")
    if not reason or reason in STARTING:
        return None
    message = waiting.get("message", "")
    if reason in IMAGE:  # the reasons alternate, with the same cause
        cause = _shortened(message.rpartition("ErrImagePull: ")[2] or reason)
        return f"image {container['image']} cannot be pulled: {cause}"
    message = _shortened(message)
    ended = container.get("lastState", {}).get("terminated") or {}
    if ended:
        cause = f"{ended.get('reason', '')}, exit code {ended.get('exitCode')}".strip(", ")
        return f"container {container['name']} {reason}: it ended with {cause}"
    return f"container {container['name']} {reason}: {message}".rstrip(": ")


def _creation_reasons(job: Object) -> list[str]:
    """Why the operator cannot create pods: a quota, a limit range, a missing account or class."""
    cluster = job.get("status", {}).get("rayClusterStatus") or {}
    return [
        f"the operator cannot create a pod: {_shortened(_refusal(c.get('message', '')))}"
        for c in cluster.get("conditions", [])
        if c["type"] == "ReplicaFailure" and c["status"] == "True"
    ]


def _refusal(message: str) -> str:
    """The message without the operator's prefix and the pod's random name."""
    _, separator, cause = message.partition(" is forbidden: ")
    return cause if separator else " ".join(message.split("\n")[1:]) or message


def newest(workloads: Sequence[Object]) -> Object | None:
    """The Workload that Kueue created last for a RayJob."""
    return max(
        workloads, key=lambda w: str(w["metadata"].get("creationTimestamp", "")), default=None
    )


def _queue_reasons(job: Object, workloads: Sequence[Object], events: Sequence[Object]) -> list[str]:
    queue = job["metadata"].get("labels", {}).get("kueue.x-k8s.io/queue-name")
    if not queue:
        return ["suspended without a queue: it was suspended by hand"]
    workload = newest(workloads)
    if workload is None and not job.get("status", {}).get("jobDeploymentStatus"):
        return []  # Kueue has had no time
    if workload is None:
        return [
            f"queue {queue}: Kueue has not created a Workload; is its controller running, with "
            "the integration ray.io/rayjob?"
        ]
    lines = workload_reasons(workload)
    if not lines and _conditions(workload).get("Admitted", {}).get("status") != "True":
        # Kueue's write of a condition fails if something else changes the Workload at that moment,
        # and is repeated only when the queue changes. The event has the reason.
        lines = _refusals(events) or ["pending"]
    return [f"queue {queue}: {line}" for line in lines]


def workload_reasons(workload: Object) -> list[str]:
    """Why Kueue does not admit a Workload."""
    if workload.get("spec", {}).get("active") is False:
        return ["the Workload is deactivated (spec.active: false)"]
    conditions = _conditions(workload)
    lines = []
    evicted, reserved = conditions.get("Evicted", {}), conditions.get("QuotaReserved", {})
    if evicted.get("status") == "True":
        lines.append(f"evicted ({evicted.get('reason')}): {_shortened(evicted['message'])}")
    if reserved.get("status") == "False":
        message = _shortened(reserved.get("message", ""))
        lines.append(_refused(message))
    for check in workload.get("status", {}).get("admissionChecks", []):
        if check.get("state") != "Ready":
            text = f"admission check {check['name']} {check.get('state', 'Pending')}"
            lines.append(f"{text}: {_shortened(check.get('message', ''))}".rstrip(": "))
    return lines


def _refused(message: str) -> str:
    return f"can never be admitted: {message}" if NEVER in message else message


def _conditions(thing: Object) -> dict[str, Object]:
    """Type → condition."""
    return {c["type"]: c for c in thing.get("status", {}).get("conditions", [])}


def _refusals(events: Sequence[Object]) -> list[str]:
    """The last warning about a Workload."""
    warnings = _warnings([e for e in events if _kind(e) == "Workload"])
    return [_refused(_shortened(e["message"])) for e in warnings[-1:]]


def _kind(event: Object) -> str:
    return str(event.get("involvedObject", {}).get("kind"))


def _warnings(events: Sequence[Object]) -> list[Object]:
    """Warnings with a message, oldest first."""
    warnings = [e for e in events if e.get("type") == "Warning" and e.get("message")]
    return sorted(warnings, key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))


def _event_reasons(events: Sequence[Object]) -> list[str]:
    """Warnings, oldest first, each once."""
    lines = [f"{e.get('reason')}: {_shortened(_refusal(e['message']))}" for e in _warnings(events)]
    return list(dict.fromkeys(lines))[-3:]


def _first_sentence(message: str) -> str:
    """The scheduler's first sentence; the second is about preemption."""
    return _shortened(message.partition(". ")[0].rstrip("."))


def _shortened(message: str) -> str:
    text = " ".join(message.split())
    cut = text
    while len(cut) > LONGEST and ": " in cut:
        cut = cut.partition(": ")[2]
    return text if cut == text and len(text) <= LONGEST else "… " + cut[-LONGEST:]


def waiting_key(folder: str, work: str) -> str:
    """folder: `runs/<run>`. work: of `lease.work_of`."""
    return f"{folder}/waiting/{work}.json"


def record(store: Store, folder: str, waiting: Waiting) -> None:
    """Writes why a job waits."""
    store.put_json(waiting_key(folder, work_of(waiting.kind, waiting.group)), asdict(waiting))


def clear(store: Store, folder: str, work: str) -> None:
    """Deletes the record: the job runs or has ended."""
    store.delete(waiting_key(folder, work))


def recorded(store: Store, folder: str, now: float) -> list[Waiting]:
    """The jobs of a run that wait, as their steps recorded it. A record of a step that no longer
    holds its lease is left out. now: seconds since the epoch.
    """
    documents = [store.get_json(key) for key in sorted(store.list(f"{folder}/waiting/"))]
    waits = [
        Waiting(**{**fields_in(d, Waiting), "reasons": tuple(d["reasons"])}) for d in documents if d
    ]
    return [w for w in waits if status(store, folder, work_of(w.kind, w.group), now) == "held"]
