"""`runs`, and the commands that read local runs: status, logs, report, train-log."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipelines.cli import main
from pipelines.commands.plan import _calibration_of
from pipelines.commands.run import another_plan_finished
from pipelines.failures import grouped_failures
from pipelines.plan_file import open_plan
from pipelines.run_list import is_run_of
from xstilts.errors import PlanError
from xstilts.plan.expand import expand_offline
from xstilts.runs.folder import create
from xstilts.step import STEP_KINDS
from xstilts.store.store import Store

OLD, NEW = "demo-20260101-000000-1", "demo-20260201-000000-2"


@pytest.fixture
def local(local_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with two local runs, in place of the embedded one over HOME/store."""

    (tmp_path / "logs").mkdir()
    for name in (OLD, NEW):
        create(local_store, name, "name: demo", "miniature", out=str(tmp_path))
    local_store.put_json(
        f"runs/{OLD}/status.json", {"exit_code": 4, "missing": [{"what": "a"}, {"what": "b"}]}
    )
    (tmp_path / "home" / "store").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return local_store


def test_runs_are_listed_with_their_outcome(
    local: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "--home", "home", "--json"]) == 0
    rows = json.loads(capfd.readouterr().out)
    listed = [(row["run"], row["where"], row["state"], row["missing"]) for row in rows]
    assert listed == [(OLD, "local", "failed", 2), (NEW, "local", "unfinished", 0)]


def test_the_name_of_a_plan_means_its_newest_run(
    local: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "demo"]) == 0
    assert capfd.readouterr().out.startswith(f"{NEW}: ")


def test_the_status_of_a_local_run_that_may_be_interrupted(
    local: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    expansion = expand_offline(open_plan("demo").plan)
    local.put_json(f"runs/{NEW}/expanded.json", expansion.to_json())
    assert main(["status", "demo"]) == 0
    first, *lines = capfd.readouterr().out.splitlines()
    assert first == (
        f"{NEW}: unfinished: it is running, or was interrupted (the same command resumes it)"
    )
    assert [line.split()[0] for line in lines] == list(STEP_KINDS)


def test_an_unknown_other_run_is_refused_before_anything_is_written(
    local: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", OLD, "--against", "nope", "--out", "out"]) == 2
    assert "runs/nope: no such run" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_changed_plan_replaces_a_finished_run_only(local: Store) -> None:
    assert not another_plan_finished(local, NEW, "name: other")  # has not ended
    assert not another_plan_finished(local, OLD, "name: demo")
    assert another_plan_finished(local, OLD, "name: other")


@pytest.mark.parametrize(
    ("run", "plan", "expected"),
    [
        ("demo-20260101-000000-1", "demo", True),
        ("demo-20260101-000000-3f2a", "demo", True),
        ("demo-20260101-000000-f2", "demo", True),
        ("demo-2seeds-20260101-000000-1", "demo", False),
        ("demo-2seeds-20260101-000000-1", "demo-2seeds", True),
        ("demo-20260101-000000-1", "dem.", False),
    ],
)
def test_a_run_is_of_the_plan_whose_whole_name_it_has(run: str, plan: str, expected: bool) -> None:
    assert is_run_of(run, plan) is expected


@pytest.mark.parametrize("command", ["status", "logs", "report", "train-log", "results"])
@pytest.mark.parametrize("name", ["", "..", "../x", "a b", "\udcff", "-"], ids=ascii)
def test_what_cannot_be_a_name_is_refused(
    command: str, name: str, local: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--", name]) == 2
    error = capfd.readouterr().err
    assert re.search("not the name of a run|no such folder|give the folder of a report", error)


def test_results_of_a_run_are_found_beside_a_folder_of_its_name(
    local: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "demo").mkdir()
    assert main(["results", "demo", "--home", "home"]) == 2
    assert f"runs/{NEW}/report/results.parquet: the run has no report yet" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["status", "logs", "report", "train-log"])
def test_an_unknown_run_is_answered_with_the_newest(
    command: str, local: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "nope"]) == 2
    assert f"no such run; the newest are {OLD}, {NEW}" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["runs", "status x", "logs x", "report x", "train-log x"])
def test_without_local_runs_it_says_where_to_look(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*command.split(), "--home", str(tmp_path)]) == 2
    assert f"{tmp_path}: no local runs; set --home" in capfd.readouterr().err


def test_logs_of_a_local_run_are_those_of_its_folder(
    local: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs" / "pipeline.log").write_text("first\nsecond\nthird\n")
    local.put_json(
        f"runs/{NEW}/failures/a.json",
        {"what": "stage", "error": "broken", "log": "Trace", "exit_code": 1},
    )
    assert main(["logs", "demo", "--tail", "2"]) == 0
    output = capfd.readouterr().out
    assert "first" not in output
    assert "second\nthird" in output
    assert "failed: stage: broken" in output


def test_follow_prints_new_lines_and_returns_the_exit_code(
    local: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    log = tmp_path / "logs" / "pipeline.log"
    log.write_text("before\n")

    def ends(seconds: float) -> None:
        log.write_text("before\nafter\n")
        local.put_json(f"runs/{NEW}/status.json", {"exit_code": 4, "missing": []})

    monkeypatch.setattr("pipelines.local_logs.time.sleep", ends)
    assert main(["logs", "demo", "--follow"]) == 4
    assert capfd.readouterr().out.endswith("after\n")


def test_the_same_error_of_many_steps_is_one_line_with_a_count() -> None:
    failures = [{"what": f"step {i}", "error": "no GPU"} for i in range(13)]
    failures.append({"what": "report", "error": "other"})
    assert grouped_failures(failures) == ["step 0 and 12 more: no GPU", "report: other"]


# ---- failed runs ----


class Hook(BaseHTTPRequestHandler):
    received: ClassVar[list[Any]] = []
    code = 200

    def do_POST(self) -> None:
        self.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.code)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Tests print nothing."""


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hook]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("XSTILTS_WEBHOOK", f"http://127.0.0.1:{server.server_port}/secret-path")
    monkeypatch.setattr(Hook, "received", [])
    yield Hook
    server.shutdown()
    server.server_close()


def test_failed_runs_are_posted_to_a_webhook(
    local: Store, hook: type[Hook], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "--home", "home", "--failed", "1d"]) == 4
    (body,) = hook.received
    assert OLD in body["text"]
    assert [run["run"] for run in body["runs"]] == [OLD]
    assert NEW not in capfd.readouterr().out


@pytest.mark.parametrize("name", [NEW, "a-damaged-run"])
def test_a_corrupt_run_hides_no_other_run(
    name: str, local: Store, hook: type[Hook], capfd: pytest.CaptureFixture[str]
) -> None:
    local.put_bytes_at(f"runs/{name}/run.json", b"{")
    local.put_bytes_at("runs/b/run.json", b"")
    assert main(["runs", "--home", "home", "--failed", "1d"]) == 3
    output = capfd.readouterr()
    assert OLD in output.out
    assert [run["run"] for body in hook.received for run in body["runs"]] == [OLD]
    corrupt = sorted(output.err.splitlines())
    assert len(corrupt) == 2
    for line, run in zip(corrupt, sorted([name, "b"]), strict=True):
        assert f"/runs/{run}/run.json: corrupt: not valid JSON" in line


@pytest.mark.parametrize("damaged", ["other-20260301-000000-3", OLD])
def test_a_corrupt_run_does_not_hide_the_newest_of_a_plan(
    damaged: str, local: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    local.put_bytes_at(f"runs/{damaged}/run.json", b"{")
    assert main(["status", "demo"]) == 0
    assert capfd.readouterr().out.startswith(f"{NEW}: ")


def test_an_older_run_is_not_taken_for_the_newest_one_that_is_corrupt(
    local: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    local.put_bytes_at(f"runs/{NEW}/run.json", b"{")
    assert main(["status", "demo"]) == 3
    assert f"runs/{NEW}/run.json: corrupt" in capfd.readouterr().err


def test_nothing_is_posted_if_no_run_failed(
    local: Store, hook: type[Hook], capfd: pytest.CaptureFixture[str]
) -> None:
    local.put_json(f"runs/{OLD}/status.json", {"exit_code": 0, "missing": []})
    assert main(["runs", "--home", "home", "--failed", "1d"]) == 0
    assert hook.received == []
    assert "no run failed within 1d" in capfd.readouterr().out


def test_a_refused_post_is_an_error_without_the_secret_url(
    local: Store, hook: type[Hook], capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(Hook, "code", 403)
    assert main(["runs", "--home", "home", "--failed", "1d"]) == 3
    error = capfd.readouterr().err
    assert "the post failed: 403" in error
    assert "secret-path" not in error


@pytest.mark.parametrize("url", ["http://[", "http://host/secret path", "http://host/secret\npath"])
def test_an_invalid_url_of_a_webhook_is_an_error_that_does_not_show_it(
    url: str, local: Store, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XSTILTS_WEBHOOK", url)
    assert main(["runs", "--home", "home", "--failed", "1d"]) == 2
    output = capfd.readouterr()
    assert output.err == "xstilts: XSTILTS_WEBHOOK: not a valid URL; correct it\n"
    assert OLD in output.out  # the list is printed first


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("demo", f"the run {NEW} has no expanded plan yet"),
        (NEW, f"the run {NEW} has no expanded plan yet"),
        ("nope", "no such run; the newest are"),
        ("../x", "not the name of a run"),
    ],
)
def test_measured_takes_the_names_that_other_commands_take(
    name: str, message: str, local: Store
) -> None:
    with pytest.raises(PlanError, match=re.escape(message)):
        _calibration_of(name, local)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("tiny.none.squad.t1", "did you mean tiny.none.squad.t0? --list shows its cells"),
        ("???", f"{NEW} has no cell '???'; --list shows its cells"),
        ("tiny.none.none", "this cell trains nothing"),
    ],
)
def test_a_cell_that_cannot_be_exported_has_a_hint_to_one_that_can(
    cell: str, message: str, local: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    document = expand_offline(open_plan("demo").plan).to_json()
    chain = document["cells"][-1]["chain"]
    cells = [{"id": "tiny.none.none", "chain": []}, {"id": "tiny.none.squad.t0", "chain": chain}]
    document["cells"] = [{**document["cells"][0], **one} for one in cells]
    local.put_json(f"runs/{NEW}/expanded.json", document)
    assert main(["export-model", NEW, cell, str(tmp_path / "model")]) == 2
    assert message in capfd.readouterr().err
