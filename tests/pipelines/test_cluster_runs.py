"""Runs on a cluster: checks before the submission, submission, status, cancel and report."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from components import images
from pipelines import cluster_runs
from pipelines.cli import main
from pipelines.kfp.kfp_client import PIPELINE, Kfp
from xstilts.errors import PlanError
from xstilts.runs import actions as steps
from xstilts.runs.folder import planned_ids
from xstilts.store.store import Store

PLAN = Path(__file__).parents[1] / "e2e" / "small.yaml"
MIRROR = "s3://xstilts/mirror"
SECRET = "planted-secret-0f1e2d3c4b5a"  # of conftest.py
TOKEN = "planted-token-5a4b3c2d1e0f"


def submit(server: Any, store: Store, *more: str, plan: Path = PLAN) -> int:
    server_arguments = ["--host", server.address, "--store", store.uri, "--mirror", MIRROR]
    return main(["submit", str(plan), *server_arguments, "--allow-unlocked", *more])


def of_run(command: str, server: Any, store: Store, run: str, *more: str) -> int:
    return main(
        [command, run, "--store", store.uri, *(["--host", server.address] if server else []), *more]
    )


@pytest.fixture
def submitted(kfp_server: Any, store: Store, capfd: pytest.CaptureFixture[str]) -> str:
    """The name of a submitted run."""
    assert submit(kfp_server, store) == 0
    name, _, rest = capfd.readouterr().out.partition(": ")
    assert rest.startswith("submitted\n")
    return name


def test_submit_writes_the_runs_folder_and_starts_the_run(
    kfp_server: Any, store: Store, submitted: str
) -> None:
    (made,) = kfp_server.kept["runs"].values()
    assert made["display_name"] == submitted
    assert made["runtime_config"] == {"parameters": {"run": f"{store.uri}/runs/{submitted}"}}
    assert made["service_account"] == "xstilts-step"
    assert store.get_bytes_at(f"runs/{submitted}/plan.yaml") == PLAN.read_bytes()
    run = store.get_json(f"runs/{submitted}/run.json") or {}
    assert run["mirror"] == MIRROR
    assert run["images"]["finetune (workers)"] == images.reference("finetune", "worker")
    assert run["images"]["plan"] == images.reference("plan")
    assert (store.get_json(f"runs/{submitted}/kfp.json") or {})["run_id"] == made["run_id"]


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_runs, "SEARCH_DELAYS", (0.0, 0.0))


@pytest.mark.parametrize("lost_as", [504, 0], ids=["gateway", "cut"])
def test_a_run_whose_acceptance_got_lost_is_found_by_its_name(
    kfp_server: Any, store: Store, capfd: pytest.CaptureFixture[str], lost_as: int
) -> None:
    """A gateway that times out after the server took the run: its folder must not go, or the run
    would find nothing.
    """
    kfp_server.lost, kfp_server.lost_as = "POST /apis/v2beta1/runs", lost_as
    assert submit(kfp_server, store) == 0
    ((name, made),) = kfp_server.named("runs").items()
    assert (store.get_json(f"runs/{name}/kfp.json") or {})["run_id"] == made["run_id"]
    assert store.get_bytes_at(f"runs/{name}/plan.yaml") == PLAN.read_bytes()


def test_a_run_that_kfp_takes_after_the_gateway_gave_up_is_found(
    kfp_server: Any,
    store: Store,
    no_pause: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    searches: list[str] = []

    def find(self: Kfp, name: str) -> str | None:
        searches.append(name)
        return found(self, name) if len(searches) > 1 else None

    found = Kfp.find_run
    monkeypatch.setattr(Kfp, "find_run", find)
    kfp_server.lost = "POST /apis/v2beta1/runs"
    assert submit(kfp_server, store) == 0
    ((name, made),) = kfp_server.named("runs").items()
    assert searches == [name, name]
    assert (store.get_json(f"runs/{name}/kfp.json") or {})["run_id"] == made["run_id"]


def test_a_run_that_the_server_failed_to_take_leaves_no_folder(
    kfp_server: Any, store: Store, no_pause: None, capfd: pytest.CaptureFixture[str]
) -> None:
    before = set(store.list("runs/"))
    kfp_server.fault = ("POST /apis/v2beta1/runs", 503, "{}")
    assert submit(kfp_server, store) == 3
    assert set(store.list("runs/")) == before
    assert (
        sum(
            (asked.method, asked.path) == ("GET", "/apis/v2beta1/runs")
            for asked in kfp_server.requests
        )
        == 2
    )


def test_a_run_of_unknown_state_keeps_its_folder(
    kfp_server: Any, store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    before = set(store.list("runs/"))
    kfp_server.fault = ("/apis/v2beta1/runs", 504, "gateway time-out")
    assert submit(kfp_server, store) == 3
    assert set(store.list("runs/")) > before
    assert "run's folder is kept" in " ".join(capfd.readouterr().err.split())


def test_a_second_submit_uploads_nothing_and_is_another_run(
    kfp_server: Any, store: Store, submitted: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = len(kfp_server.writes())
    assert submit(kfp_server, store) == 0
    assert [write.rpartition("/")[2] for write in kfp_server.writes()[before:]] == ["runs"]
    assert len(kfp_server.named("runs")) == 2
    assert list(kfp_server.named("pipelines")) == [PIPELINE]
    assert len(kfp_server.named("versions")) == 1


def test_a_run_of_the_package_sees_the_folder_that_submit_wrote(
    store: Store, kfp_server: Any, submitted: str
) -> None:
    steps.plan(f"{store.uri}/runs/{submitted}")
    assert planned_ids(f"{store.uri}/runs/{submitted}")["groups"] == ["tiny-llava"]


def test_images_that_are_not_pinned_are_refused_before_anything_is_written(
    kfp_server: Any, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "submit",
        str(PLAN),
        "--host",
        kfp_server.address,
        "--store",
        store.uri,
        "--mirror",
        MIRROR,
    ]
    assert main(arguments) == 2
    assert "--allow-unlocked" in capsys.readouterr().err
    assert kfp_server.requests == []
    assert store.list("runs/") == []


@pytest.mark.parametrize("uri", ["s3://xstilts-absent/store", "xstilts/store"])
def test_a_wrong_store_is_refused_before_the_mirror_is_read(
    uri: str, kfp_server: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: Any, **__: Any) -> Any:
        raise AssertionError("the mirror is read")

    monkeypatch.setattr(cluster_runs, "expand_plan", read)
    code = main(["submit", str(PLAN), "--host", kfp_server.address, "--store", uri])
    assert code in (2, 3)
    assert uri.rpartition("//")[2].split("/")[0] in capsys.readouterr().err


def test_all_mistakes_of_a_plan_are_reported_before_anything_is_written(
    kfp_server: Any, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.yaml"
    text = PLAN.read_text().replace("coco_captions, objective", "coco_caption, objective")
    plan.write_text(text.replace("tatoeba]", "tatoebaa]"))
    assert submit(kfp_server, store, plan=plan) == 2
    error = capsys.readouterr().err
    assert "coco_caption" in error
    assert "tatoebaa" in error
    assert kfp_server.requests == []
    assert store.list("runs/") == []


@pytest.mark.parametrize("mirror", ["miniature", "/data/mirror"])
def test_a_mirror_of_this_machine_is_refused(mirror: str) -> None:
    with pytest.raises(PlanError, match="a cluster cannot read it"):
        cluster_runs.check_plan(PLAN, mirror)


def test_a_backbone_of_this_machine_is_refused(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    start, _, rest = PLAN.read_text().partition("    build:")
    plan.write_text(f"{start}    path: {tmp_path}\n    family: llava\n{rest.partition(chr(10))[2]}")
    with pytest.raises(PlanError, match=r"tiny-llava\.path"):
        cluster_runs.check_plan(plan, MIRROR)


def test_a_run_that_kfp_rejects_leaves_nothing_in_the_store(
    kfp_server: Any, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp_server.fault = ("POST /apis/v2beta1/runs", 403, '{"message": "user may not create runs"}')
    assert submit(kfp_server, store) == 3
    assert "user may not create runs" in capsys.readouterr().err
    assert store.list("runs/") == []


@pytest.mark.parametrize(("written", "state", "code"), [(0, "SUCCEEDED", 0), (4, "FAILED", 4)])
def test_waiting_returns_the_exit_code_in_the_runs_folder(
    kfp_server: Any,
    store: Store,
    capfd: pytest.CaptureFixture[str],
    written: int,
    state: str,
    code: int,
) -> None:
    def finished(run: dict[str, Any]) -> None:
        store.put_json(
            f"runs/{run['display_name']}/status.json", {"exit_code": written, "missing": []}
        )

    kfp_server.states, kfp_server.finished = ["PENDING", "RUNNING", state], finished
    assert submit(kfp_server, store, "--wait", "--every", "0.01") == code
    assert f"exit code {code}" in capfd.readouterr().out


def test_waiting_for_a_run_that_ends_without_a_word_is_an_infrastructure_error(
    kfp_server: Any, store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    kfp_server.states = ["FAILED"]
    assert submit(kfp_server, store, "--wait", "--every", "0.01") == 3
    assert "xstilts logs" in capfd.readouterr().out


def test_the_plan_steps_failure_decides_the_exit_code(kfp_server: Any, store: Store) -> None:
    def finished(run: dict[str, Any]) -> None:
        key = f"runs/{run['display_name']}/failures/plan.json"
        store.put_json(key, steps.failure("plan", PlanError("no such thing")))

    kfp_server.states, kfp_server.finished = ["FAILED"], finished
    assert submit(kfp_server, store, "--wait", "--every", "0.01") == 2


def test_status_shows_steps_and_the_kfp_state(
    kfp_server: Any, store: Store, submitted: str, capfd: pytest.CaptureFixture[str]
) -> None:
    kfp_server.states = ["RUNNING"]
    assert of_run("status", kfp_server, store, submitted) == 0
    assert f"{submitted}: running\n" in capfd.readouterr().out
    steps.plan(f"{store.uri}/runs/{submitted}")
    assert of_run("status", kfp_server, store, submitted, "--json") == 0
    view = json.loads(capfd.readouterr().out)
    assert view["steps"]["finetune"]["done"] == 0
    assert view["steps"]["finetune"]["of"] > 0
    assert view["kfp"]["state"] == "RUNNING"


def test_status_needs_no_server(
    store: Store, kfp_server: Any, submitted: str, capfd: pytest.CaptureFixture[str]
) -> None:
    store.put_json(
        f"runs/{submitted}/status.json", {"exit_code": 4, "missing": [{"what": "a"}, {"what": "b"}]}
    )
    asked = len(kfp_server.requests)
    assert of_run("status", None, store, submitted) == 0
    assert "failed: 2 cells missing from the report, exit code 4" in capfd.readouterr().out
    assert len(kfp_server.requests) == asked


def test_an_unknown_run_is_answered_with_the_known_ones(
    store: Store, submitted: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert of_run("status", None, store, "no-such-run") == 2
    assert submitted in capfd.readouterr().err


def test_cancel_marks_the_run_for_its_workers_and_ends_it(
    kfp_server: Any, store: Store, submitted: str
) -> None:
    assert of_run("cancel", kfp_server, store, submitted) == 0
    assert isinstance((store.get_json(f"runs/{submitted}/cancelled.json") or {})["at"], float)
    (made,) = kfp_server.kept["runs"].values()
    assert made["state"] == "CANCELING"


def test_cancel_takes_the_name_of_a_plan(kfp_server: Any, store: Store, submitted: str) -> None:
    assert of_run("cancel", kfp_server, store, "small") == 0
    assert store.get_json(f"runs/{submitted}/cancelled.json") is not None


def test_a_run_is_marked_cancelled_even_if_kfp_is_unreachable(
    kfp_server: Any, store: Store, submitted: str
) -> None:
    kfp_server.fault = (":terminate", 503, "{}")
    assert of_run("cancel", kfp_server, store, submitted) == 3
    assert store.get_json(f"runs/{submitted}/cancelled.json") is not None


def test_the_firing_of_a_schedule_is_found_by_its_kfp_id(store: Store) -> None:
    steps.create(
        store, "weekly-1", PLAN.read_text(), MIRROR, schedule="weekly", fired_by="kfp-run-7"
    )
    assert cluster_runs.kfp_id(store, "weekly-1") == "kfp-run-7"


def test_logs_without_a_cluster_show_the_stored_failures(
    kfp_server: Any, store: Store, submitted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none")
    )
    assert of_run("logs", None, store, submitted) == 3
    store.put_json(
        f"runs/{submitted}/failures/plan.json", steps.failure("plan", PlanError("no such language"))
    )
    assert of_run("logs", None, store, submitted) == 0
    assert "no such language" in capfd.readouterr().out


def test_report_copies_the_folder(
    store: Store, kfp_server: Any, submitted: str, tmp_path: Path
) -> None:
    store.put_bytes_at(f"runs/{submitted}/report/report.html", b"<html>")
    store.put_bytes_at(f"runs/{submitted}/report/predictions/a.parquet", b"rows")
    store.put_json(f"runs/{submitted}/status.json", {"exit_code": 0, "missing": []})
    assert of_run("report", None, store, submitted, "--out", str(tmp_path)) == 0
    assert (tmp_path / "report" / "report.html").read_bytes() == b"<html>"
    assert (tmp_path / "report" / "predictions" / "a.parquet").read_bytes() == b"rows"


def test_a_report_that_is_not_finished_is_not_copied(
    store: Store,
    kfp_server: Any,
    submitted: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    store.put_bytes_at(f"runs/{submitted}/report/report.html", b"<html>half")
    assert of_run("report", None, store, submitted, "--out", str(tmp_path)) == 2
    assert "the run has no report yet" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_credentials_are_in_headers_and_nowhere_else(
    kfp_server: Any,
    store: Store,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither in a package, a request, a run's manifest, an output nor a log."""
    caplog.set_level(logging.INFO)
    assert (
        submit(kfp_server, store, "--wait", "--every", "0.01") == 3
    )  # ends without a report, on purpose
    name = next(iter(kfp_server.named("runs")))
    of_run("status", kfp_server, store, name, "--json")
    of_run("cancel", kfp_server, store, name)
    captured = capfd.readouterr()
    seen = [captured.out, captured.err, caplog.text, *kfp_server.packages.values()]
    seen += [
        request.path + json.dumps(request.query) + request.body.decode()
        for request in kfp_server.requests
    ]
    seen += [(store.get_bytes_at(key) or b"").decode() for key in store.list("")]
    assert len(seen) > 12
    for text in seen:
        assert SECRET not in text
        assert TOKEN not in text
    assert {request.headers.get("authorization") for request in kfp_server.requests} == {
        f"Bearer {TOKEN}"
    }


def test_a_token_is_read_from_the_file_that_a_pod_mounts(
    kfp_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XSTILTS_KFP_TOKEN")
    (tmp_path / "token").write_text("mounted\n")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    Kfp(kfp_server.address).find_experiment("xstilts")
    assert kfp_server.requests[-1].headers["authorization"] == "Bearer mounted"
