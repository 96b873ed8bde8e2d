"""What to do about a job, from what is seen of it. One pure state machine for every launcher.

What is seen are the two status fields of a RayJob, or the same said of a Ray job or of a local run.
That the work is done is never read off them: it is done when the store says so. No log stream is
looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

#: The exit code of a driver that ended itself because its lease was gone.
LEASE_LOST = 86
#: How often a job that was lost, not failed, is started again.
MOST_LOSSES = 3
#: The operator itself waits 300 s for its two fields to agree.
AGREE_SECONDS = 600.0
#: How long after its deadline a job may be seen starting or running before the operator is taken to
#: be gone.
OVERDUE_SECONDS = 600.0

ENDED = ("Complete", "Failed", "ValidationFailed")
JOB_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
#: Why a job was lost through no fault of its own: a new cluster can go on from the checkpoints.
LOST = ("JobStatusCheckTimeoutExceeded", "SubmissionFailed")
WHAT_TO_DO = {
    "DeadlineExceeded": "it ran longer than resources.cluster.deadline_hours; finished steps are kept, so a new run "
    "goes on from there",
    "PreRunningDeadlineExceeded": "its pods did not start within resources.cluster.start_minutes: no node has room, or "
    "an image cannot be pulled",
    "AppFailed": "the job itself failed",
    "ValidationFailed": "the operator refuses the RayJob",
    "SubmissionFailed": "the operator could not hand the job to Ray's head",
    "JobStatusCheckTimeoutExceeded": "Ray's head could not be reached any more",
    "JobDeploymentStatusTransitionGracePeriodExceeded": "the operator's two status fields did not come to agree",
}

#: A deletion that takes longer is stuck on the operator's finalizer: there is no operator, or it
#: cannot reach the head.
STUCK_SECONDS = 900.0
#: jobDeploymentStatus → what the job's time counts as. A status of a later operator counts as
#: nothing.
PHASES: Mapping[str, "Phase"] = {
    "": "start", "Initializing": "start", "Waiting": "start", "Retrying": "start", "Running": "run",
    "Suspending": "queue", "Suspended": "queue",
}  # fmt: skip

Phase = Literal["queue", "start", "run", "delete"]
Action = Literal["create", "adopt", "wait", "replace", "done", "fail", "cancel"]


@dataclass(frozen=True)
class Observation:
    """A job as it is seen. deployment: jobDeploymentStatus, None when there is no such job; job:
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
        """Whether the store must be asked if the work is done."""
        return self.deployment is None or self.ended or self.job in JOB_ENDED

    def __str__(self) -> str:
        parts = (self.deployment or "new", self.job, self.reason, self.message.strip()[-2000:])
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Limits:
    """Seconds for which a job may wait in its queue each time, start, and run; None: nobody
    limits it. The operator itself ends a job that starts or runs too long, and counts from
    admission, as these do; nobody ends a wait in a queue. queue_of: the queue, and where to
    look, for people.
    """

    queue: float | None = None
    start: float | None = None
    run: float | None = None
    queue_of: str = ""


@dataclass(frozen=True)
class Memory:
    """What was seen before. ours: made or taken over by this try. phase: of the last look;
    since: when that phase began; disagree_since: both on this try's clock.
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
    """The memory after an observation at `now` seconds of any one clock that never goes back."""
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
    """The memory after an action was taken: what is created or adopted is ours, what of ours is
    replaced was lost.
    """
    if action in ("create", "adopt"):
        return replace(memory, ours=True)
    if action == "replace" and memory.ours:
        return replace(memory, ours=False, losses=memory.losses + 1)
    return memory


def decide(
    seen: Observation, memory: Memory, now: float, settled: bool, cancelled: bool, limits: Limits
) -> Decision:
    """What to do next. settled: every step is done or has its failure in the store (asked when
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
                "its deletion does not end: look at the KubeRay operator, whose finalizer it has",
            )
        return Decision("wait", "it is being deleted")
    if seen.ended:
        return _ended(seen, memory, settled)
    if not memory.ours:
        return Decision("adopt", f"it is there already ({seen})")
    if memory.disagree_since is not None and now - memory.disagree_since > AGREE_SECONDS:
        return _ended(replace(seen, deployment="Complete"), memory, settled)
    if late := _late(memory, now, limits):
        return Decision("fail", late)
    return Decision("wait", _waiting(seen))


def _late(memory: Memory, now: float, limits: Limits) -> str | None:
    """Why a job has been too long in its phase, or None."""
    spent = now - memory.since
    if memory.phase == "queue" and limits.queue is not None and spent > limits.queue:
        return (
            f"it was not admitted within {limits.queue / 3600:g} hours (resources.cluster.queue_hours); it waits in "
            f"{limits.queue_of}"
        )
    if (
        memory.phase == "start"
        and limits.start is not None
        and spent > limits.start + OVERDUE_SECONDS
    ):
        return (
            "it does not start and nothing ends it (resources.cluster.start_minutes): does the KubeRay operator run? "
            "`xstilts doctor --cluster` looks for it"
        )
    if memory.phase == "run" and limits.run is not None and spent > limits.run + OVERDUE_SECONDS:
        return "it runs past its deadline and nothing ends it; a RayJob: does the operator run?"
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
        return Decision("done")  # also when it ended between two tries of its step
    if not memory.ours:
        return Decision("replace", f"an earlier try left it ({seen})")
    if seen.deployment == "Complete" and seen.job == "SUCCEEDED":
        return Decision(
            "done"
        )  # what a job that says SUCCEEDED has left undone, the caller finds in the store
    lost = seen.reason in LOST or f"exit code {LEASE_LOST}" in seen.message
    if lost:
        return (
            Decision("replace", str(seen))
            if memory.losses < MOST_LOSSES
            else _lost_too_often(str(seen))
        )
    reason = seen.reason or seen.deployment or ""
    if seen.job == "STOPPED":
        return Decision("fail", f"it was stopped by hand, or by its cluster ({seen})")
    said = WHAT_TO_DO.get(reason)
    return Decision("fail", f"{said} ({seen})" if said else str(seen))


def _lost_too_often(why: str) -> Decision:
    return Decision("fail", f"it was lost {MOST_LOSSES + 1} times; the last time: {why}")


def _waiting(seen: Observation) -> str:
    if seen.deployment in ("Suspended", "Suspending"):
        return f"{seen.deployment}: waiting to be admitted by its queue"
    return f"{seen.deployment or 'new'}{f', job {seen.job}' if seen.job else ''}"
