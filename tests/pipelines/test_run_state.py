"""The state of a run: a table of what its folder and KFP say, and what that means."""

from typing import Any, get_args

import pytest

from pipelines.run_state import DELETED, FINISHED, Facts, RunState, State, Wait, state_of

RUNNING, FAILED = ("PENDING", "RUNNING"), ("PENDING", "RUNNING", "FAILED")
TERMINATED = ("RUNNING", "CANCELING", "FAILED")
QUEUE = Wait("finetune-a", "finetune a", ("request (2) > maximum capacity (1)",))
PARTLY = Wait("finetune-a", "finetune a", ("worker pod: evicted",), started=True)


def failure(what: str = "sources-00", code: int = 2) -> dict[str, Any]:
    return {"what": what, "error": "no such file\nin the mirror", "exit_code": code}


def both(*works: str) -> frozenset[str]:
    return frozenset(works)


TABLE: list[tuple[str, Facts, RunState]] = [
    ("submitted", Facts(("PENDING",)), RunState("pending")),
    ("no KFP, no plan", Facts(), RunState("pending", "the plan step has not finished")),
    ("plan step", Facts(RUNNING), RunState("running")),
    ("planned", Facts(RUNNING, True), RunState("running")),
    ("planned, no KFP", Facts(planned=True), RunState("running")),
    (
        "its only group is queued",
        Facts(RUNNING, True, working=both("finetune-a"), waits=[QUEUE]),
        RunState("queued", "finetune a: request (2) > maximum capacity (1)"),
    ),
    (
        "another group runs",
        Facts(RUNNING, True, working=both("finetune-a", "score-b"), waits=[QUEUE]),
        RunState("running", "finetune a: request (2) > maximum capacity (1)"),
    ),
    (
        "a group runs with fewer pods",
        Facts(RUNNING, True, working=both("finetune-a"), waits=[PARTLY]),
        RunState("running", "finetune a: worker pod: evicted"),
    ),
    ("report written", Facts(RUNNING, True, 0), RunState("succeeded", "", 0)),
    (
        "succeeded", Facts(("RUNNING", "SUCCEEDED"), True, 0),
        RunState("succeeded", "", 0, ended=True),
    ),
    ("succeeded, no KFP", Facts((), True, 0), RunState("succeeded", "", 0, ended=True)),
    ("verdict was lost", Facts(FAILED, True, 0), RunState("succeeded", "", 0, ended=True)),
    (
        "one cell is missing", Facts(FAILED, True, 4, 1),
        RunState("failed", "1 cell missing from the report", 4, ended=True),
    ),
    (
        "cells are missing, verdict runs", Facts(RUNNING, True, 4, 2),
        RunState("failed", "2 cells missing from the report", 4),
    ),
    (
        "a step failed for good, KFP still runs", Facts(RUNNING, True, failures=[failure()]),
        RunState("failed", "sources-00: no such file … in the mirror", 2),
    ),
    (
        "a step failed, KFP retries it", Facts(RUNNING, True, failures=[failure(code=3)]),
        RunState("running", "KFP retries sources-00: no such file … in the mirror"),
    ),
    (
        "a group's step failed, others go on",
        Facts(RUNNING, True, group_failures=[failure("llava, seed 1", 1)]),
        RunState("running"),
    ),
    (
        "KFP says failed, the folder why", Facts(FAILED, True, failures=[failure(code=3)]),
        RunState("failed", "sources-00: no such file … in the mirror", 3, ended=True),
    ),
    (
        "KFP says failed, the folder nothing", Facts(FAILED, True),
        RunState(
            "failed",
            "KFP ended it as FAILED without a report or a recorded failure; see `xstilts logs`",
            3, ended=True,
        ),
    ),
    (
        "KFP says succeeded, without a report", Facts(("SUCCEEDED",), True),
        RunState(
            "failed",
            "KFP ended it as SUCCEEDED without a report or a recorded failure; see `xstilts logs`",
            3, ended=True,
        ),
    ),
    (
        "cancelled, steps stop", Facts(("RUNNING", "CANCELING"), True, cancelled=True),
        RunState("cancelled", "its steps are stopping", 3),
    ),
    (
        "cancelled", Facts(TERMINATED, True, cancelled=True, group_failures=[failure()]),
        RunState("cancelled", "finished steps are kept", 3, ended=True),
    ),
    (
        "cancelled, no KFP", Facts((), True, cancelled=True),
        RunState("cancelled", "finished steps are kept", 3, ended=True),
    ),
    (
        "cancelled while the report was written", Facts(TERMINATED, True, 4, 6, cancelled=True),
        RunState("cancelled", "finished steps are kept", 3, ended=True),
    ),
    (
        "cancelled after its end", Facts(("SUCCEEDED",), True, 0, cancelled=True),
        RunState("succeeded", "", 0, ended=True),
    ),
    (
        "terminated on KFP's page", Facts(TERMINATED, True),
        RunState("cancelled", "finished steps are kept", 3, ended=True),
    ),
    ("deleted in KFP, reported", Facts((DELETED,), True, 0), RunState("succeeded", "", 0, True)),
    (
        "deleted in KFP", Facts((DELETED,), True),
        RunState(
            "failed", "KFP has no such run any more, and the store has no report of it", 3, True
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "state"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE])
def test_the_state_follows_from_the_facts(facts: Facts, state: RunState) -> None:
    assert state_of(facts) == state


def test_the_table_has_every_state() -> None:
    assert {row[2].state for row in TABLE} == set(get_args(State))


@pytest.mark.parametrize("last", sorted(FINISHED))
@pytest.mark.parametrize("exit_code", [None, 0, 3, 4])
@pytest.mark.parametrize("cancelled", [False, True])
def test_a_run_that_kfp_ended_has_ended_with_an_exit_code(
    last: str, exit_code: int | None, cancelled: bool
) -> None:
    state = state_of(Facts(("RUNNING", last), True, exit_code, cancelled=cancelled))
    assert state.ended
    assert state.state in ("succeeded", "failed", "cancelled")
    assert (state.exit_code == 0) == (state.state == "succeeded")
