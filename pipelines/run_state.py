"""The state of a run on a cluster, from its folder in the store and from Kubeflow Pipelines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from xstilts.errors import counted, in_a_line

State = Literal["pending", "queued", "running", "succeeded", "failed", "cancelled"]

#: States of KFP in which a run has ended.
FINISHED = frozenset({"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"})
#: KFP ends a terminated run as FAILED; only its history says that it was terminated.
TERMINATED = frozenset({"CANCELING", "CANCELED"})
#: Not a state of KFP's own: it has no such run (any more).
DELETED = "DELETED"


@dataclass(frozen=True)
class Wait:
    """A job that cannot run yet. work: `<kind>-<group>`. started: it runs, and lacks some of its
    workers.
    """

    work: str
    title: str
    reasons: Sequence[str]
    started: bool = False

    def __str__(self) -> str:
        return f"{self.title}: {'; '.join(self.reasons)}"


@dataclass(frozen=True)
class Facts:
    """What is known of a run.

    Attributes:
        kfp: the states that KFP recorded, oldest first; empty if KFP was not asked.
        planned: whether the plan step has finished.
        exit_code: of the report, None before it is written.
        missing: the number of cells that the report lacks.
        cancelled: whether `xstilts cancel` marked the run.
        failures: recorded failures of tasks that the run cannot continue without.
        group_failures: recorded failures of groups and their steps.
        working: `<kind>-<group>` of every group that a task of KFP works on.
        waits: jobs of groups that cannot run yet.
    """

    kfp: Sequence[str] = ()
    planned: bool = False
    exit_code: int | None = None
    missing: int = 0
    cancelled: bool = False
    failures: Sequence[Mapping[str, Any]] = ()
    group_failures: Sequence[Mapping[str, Any]] = ()
    working: frozenset[str] = frozenset()
    waits: Sequence[Wait] = ()


@dataclass(frozen=True)
class RunState:
    """A run's state and its reason. exit_code: of the run, None before its outcome is known. ended:
    KFP has ended the run as well.
    """

    state: State
    reason: str = ""
    exit_code: int | None = None
    ended: bool = False

    def __str__(self) -> str:
        return f"{self.state}: {self.reason}" if self.reason else self.state


def state_of(facts: Facts) -> RunState:
    """The state of a run. The report's exit code decides over what KFP says, and a cancellation
    over the failures that it caused.
    """
    last = facts.kfp[-1] if facts.kfp else ""
    over = last in FINISHED or last == DELETED
    if facts.exit_code == 0:
        return RunState("succeeded", "", 0, ended=over or not facts.kfp)
    if facts.cancelled or TERMINATED & set(facts.kfp):
        reason = "finished steps are kept" if over or not facts.kfp else "its steps are stopping"
        return RunState("cancelled", reason, 3, ended=over or not facts.kfp)
    if facts.exit_code is not None:
        reason = f"{counted(facts.missing, 'cell')} missing from the report"
        return RunState("failed", reason, facts.exit_code, ended=over or not facts.kfp)
    if over:
        return _ended_without_report(facts, last)
    if fatal := [failure for failure in facts.failures if failure["exit_code"] == 2]:
        return RunState("failed", _reason(fatal[0]), 2)  # a retry of KFP would fail as well
    if not facts.planned and last in ("", "PENDING"):
        return RunState("pending", "" if facts.kfp else "the plan step has not finished")
    waits = {wait.work for wait in facts.waits if not wait.started}
    if waits and waits >= facts.working:
        return RunState("queued", "; ".join(map(str, facts.waits)))
    if facts.failures:
        return RunState("running", f"KFP retries {_reason(facts.failures[0])}")
    return RunState("running", "; ".join(map(str, facts.waits)))


def _ended_without_report(facts: Facts, last: str) -> RunState:
    failures = [*facts.failures, *facts.group_failures]
    if failures:
        code = max(int(failure["exit_code"]) for failure in failures)
        return RunState("failed", _reason(failures[0]), code, ended=True)
    if last == DELETED:
        reason = "KFP has no such run any more, and the store has no report of it"
    else:
        reason = (
            f"KFP ended it as {last} without a report or a recorded failure; see `xstilts logs`"
        )
    return RunState("failed", reason, 3, ended=True)


def _reason(failure: Mapping[str, Any]) -> str:
    return f"{failure['what']}: {in_a_line(failure['error'])}"
