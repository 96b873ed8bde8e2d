"""Decides what to do with a job from its observed status; one pure state machine for all launchers.

It observes the two status fields of a RayJob, or equivalents for a Ray job or a local run. Whether
the work is done is decided by the store only, never by a status or a log.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

#: Exit code of a driver that exits because its lease was lost.
LEASE_LOST = 86
#: How often a lost (not failed) job is restarted.
MOST_LOSSES = 3
#: How long the two status fields may disagree; the operator itself waits 300 s.
AGREE_SECONDS = 600.0
#: How long after its deadline a job may start or run before the operator is assumed to be down.
OVERDUE_SECONDS = 600.0

ENDED = ("Complete", "Failed", "ValidationFailed")
JOB_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
#: Reasons of a lost job: a new cluster can resume from its checkpoints.
LOST = ("JobStatusCheckTimeoutExceeded", "SubmissionFailed")
WHAT_TO_DO = {
    "DeadlineExceeded": "it ran longer than resources.cluster.deadline_hours; submit the plan "
    "again to resume after the finished steps",
    "PreRunningDeadlineExceeded": "its pods did not start within resources.cluster.start_minutes",
    "AppFailed": "the job itself failed",
    "ValidationFailed": "the operator rejected the RayJob",
    "SubmissionFailed": "the operator could not submit the job to Ray's head",
    "JobStatusCheckTimeoutExceeded": "Ray's head became unreachable",
    "JobDeploymentStatusTransitionGracePeriodExceeded": "the operator's two status fields "
    "disagreed for too long",
}

#: A deletion that takes longer waits for the operator's finalizer: the operator is down, or cannot
#: reach the head.
STUCK_SECONDS = 900.0
#: jobDeploymentStatus → the phase of the job. An unknown status has no phase.
PHASES: Mapping[str, "Phase"] = {
    "": "start", "Initializing": "start", "Waiting": "start", "Retrying": "start", "Running": "run",
    "Suspending": "queue", "Suspended": "queue",
}  # fmt: skip

Phase = Literal["queue", "start", "run", "delete"]
Action = Literal["create", "adopt", "wait", "replace", "done", "fail", "cancel"]


@dataclass(frozen=True)
class Observation:
    """The observed status of a job. deployment: jobDeploymentStatus, None for no job; job:
    jobStatus.
    """

    deployment: str | None = None
    job: str = ""
    reason: str = ""
    message: str = ""
    deleting: bool = False

    @property
    def ended(self) -> bool:
        return self.deployment in ENDED

    @property
    def worth_asking(self) -> bool:
        """Whether to ask the store if the work is done."""
        return self.deployment is None or self.ended or self.job in JOB_ENDED

    def __str__(self) -> str:
        parts = (self.deployment or "new", self.job, self.reason, self.message.strip()[-2000:])
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Limits:
    """Timeouts in seconds for each wait in the queue, the start and the run; None: no limit. The
    operator enforces those of start and run, counted from admission; nobody else enforces that of
    the queue. queue_of: the queue and a command to inspect it, for messages.
    """

    queue: float | None = None
    start: float | None = None
    run: float | None = None
    queue_of: str = ""


@dataclass(frozen=True)
class Memory:
    """State between polls. ours: created or adopted by this attempt. phase: at the last poll;
    since, disagree_since: start of the phase and of a disagreement, on this attempt's clock.
    """

    ours: bool = False
    losses: int = 0
    phase: Phase | None = None
    since: float = 0.0
    disagree_since: float | None = None


@dataclass(frozen=True)
class Decision:
    action: Action
    why: str = ""


def remember(memory: Memory, seen: Observation, now: float) -> Memory:
    """The memory after an observation at `now` seconds of a monotonic clock."""
    phase = (
        "delete"
        if seen.deleting
        else None
        if seen.deployment is None
        else PHASES.get(seen.deployment)
    )
    disagrees = phase == "run" and seen.job in JOB_ENDED
    return replace(
        memory,
        phase=phase,
        since=memory.since if phase == memory.phase else now,
        disagree_since=(memory.disagree_since if memory.disagree_since is not None else now)
        if disagrees
        else None,
    )


def after(memory: Memory, action: Action) -> Memory:
    """The memory after an action: a created or adopted job is ours, a replaced one was lost."""
    if action in ("create", "adopt"):
        return replace(memory, ours=True)
    if action == "replace" and memory.ours:
        return replace(memory, ours=False, losses=memory.losses + 1)
    return memory


def decide(
    seen: Observation, memory: Memory, now: float, settled: bool, cancelled: bool, limits: Limits
) -> Decision:
    """What to do next. settled: every step is done or recorded as failed (asked only if
    `seen.worth_asking`).
    """
    if cancelled:
        return Decision("cancel", "the run was cancelled")
    if seen.deployment is None:
        return _absent(memory, settled)
    if seen.deleting:
        if memory.phase == "delete" and now - memory.since > STUCK_SECONDS:
            return Decision(
                "fail",
                "stuck in deletion: check the KubeRay operator, which must remove its finalizer",
            )
        return Decision("wait", "it is being deleted")
    if seen.ended:
        return _ended(seen, memory, settled)
    if not memory.ours:
        return Decision("adopt", f"already exists ({seen})")
    if memory.disagree_since is not None and now - memory.disagree_since > AGREE_SECONDS:
        return _ended(replace(seen, deployment="Complete"), memory, settled)
    if late := _late(memory, now, limits):
        return Decision("fail", late)
    return Decision("wait", _waiting(seen))


def _late(memory: Memory, now: float, limits: Limits) -> str | None:
    """Why a job has exceeded the timeout of its phase, or None."""
    spent = now - memory.since
    if memory.phase == "queue" and limits.queue is not None and spent > limits.queue:
        return (
            f"not admitted within {limits.queue / 3600:g} hours "
            f"(resources.cluster.queue_hours); it waits in {limits.queue_of}"
        )
    if (
        memory.phase == "start"
        and limits.start is not None
        and spent > limits.start + OVERDUE_SECONDS
    ):
        return (
            "did not start within resources.cluster.start_minutes, and the operator did not end "
            "it: is the KubeRay operator running? Run `xstilts doctor --cluster`"
        )
    if memory.phase == "run" and limits.run is not None and spent > limits.run + OVERDUE_SECONDS:
        return "past its deadline, and not ended: is the KubeRay operator running?"
    return None


def _absent(memory: Memory, settled: bool) -> Decision:
    if settled:
        return Decision("done")
    if not memory.ours:
        return Decision("create")
    return (
        Decision("replace", "it vanished")
        if memory.losses < MOST_LOSSES
        else _lost_too_often("it vanished")
    )


def _ended(seen: Observation, memory: Memory, settled: bool) -> Decision:
    if settled:
        return Decision("done")  # also if it ended between two attempts of its step
    if not memory.ours:
        return Decision("replace", f"left by an earlier attempt ({seen})")
    if seen.deployment == "Complete" and seen.job == "SUCCEEDED":
        return Decision("done")  # the caller finds unfinished steps in the store
    lost = seen.reason in LOST or f"exit code {LEASE_LOST}" in seen.message
    if lost:
        return (
            Decision("replace", str(seen))
            if memory.losses < MOST_LOSSES
            else _lost_too_often(str(seen))
        )
    reason = seen.reason or seen.deployment or ""
    if seen.job == "STOPPED":
        return Decision("fail", f"stopped by hand or by its cluster ({seen})")
    meaning = WHAT_TO_DO.get(reason)
    return Decision("fail", f"{meaning} ({seen})" if meaning else str(seen))


def _lost_too_often(why: str) -> Decision:
    return Decision("fail", f"lost {MOST_LOSSES + 1} times; the last time: {why}")


def _waiting(seen: Observation) -> str:
    if seen.deployment in ("Suspended", "Suspending"):
        return f"{seen.deployment}: waiting for admission by its queue"
    return f"{seen.deployment or 'new'}{f', job {seen.job}' if seen.job else ''}"
