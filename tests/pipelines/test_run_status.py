"""Waiting for a run: its exit code, outages, interruption, and what is shown meanwhile."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines import outages
from pipelines.cli import main
from pipelines.run_status import status_of
from tests.pipelines.kfp_server import Server, error_body
from xstilts.errors import InfrastructureError, PlanError
from xstilts.runs import actions as steps
from xstilts.store.store import Store

pytestmark = pytest.mark.slow

RUN = "r"
#: A command line in a process of its own, whose parent may ignore SIGINT.
UNTIL_INTERRUPTED = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from pipelines.cli import main; sys.exit(main(sys.argv[1:]))"
)


@pytest.fixture
def run(store: Store, kfp_server: Server, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store of a run that KFP calls run-1; outages are retried without a pause."""
    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0.01)
    steps.create(store, RUN, "name: r\n", "hub")
    store.put_json(f"runs/{RUN}/kfp.json", {"host": kfp_server.address, "run_id": "run-1"})
    kfp_server.add_run("run-1", RUN)
    return store


def wait(store: Store) -> int:
    return main(["wait", RUN, "--store", store.uri, "--every", "0.01"])


def end_with(server: Server, store: Store, state: str, code: int | None) -> None:
    """The run ends in KFP, after its report unless `code` is None."""

    def finished(run: dict[str, Any]) -> None:
        if code is not None:
            missing = [{"what": "a"}] if code else []
            store.put_json(f"runs/{RUN}/status.json", {"exit_code": code, "missing": missing})

    server.finished, server.states = finished, ["RUNNING", "RUNNING", state]


@pytest.mark.parametrize(
    ("state", "code", "shown"),
    [
        ("SUCCEEDED", 0, "r: succeeded, exit code 0"),
        ("FAILED", 4, "r: failed: 1 cell missing from the report, exit code 4"),
    ],
)
def test_it_returns_the_runs_own_exit_code(
    run: Store, kfp_server: Server, state: str, code: int, shown: str,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    end_with(kfp_server, run, state, code)
    assert wait(run) == code
    assert capfd.readouterr().out.splitlines()[-1] == shown


def test_a_run_that_ends_without_a_word_is_an_infrastructure_error(
    run: Store, kfp_server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    end_with(kfp_server, run, "FAILED", None)
    assert wait(run) == InfrastructureError.exit_code
    assert "see `xstilts logs`" in capfd.readouterr().out


def test_a_failed_step_gives_its_exit_code_and_reason(
    run: Store, kfp_server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    run.put_json(f"runs/{RUN}/failures/plan.json", steps.failure("plan", PlanError("no such task")))
    end_with(kfp_server, run, "FAILED", None)
    assert wait(run) == 2
    captured = capfd.readouterr()
    assert captured.err == "xstilts: plan: no such task\n"
    assert captured.out.endswith("r: failed: plan: no such task, exit code 2\n")


def test_an_outage_of_kfp_is_one_line_and_changes_nothing(
    run: Store, kfp_server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    end_with(kfp_server, run, "SUCCEEDED", 0)
    away = [
        ("/runs/run-1", status, error_body(status, "away") if status else "")
        for status in (503, 0, 504, 500, 429)
    ]
    kfp_server.faults = away
    assert wait(run) == 0
    assert kfp_server.faults == []
    assert capfd.readouterr().err.count("retrying for 10 minutes") == 1


def test_an_outage_of_the_store_is_one_line_and_changes_nothing(
    run: Store, kfp_server: Server, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The connection is refused, as by a server that restarts."""
    import botocore.httpsession
    from botocore.exceptions import EndpointConnectionError

    end_with(kfp_server, run, "SUCCEEDED", 0)
    send, sent = botocore.httpsession.URLLib3Session.send, []

    def refuse(self: Any, request: Any) -> Any:
        sent.append(request)
        if 5 < len(sent) <= 20:
            raise EndpointConnectionError(endpoint_url=request.url)
        return send(self, request)

    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(botocore.httpsession.URLLib3Session, "send", refuse)
    assert wait(run) == 0
    assert len(sent) > 20
    assert capfd.readouterr().err.count("retrying for 10 minutes") == 1


def test_an_error_that_no_time_heals_ends_the_waiting(
    run: Store, kfp_server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    kfp_server.fault = ("/runs/", 403, error_body(403, "no role"))
    assert wait(run) == 3
    assert "ask for a role" in capfd.readouterr().err


def test_a_run_that_kfp_has_deleted_has_the_outcome_of_its_report(
    run: Store, kfp_server: Server
) -> None:
    run.put_json(f"runs/{RUN}/status.json", {"exit_code": 4, "missing": [{"what": "a"}]})
    del kfp_server.kept["runs"]["run-1"]
    assert wait(run) == 4


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_wait_says_that_the_run_continues_and_how_to_attach(
    run: Store, kfp_server: Server, signum: int
) -> None:
    """In a process of its own: a signal that interrupts a lock of `logging` leaves it locked."""
    kfp_server.states = ["RUNNING"]
    command = [sys.executable, "-c", UNTIL_INTERRUPTED, "wait", RUN, "--store", run.uri]
    process = subprocess.Popen(
        [*command, "--host", kfp_server.address, "--every", "0.1"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while len(kfp_server.requests) < 3:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signum)
        error = process.communicate(timeout=30)[1]
    finally:
        process.kill()
    assert process.returncode == 130
    assert "r continues on the cluster" in error
    assert f"\n  xstilts wait r --store {run.uri} --host {kfp_server.address}\n" in error
    assert "run the same command" not in error


def test_a_waiting_group_is_shown_with_its_reason(
    run: Store, kfp_server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    reason = "not admitted: request (2) > maximum capacity (1)"
    queue(run, reason)
    assert main(["status", RUN, "--store", run.uri, "--host", kfp_server.address]) == 0
    shown = capfd.readouterr().out
    assert f"r: queued: finetune tiny: {reason}\n" in shown
    assert f"  waiting: finetune tiny: {reason}\n" in shown
    assert main(["status", RUN, "--store", run.uri, "--json"]) == 0
    view = json.loads(capfd.readouterr().out)
    assert (view["state"], view["waiting"]) == (
        "queued", [{"work": "finetune-tiny", "reasons": [reason]}],
    )  # fmt: skip


def queue(store: Store, reason: str) -> None:
    """A planned run whose group waits; its step holds the lease."""
    from components.launch.lease import lease_key
    from components.launch.waiting import Waiting, record

    folder = f"runs/{RUN}"
    store.put_json(f"{folder}/expanded.json", expanded())
    lease = {"holder": "pod", "beat": 1, "renewed": time.time(), "seconds": 180}
    store.put_json(lease_key(folder, "finetune-tiny"), lease)
    record(
        store, folder,
        Waiting("finetune", "tiny", "xs-job", "kubeflow", "queued", time.time(), (reason,)),
    )  # fmt: skip


def expanded() -> dict[str, Any]:
    from pipelines.plan_file import expand_plan, read_plan

    plan = read_plan(Path(__file__).parents[1] / "e2e" / "small.yaml")
    return expand_plan(plan, "s3://xstilts/mirror").to_json()


def test_a_cancelled_run_lists_no_failures(run: Store, kfp_server: Server) -> None:
    """Its groups end because of it."""
    from pipelines.kfp.kfp_client import Kfp

    for number in range(6):
        error = InfrastructureError("the run was cancelled")
        run.put_json(f"runs/{RUN}/failures/finetune-{number}.json", steps.failure("cell", error))
    assert main(["cancel", RUN, "--store", run.uri, "--host", kfp_server.address]) == 0
    status = status_of(run, RUN, Kfp(kfp_server.address))
    assert (str(status.state), status.failures) == ("cancelled: its steps are stopping", [])
    status = status_of(run, RUN, Kfp(kfp_server.address))
    assert str(status.state) == "cancelled: finished steps are kept"
