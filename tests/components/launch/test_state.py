"""The state machine as a table: observation and memory → action."""

import pytest

from components.launch.state import (
    AGREE_SECONDS,
    LEASE_LOST,
    MOST_LOSSES,
    OVERDUE_SECONDS,
    STUCK_SECONDS,
    WHAT_TO_DO,
    Limits,
    Memory,
    Observation,
    after,
    decide,
    remember,
)

HOUR = Limits(queue=7200, start=1800, run=3600, queue_of="queue q")
NEW, OURS = Memory(), Memory(ours=True)
WORN = Memory(ours=True, losses=MOST_LOSSES)
RUNNING = Observation("Running", "RUNNING")

TABLE = {
    # name: (seen, memory, settled, action, words of why)
    "nothing there": (Observation(), NEW, False, "create", ""),
    "running, of an earlier try": (RUNNING, NEW, False, "adopt", "already exists"),
    "pending, of an earlier try": (Observation(""), NEW, False, "adopt", ""),
    "ended, of an earlier try": (Observation("Failed", "FAILED"), NEW, False, "replace", "left by an earlier attempt"),
    "refused, of an earlier try": (Observation("ValidationFailed"), NEW, False, "replace", "earlier attempt"),
    "being deleted": (Observation("Running", deleting=True), NEW, False, "wait", "being deleted"),
    "new": (Observation(""), OURS, False, "wait", "new"),
    "pods start": (Observation("Initializing"), OURS, False, "wait", "Initializing"),
    "waits for its job to be handed over": (Observation("Waiting"), OURS, False, "wait", "Waiting"),
    "the operator tries it again": (Observation("Retrying"), OURS, False, "wait", "Retrying"),
    "in the queue": (Observation("Suspended"), OURS, False, "wait", "waiting for admission by its queue"),
    "preempted": (Observation("Suspending"), OURS, False, "wait", "waiting for admission"),
    "running": (RUNNING, OURS, False, "wait", "Running, job RUNNING"),
    "a status of a later operator": (Observation("Pausing"), OURS, False, "wait", "Pausing"),
    "its job ended, the operator has not said so": (Observation("Running", "FAILED"), OURS, False, "wait", ""),
    "done": (Observation("Complete", "SUCCEEDED"), OURS, True, "done", ""),
    "says it succeeded": (Observation("Complete", "SUCCEEDED"), OURS, False, "done", ""),
    "failed, but the work is there": (Observation("Failed", "FAILED", "AppFailed"), OURS, True, "done", ""),
    "vanished, but the work is there": (Observation(), OURS, True, "done", ""),
    "ended between two tries, the work is there": (Observation("Complete", "SUCCEEDED"), NEW, True, "done", ""),
    "gone between two tries, the work is there": (Observation(), NEW, True, "done", ""),
    "vanished": (Observation(), OURS, False, "replace", "vanished"),
    "vanished too often": (Observation(), WORN, False, "fail", f"lost {MOST_LOSSES + 1} times"),
    "stopped": (Observation("Complete", "STOPPED"), OURS, False, "fail", "stopped by hand"),
    "complete and failed": (Observation("Complete", "FAILED"), OURS, False, "fail", "FAILED"),
    "refused": (Observation("ValidationFailed", "", "ValidationFailed", "no"), OURS, False, "fail", "rejected the RayJob"),
    "head lost": (Observation("Failed", "RUNNING", "JobStatusCheckTimeoutExceeded"), OURS, False, "replace", ""),
    "not handed over": (Observation("Failed", "", "SubmissionFailed"), OURS, False, "replace", ""),
    "head lost too often": (Observation("Failed", "", "JobStatusCheckTimeoutExceeded"), WORN, False, "fail", "lost"),
    "its driver lost the lease": (
        Observation("Failed", "FAILED", "AppFailed", f"failed with exit code {LEASE_LOST}"), OURS, False, "replace", ""
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_the_action_for_an_observation(name: str) -> None:
    seen, memory, settled, action, words = TABLE[name]
    decision = decide(seen, memory, 0.0, settled, False, HOUR)
    assert (decision.action, words in decision.why) == (action, True), decision


@pytest.mark.parametrize("reason", ["AppFailed", "DeadlineExceeded", "PreRunningDeadlineExceeded"])
def test_a_failure_says_what_to_do_and_is_not_retried(reason: str) -> None:
    decision = decide(
        Observation("Failed", "FAILED", reason, "the end"), OURS, 0.0, False, False, HOUR
    )
    assert decision.action == "fail"
    assert WHAT_TO_DO[reason] in decision.why
    assert "the end" in decision.why


@pytest.mark.parametrize("seen", [Observation(), RUNNING, Observation("Complete", "SUCCEEDED")])
def test_a_cancelled_run_is_cancelled_whatever_is_seen(seen: Observation) -> None:
    assert decide(seen, OURS, 0.0, True, True, HOUR).action == "cancel"


def test_fields_that_never_agree_are_decided_by_the_store() -> None:
    memory = OURS
    for job, settled, expected in (
        ("SUCCEEDED", True, "done"), ("SUCCEEDED", False, "done"), ("FAILED", True, "done"), ("FAILED", False, "fail"),
    ):  # fmt: skip
        seen = Observation("Running", job)
        memory = remember(OURS, seen, 0.0)
        assert decide(seen, memory, AGREE_SECONDS, settled, False, Limits()).action == "wait"
        assert decide(seen, memory, AGREE_SECONDS + 1, settled, False, Limits()).action == expected


def test_a_job_past_its_deadline_times_out() -> None:
    memory = remember(OURS, RUNNING, 0.0)
    late = 3600 + OVERDUE_SECONDS
    assert decide(RUNNING, memory, late, False, False, HOUR).action == "wait"
    assert decide(RUNNING, memory, late + 1, False, False, HOUR).action == "fail"
    assert decide(RUNNING, memory, late + 1, False, False, Limits()).action == "wait"


def test_time_in_the_queue_does_not_count_towards_the_deadline() -> None:
    memory = remember(OURS, RUNNING, 0.0)
    memory = remember(memory, Observation("Suspended"), 5000.0)
    memory = remember(memory, RUNNING, 9000.0)
    assert decide(RUNNING, memory, 9100.0, False, False, HOUR).action == "wait"


SUSPENDED = Observation("Suspended")
#: Observations before the start; "" is a job that no operator has seen.
NOT_STARTED = [Observation(status) for status in ("", "Initializing", "Waiting", "Retrying")]


def test_a_wait_in_the_queue_times_out_and_names_the_queue() -> None:
    memory = remember(OURS, SUSPENDED, 100.0)
    assert decide(SUSPENDED, memory, 7300.0, False, False, HOUR).action == "wait"
    late = decide(SUSPENDED, memory, 7301.0, False, False, HOUR)
    assert late.action == "fail"
    assert (
        "not admitted within 2 hours (resources.cluster.queue_hours); it waits in queue q"
        in late.why
    )
    assert decide(SUSPENDED, memory, 1e9, False, False, Limits()).action == "wait"


def test_each_wait_in_the_queue_counts_alone() -> None:
    """A preempted job starts a new wait; Suspending and Suspended count as one wait."""
    memory = remember(OURS, SUSPENDED, 0.0)
    memory = remember(memory, RUNNING, 7000.0)
    memory = remember(memory, Observation("Suspending"), 8000.0)
    memory = remember(memory, SUSPENDED, 8060.0)
    assert decide(SUSPENDED, memory, 8000.0 + 7200, False, False, HOUR).action == "wait"
    assert decide(SUSPENDED, memory, 8001.0 + 7200, False, False, HOUR).action == "fail"


@pytest.mark.parametrize("seen", NOT_STARTED, ids=str)
def test_a_job_that_never_starts_times_out_without_the_operator(
    seen: Observation,
) -> None:
    memory, late = remember(OURS, seen, 0.0), 1800 + OVERDUE_SECONDS
    assert decide(seen, memory, late, False, False, HOUR).action == "wait"
    decision = decide(seen, memory, late + 1, False, False, HOUR)
    assert decision.action == "fail"
    assert "is the KubeRay operator running? Run `xstilts doctor --cluster`" in decision.why


def test_all_that_comes_before_a_job_runs_is_one_start() -> None:
    memory = OURS
    for at, seen in enumerate(NOT_STARTED):
        memory = remember(memory, seen, 500.0 * at)
    assert (
        decide(NOT_STARTED[-1], memory, 1800 + OVERDUE_SECONDS, False, False, HOUR).action == "wait"
    )
    assert (
        decide(NOT_STARTED[-1], memory, 1801 + OVERDUE_SECONDS, False, False, HOUR).action == "fail"
    )


@pytest.mark.parametrize("seen", NOT_STARTED, ids=str)
def test_an_unstarted_job_of_an_earlier_attempt_times_out_too(seen: Observation) -> None:
    memory, late = remember(NEW, seen, 0.0), 1801 + OVERDUE_SECONDS
    assert decide(seen, memory, 0.0, False, False, HOUR).action == "adopt"
    assert (
        decide(seen, remember(after(memory, "adopt"), seen, late), late, False, False, HOUR).action
        == "fail"
    )


@pytest.mark.parametrize("memory", [NEW, OURS])
def test_a_stuck_deletion_fails(memory: Memory) -> None:
    seen = Observation("Failed", deleting=True)
    memory = remember(memory, seen, 0.0)
    assert decide(seen, memory, STUCK_SECONDS, False, False, HOUR).action == "wait"
    decision = decide(seen, memory, STUCK_SECONDS + 1, False, False, HOUR)
    assert (decision.action, "finalizer" in decision.why) == ("fail", True)


def test_only_our_jobs_count_as_lost() -> None:
    assert after(NEW, "replace") == NEW
    assert after(OURS, "replace") == Memory(ours=False, losses=1)
    assert after(NEW, "create").ours
    assert after(NEW, "adopt").ours
