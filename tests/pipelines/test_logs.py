"""`xstilts logs`: pods, Ray jobs and failures, and when following ends."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.launch.lease import lease_key
from components.launch.log import StoredLog
from components.launch.waiting import Waiting, record
from pipelines.cli import main
from pipelines.log_follow import Lines, LogFollower, Selection, Stamps
from pipelines.outages import Outages
from tests.pipelines.kubernetes import OURS, Cluster, pod, served
from xstilts.errors import PlanError, StoreError
from xstilts.runs import actions as steps
from xstilts.store.store import Store

RUN, PLAN = "r", "name: r\n"


def at(second: str, text: str) -> str:
    return f"2026-11-25T10:00:{second}Z {text}"


def job(text: str, before: int = 0, started: str = "20261125T100000Z") -> StoredLog:
    return StoredLog("finetune", "llava", started, before, text)


def put(store: Store, log: StoredLog) -> None:
    """Like the driver on Ray's head, or the pod of a task."""
    name = f"{'step-' if log.pod else ''}{log.kind}-{log.group}/{log.started}"
    store.put_json(f"runs/{RUN}/logs/{name}.json", vars(log))


class Screen(list[str]):
    """Collects printed texts; `new` returns the lines since the last call."""

    def new(self) -> list[str]:
        lines = [line for text in self for line in text.split("\n")]
        self.clear()
        return lines


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    state = Cluster([pod("plan-1", "Running", "01", OURS)], {"plan-1": []})
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config")
    )
    with served(state, tmp_path / "config"):
        yield state


@pytest.fixture
def run(store: Store) -> Store:
    """The store of a run that KFP calls run-1."""
    steps.create(store, RUN, PLAN, "hub")
    store.put_json(f"runs/{RUN}/kfp.json", {"host": "http://127.0.0.1:9", "run_id": "run-1"})
    return store


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def warnings() -> Screen:
    return Screen()


@pytest.fixture
def follow(run: Store, cluster: Cluster, screen: Screen, warnings: Screen) -> LogFollower:
    return LogFollower(
        run, RUN, "run-1", "kubeflow", Selection(tail=3), screen.append, warnings.append,
        clock=lambda: 100.0,
    )  # fmt: skip


# ---- what is new in a log ----


def test_a_line_is_shown_once() -> None:
    seen = Stamps()
    assert seen.new("\n".join([at("01", "a"), at("02", "b")])) == ["a", "b"]
    assert seen.new("\n".join([at("01", "a"), at("02", "b"), at("03", "c")])) == ["c"]


def test_times_are_in_order_though_their_last_zeros_are_left_out() -> None:
    seen = Stamps()
    assert seen.new(at("01.19", "a")) == ["a"]
    assert seen.new(
        "\n".join([at("01.1", "before"), at("01.19", "a"), at("01.199", "b"), at("01.2", "c")])
    ) == [
        "b",
        "c",
    ]


def test_lines_with_equal_time_stamps_are_all_shown() -> None:
    seen = Stamps()
    assert seen.new(at("01", "a")) == ["a"]
    assert seen.new("\n".join([at("01", "a"), at("01", "b")])) == ["b"]


def test_a_job_s_log_is_followed_by_the_number_of_its_lines() -> None:
    lines = Lines(tail=2)
    assert lines.new(job("1\n2\n3\nhal"), whole=False) == ["2", "3"]
    assert lines.new(job("2\n3\nhalf\n5\n", before=1), whole=False) == ["half", "5"]
    assert lines.new(job("5\nthe end", before=4), whole=False) == []
    assert lines.new(job("5\nthe end", before=4), whole=True) == ["the end"]
    assert lines.new(job("5\nthe end", before=4), whole=True) == []


def test_lines_that_were_lost_in_between_are_counted() -> None:
    lines = Lines(tail=9)
    assert lines.new(job("1\n2\n"), whole=False) == ["1", "2"]
    assert lines.new(job("7\n", before=6), whole=False) == ["(4 lines not kept)", "7"]


# ---- following ----


def test_each_poll_shows_new_lines_and_names_a_new_source(
    follow: LogFollower, run: Store, cluster: Cluster, screen: Screen
) -> None:
    cluster.logs["plan-1"] = [at(f"0{n}", f"line {n}") for n in range(1, 6)]
    put(run, job("epoch 1\n"))
    follow.poll()
    first, ray = "==> plan (running)", "==> finetune llava on Ray, started 20261125T100000Z"
    assert screen.new() == [first, "line 3", "line 4", "line 5", ray, "epoch 1"]
    follow.poll()
    assert screen.new() == []
    put(run, job("epoch 1\nepoch 2\n"))
    follow.poll()
    assert screen.new() == ["epoch 2"]
    cluster.logs["plan-1"].append(at("06", "line 6"))
    follow.poll()
    assert screen.new() == [first, "line 6"]


def test_a_poll_requests_only_new_lines(follow: LogFollower, cluster: Cluster) -> None:
    follow.poll()
    follow.poll()
    logs = [query for path, query in cluster.asked if path.endswith("/log")]
    assert "tailLines" in logs[0]
    assert logs[1]["sinceSeconds"] == ["10"]
    assert all(query["timestamps"] == ["True"] for query in logs)


def test_a_pod_that_is_over_is_read_once_more_and_not_again(
    follow: LogFollower, cluster: Cluster, screen: Screen
) -> None:
    follow.poll()
    cluster.pods = [pod("plan-1", "Succeeded", "01", OURS)]
    cluster.logs["plan-1"] = [at("09", "done")]
    follow.poll()
    assert screen.new() == ["==> plan (succeeded)", "done"]
    asked = len(cluster.asked)
    follow.poll()
    assert len(cluster.asked) == asked + 1  # the list of pods


def test_an_outage_is_one_line_and_loses_no_log(
    follow: LogFollower, cluster: Cluster, screen: Screen, warnings: Screen
) -> None:
    cluster.logs["plan-1"] = [at("01", "a")]
    follow.poll()
    cluster.fault = ("/pods", 503)
    cluster.logs["plan-1"].append(at("02", "b"))
    follow.poll()
    follow.poll()
    [warning] = warnings.new()
    assert "503" in warning
    assert warning.endswith("retrying")
    cluster.fault = None
    follow.poll()
    assert screen.new() == ["==> plan (running)", "a", "b"]


def test_a_pod_without_a_log_hides_no_other(
    follow: LogFollower, cluster: Cluster, screen: Screen, warnings: Screen
) -> None:
    cluster.pods.append(pod("stage-2", "Running", "02", OURS))
    cluster.logs["stage-2"] = [at("01", "a")]
    cluster.fault = ("/plan-1/log", 404)
    follow.poll()
    assert screen.new() == ["==> stage sources-2 (running)", "a"]
    assert "the log of plan-1" in warnings.new()[0]


def test_the_reason_of_a_pending_pod_is_shown_once(
    follow: LogFollower, cluster: Cluster, screen: Screen
) -> None:
    conditions = [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}]
    cluster.pods = [pod("stage-2", "Pending", "02", OURS, conditions=conditions)]
    follow.poll()
    follow.poll()
    assert screen.new() == ["==> stage sources-2 (pending)", "0/3 nodes are available"]


def test_a_failure_is_shown_when_it_is_recorded(
    follow: LogFollower, run: Store, screen: Screen
) -> None:
    run.put_json(
        f"runs/{RUN}/failures/plan.json",
        {"what": "plan", "error": "no such task", "exit_code": 1, "log": "Traceback\n"},
    )
    follow.poll()
    follow.poll()
    assert screen.new() == ["==> failed: plan: no such task", "Traceback"]


def test_the_runs_state_and_not_its_logs_decides_the_end(
    follow: LogFollower, cluster: Cluster, screen: Screen
) -> None:
    """A finished pod does not end it; the last poll comes after the end is known."""
    cluster.pods = [pod("plan-1", "Failed", "01", OURS)]
    asked = iter([None, None, None, "finished, exit code 0"])

    def end() -> str | None:
        ended = next(asked)
        if ended:
            cluster.pods.append(pod("report-2", "Succeeded", "02", OURS))
            cluster.logs["report-2"] = [at("09", "the last line")]
        return ended

    assert follow.until(end, 0.0) == "finished, exit code 0"
    assert "the last line" in screen.new()


def test_an_unreachable_store_is_retried(follow: LogFollower, warnings: Screen) -> None:
    away = StoreError("away", temporary=True)
    answers: Iterator[Any] = iter([away, away, "cancelled"])

    def end() -> str | None:
        answer = next(answers)
        if isinstance(answer, StoreError):
            raise answer
        return str(answer)

    assert follow.until(end, 0.0, Outages(warnings.append, pause=0.0)) == "cancelled"
    assert warnings.new() == ["away; retrying for 10 minutes"]


def test_a_waiting_group_is_shown_when_its_reason_changes(
    follow: LogFollower, run: Store, screen: Screen
) -> None:
    for reason in ("not admitted", "not admitted", "worker pod: not scheduled"):
        waits(run, reason)
        follow.poll()
    shown = [line for line in screen.new() if line]
    assert shown == ["==> finetune llava (waiting)", "not admitted", "worker pod: not scheduled"]


def waits(store: Store, reason: str) -> None:
    """Like the step that waits for its job."""
    now = time.time()
    lease = {"holder": "pod", "beat": 1, "renewed": now, "seconds": 180}
    store.put_json(lease_key(f"runs/{RUN}", "finetune-llava"), lease)
    waiting = Waiting("finetune", "llava", "xs-job", "kubeflow", "queued", now, (reason,))
    record(store, f"runs/{RUN}", waiting)


# ---- the command ----


def command(store: Store, *more: str) -> int:
    return main(["logs", RUN, "--store", store.uri, *more])


def test_the_log_of_a_deleted_ray_job_comes_from_the_store(
    run: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It needs no Kubernetes."""
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none")
    )
    put(run, job("epoch 1\nlost its head\n"))
    put(run, job("epoch 1\nepoch 2", started="20261125T110000Z"))
    assert command(run, "--tail", "1") == 0
    shown = capfd.readouterr().out.split("==> ")
    assert shown[1:] == [
        "finetune llava on Ray, started 20261125T100000Z\nlost its head\n\n",
        "finetune llava on Ray, started 20261125T110000Z\nepoch 2\n\n",
    ]


def stored(kind: str, item: str, started: str, text: str = "", **more: Any) -> StoredLog:
    """The log of a task, as its pod stores it."""
    pod = more.pop("pod", f"{kind}-{item}")
    return StoredLog(kind, item, f"20261125T{started}Z", 0, text or f"log of {kind}\n", pod, **more)


def titles(capfd: pytest.CaptureFixture[str]) -> list[str]:
    lines = capfd.readouterr().out.splitlines()
    return [line.removeprefix("==> ") for line in lines if line.startswith("==> ")]


@pytest.fixture
def finished(run: Store, cluster: Cluster) -> Store:
    """A run whose pods KFP has deleted, with logs in its folder."""
    cluster.pods = []
    run.put_json(
        f"runs/{RUN}/work.json", {"sources": ["sources-00", "sources-01"], "groups": ["llava"]}
    )
    for log in (
        stored("finetune", "llava", "101500"), stored("plan", "", "100000"),
        stored("finetune", "llava", "103000", attempt=2), stored("stage", "sources-00", "100500"),
        job("epoch 1\n", started="20261125T102000Z"), stored("report", "", "110000"),
    ):  # fmt: skip
        put(run, log)
    return run


def test_the_logs_of_deleted_pods_come_from_the_store_in_the_order_of_time(
    finished: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(finished) == 0
    captured = capfd.readouterr()
    shown = [line for line in captured.out.splitlines() if line.startswith("==> ")]
    assert shown == [
        "==> plan, started 20261125T100000Z",
        "==> stage sources-00, started 20261125T100500Z",
        "==> finetune llava, started 20261125T101500Z",
        "==> finetune llava on Ray, started 20261125T102000Z",
        "==> finetune llava, attempt 2, started 20261125T103000Z",
        "==> report, started 20261125T110000Z",
    ]
    assert "the run's pods are deleted" in captured.err
    assert "no log is left of stage sources-01, score llava" in captured.err


@pytest.mark.parametrize(
    ("step", "number"),
    [("finetune", 3), ("stage", 1), ("sources-00", 1), ("finetune llava", 3), ("none", 0)],
)
def test_a_step_is_selected(
    finished: Store, step: str, number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(finished, "--step", step) == 0
    assert len(titles(capfd)) == number


def test_stored_logs_are_selected_by_when_they_were_written(
    finished: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(finished, "--since", "1h") == 0
    assert len(titles(capfd)) == 6
    now = time.time()
    monkeypatch.setattr("pipelines.run_logs.time.time", lambda: now + 7200)
    assert command(finished, "--since", "1h") == 0
    assert titles(capfd) == []


def test_a_pods_log_is_shown_once_although_the_store_has_it_too(
    run: Store, cluster: Cluster, capfd: pytest.CaptureFixture[str]
) -> None:
    put(run, stored("plan", "", "100000", pod="plan-1"))
    cluster.logs["plan-1"] = ["planned"]
    assert command(run, "--since", "10m") == 0
    assert capfd.readouterr().out == "==> plan (running)\nplanned\n\n"
    assert cluster.asked[-1][1]["sinceSeconds"] == ["600"]


def test_an_invalid_duration_is_refused(run: Store, capfd: pytest.CaptureFixture[str]) -> None:
    assert command(run, "--since", "yesterday") == 2
    assert "write for example 90s, 10m, 2h or 1d" in capfd.readouterr().err


def test_following_ends_with_the_run(
    run: Store, cluster: Cluster, kfp_server: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    run.put_json(f"runs/{RUN}/status.json", {"exit_code": 4, "missing": []})
    cluster.logs["plan-1"] = [at("01", "planned")]
    assert command(run, "--follow", "--host", kfp_server.address) == 4
    shown = capfd.readouterr().out
    end = "r: failed: 0 cells missing from the report, exit code 4\n"
    assert shown == f"==> plan (running)\nplanned\n{end}"
    assert kfp_server.requests == []


def test_a_run_that_fails_before_its_report_ends_by_its_kfp_state(
    run: Store, cluster: Cluster, kfp_server: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    kfp_server.states = ["RUNNING", "FAILED"]
    kfp_server.add_run("run-1", RUN)
    run.put_json(f"runs/{RUN}/failures/plan.json", steps.failure("plan", PlanError("no such task")))
    assert command(run, "--follow", "--every", "0.01", "--host", kfp_server.address) == 2
    shown = capfd.readouterr().out
    assert "==> failed: plan: no such task" in shown
    assert shown.endswith("r: failed: plan: no such task, exit code 2\n")
