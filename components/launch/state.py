"""What to do about a job, from what is seen of it. One pure state machine for every launcher.

What is seen are the two status fields of a RayJob, or the same said of a Ray job or of a local run. That the work is done
is never read off them: it is done when the store says so. No log stream is looked at.
"""

from dataclasses import dataclass, replace
from typing import Literal

#: The exit code of a driver that ended itself because its lease was gone.
LEASE_LOST = 86
#: How often a job that was lost, not failed, is started again.
MOST_LOSSES = 3
#: The operator itself waits 300 s for its two fields to agree.
AGREE_SECONDS = 600.0
#: How long after its deadline a job may be seen running before the operator is taken to be gone.
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

Action = Literal["create", "adopt", "wait", "replace", "done", "fail", "cancel"]


@dataclass(frozen=True)
class Observation:
    """A job as it is seen. deployment: jobDeploymentStatus, None when there is no such job; job: jobStatus."""

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
class Memory:
    """What was seen before. ours: made or taken over by this try. running_since, disagree_since: on this try's clock."""

    ours: bool = False
    losses: int = 0
    running_since: float | None = None
    disagree_since: float | None = None


@dataclass(frozen=True)
class Decision:
    action: Action
    why: str = ""


def remember(memory: Memory, seen: Observation, now: float) -> Memory:
    """The memory after an observation at `now` seconds of any one clock that never goes back."""
    running = seen.deployment == "Running" and not seen.deleting
    disagrees = running and seen.job in JOB_ENDED
    return replace(
        memory,
        running_since=(memory.running_since if memory.running_since is not None else now) if running else None,
        disagree_since=(memory.disagree_since if memory.disagree_since is not None else now) if disagrees else None,
    )


def after(memory: Memory, action: Action) -> Memory:
    """The memory after an action was taken: what is created or adopted is ours, what of ours is replaced was lost."""
    if action in ("create", "adopt"):
        return replace(memory, ours=True)
    if action == "replace" and memory.ours:
        return replace(memory, ours=False, losses=memory.losses + 1)
    return memory


def decide(
    seen: Observation, memory: Memory, now: float, settled: bool, cancelled: bool, deadline: float | None
) -> Decision:
    """What to do next.

    settled: every step is done or has its failure in the store (asked when `seen.worth_asking`). deadline: seconds that
    the job may run.
    """
    if cancelled:
        return Decision("cancel", "the run was cancelled")
    if seen.deployment is None:
        return _absent(memory, settled)
    if seen.deleting:
        return Decision("wait", "it is being deleted")
    if seen.ended:
        return _ended(seen, memory, settled)
    if not memory.ours:
        return Decision("adopt", f"it is there already ({seen})")
    if memory.disagree_since is not None and now - memory.disagree_since > AGREE_SECONDS:
        return _ended(replace(seen, deployment="Complete"), memory, settled)
    since = now if memory.running_since is None else memory.running_since
    if deadline is not None and now - since > deadline + OVERDUE_SECONDS:
        return Decision("fail", "it runs past its deadline and nothing ends it; a RayJob: does the operator run?")
    return Decision("wait", _waiting(seen))


def _absent(memory: Memory, settled: bool) -> Decision:
    if not memory.ours:
        return Decision("create")
    if settled:
        return Decision("done")
    return Decision("replace", "it vanished") if memory.losses < MOST_LOSSES else _lost_too_often("it vanished")


def _ended(seen: Observation, memory: Memory, settled: bool) -> Decision:
    if not memory.ours:
        return Decision("replace", f"an earlier try left it ({seen})")
    if settled or (seen.deployment == "Complete" and seen.job == "SUCCEEDED"):
        return Decision("done")  # what a job that says SUCCEEDED has left undone, the caller finds in the store
    lost = seen.reason in LOST or f"exit code {LEASE_LOST}" in seen.message
    if lost:
        return Decision("replace", str(seen)) if memory.losses < MOST_LOSSES else _lost_too_often(str(seen))
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
