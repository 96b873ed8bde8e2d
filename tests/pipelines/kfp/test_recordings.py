"""The stand-in of Kubeflow Pipelines answers like a real server: status, keys, types, states.

The recordings of Kubeflow Pipelines 2.17.0 are not part of the project.
"""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines.kfp.kfp_client import Kfp
from tests.pipelines.kfp_server import NEVER, Server

RECORDINGS = Path(__file__).parents[4] / "shared" / "kfp_recordings"
#: Every recording, and how this file asks for the same of the stand-in: (method, path).
REQUESTS = {
    "healthz": ("GET", "healthz"),
    "run_running": ("GET", "runs/{running}"),
    "run_succeeded": ("GET", "runs/{succeeded}"),
    "run_failed": ("GET", "runs/{failed}"),
    "run_cancelled": ("GET", "runs/{cancelled}"),
    "run_missing": ("GET", "runs/00000000-0000-0000-0000-000000000000"),
    "run_create_without_pipeline": ("POST", "runs"),
    "runs_page_of_2": ("GET", "runs?page_size=2&sort_by=created_at%20desc"),
    "runs_filter_by_name": ("GET", "runs?filter={name}"),
    "recurringruns_disabled": ("GET", "recurringruns"),
    "pipelines": ("GET", "pipelines"),
    "experiments": ("GET", "experiments"),
}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: Keys whose values are compared, since a client decides by them. They are states of runs; those of
#: tasks depend on when a run was recorded.
COMPARED = ("state", "mode", "status", "storage_state", "code", "@type")

pytestmark = pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason=f"{RECORDINGS} is absent: no recordings of a real server"
)


def recorded(name: str) -> dict[str, Any]:
    return dict(json.loads((RECORDINGS / f"{name}.json").read_text()))


def kind(value: Any) -> str:
    """The type of a JSON value; of texts also whether they are a time or an id."""
    if isinstance(value, str):
        patterns = {"time": _TIME, "uuid": _UUID}
        return next((name for name, form in patterns.items() if form.fullmatch(value)), "text")
    return type(value).__name__


def shape(body: Any, path: str = "") -> dict[str, str]:
    """Path → type of every value. Items of a list have one path, and `?` marks keys that some of
    them lack; tasks lack some by chance, since a page has three of them.
    """
    if isinstance(body, Mapping):
        return {
            inner: text
            for key, value in body.items()
            for inner, text in shape(value, f"{path}.{key}").items()
        }
    if isinstance(body, list):
        shapes = [shape(item, f"{path}[]") for item in body]
        paths = {inner for each in shapes for inner in each}
        always = set(paths) if "task_details" in path else set.intersection(*map(set, shapes))
        return {
            inner + ("" if inner in always else "?"): "|".join(
                sorted({text for each in shapes for text in each.get(inner, "").split("|") if text})
            )
            for inner in paths
        }
    key = path.rpartition(".")[2]
    return {path: repr(body) if key in COMPARED and "task_details" not in path else kind(body)}


@pytest.fixture
def server(kfp_server: Server) -> Server:
    """A server with two experiments, a pipeline, a disabled recurring run and a run in each state."""
    kfp = Kfp(kfp_server.address)
    default = kfp.experiment("Default")
    kfp_server.kept["experiments"][default]["description"] = "All runs without an experiment."
    experiment = kfp.experiment("xstilts")
    text = json.dumps({"root": {"inputDefinitions": {"parameters": {"run": {}}}}})
    pipeline = str(
        kfp.call(
            "create",
            kfp.pipelines.pipeline_service_create_pipeline,
            pipeline=kfp.models.V2beta1Pipeline(display_name="xr", name="xr"),
        ).pipeline_id
    )
    version = "796fae36-c21a-4b6f-ace1-628a5d587720"
    kfp_server.packages[version] = text
    kfp_server.kept["versions"][version] = {
        "pipeline_id": pipeline, "pipeline_version_id": version, "display_name": "v1",
    }  # fmt: skip
    recurring = kfp.create_recurring({
        "display_name": "two-minutes", "description": "a schedule", "experiment_id": experiment,
        "mode": "ENABLE", "no_catchup": True, "max_concurrency": "1", "service_account": "step",
        "version": (pipeline, version), "parameters": {"run": "s3://b/p/schedules/two-minutes"},
        "cron_schedule": {"cron": "0 0 */6 * * *"},
    })  # fmt: skip
    kfp.enable_recurring(recurring, "two-minutes", enabled=False)
    fired = kfp_server.fire(kfp_server.kept["recurringruns"][recurring])
    fired["display_name"] = "cancelled"
    kfp.terminate(fired["run_id"])
    for _ in range(3):
        kfp.run(fired["run_id"])
    for state in ("succeeded", "failed", "running"):
        kfp_server.states = ["PENDING", "RUNNING", state.upper()]
        run_id = kfp.submit(state, f"s3://b/p/runs/{state}", experiment, (pipeline, version), "a")
        for _ in kfp_server.states:
            kfp.run(run_id)
    return kfp_server


def answered(server: Server, name: str) -> dict[str, Any]:
    """{status, body} of the stand-in's answer to a recording's request."""
    predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": "succeeded"}
    runs = {name: run["run_id"] for name, run in server.named("runs").items()}
    method, path = REQUESTS[name]
    words = {**runs, "name": urllib.request.quote(json.dumps({"predicates": [predicate]}))}  # type: ignore[attr-defined]
    url = f"{server.address}/apis/v2beta1/{path.format(**words)}"
    data = b'{"display_name": "x"}' if method == "POST" else None
    if path.startswith("runs/{") or name == "runs_page_of_2":  # as it is now, not one poll later
        server.states = ["RUNNING"]
        run = server.named("runs").get(path.removeprefix("runs/{").rstrip("}"))
        if run is not None:
            server.states = [run["state"]]
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, method=method)) as response:
            return {"status": response.status, "body": json.load(response)}
    except urllib.error.HTTPError as error:
        with error:
            return {"status": error.code, "body": json.load(error)}


def test_every_recording_is_compared() -> None:
    kubernetes = {"argo_workflow_failed", "step_pod"}
    assert {file.stem for file in RECORDINGS.glob("*.json")} == {*REQUESTS, *kubernetes}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_stand_in_answers_like_the_server(server: Server, name: str) -> None:
    real, ours = recorded(name), answered(server, name)
    assert ours["status"] == real["status"]
    assert shape(ours["body"]) == shape(real["body"])


@pytest.mark.parametrize("name", ["run_missing", "run_create_without_pipeline"])
def test_error_bodies_are_equal_to_the_letter(server: Server, name: str) -> None:
    assert answered(server, name) == recorded(name)


@pytest.mark.parametrize("name", ["run_running", "run_succeeded", "run_failed", "run_cancelled"])
def test_a_run_passes_through_the_same_states(server: Server, name: str) -> None:
    def states(answer: dict[str, Any]) -> list[str]:
        return [each["state"] for each in answer["body"].get("state_history", ())]

    real = states(recorded(name))
    ours = states(answered(server, name))
    assert ours == real


def test_a_running_run_has_finished_in_1970_in_both(server: Server) -> None:
    for answer in (recorded("run_running"), answered(server, "run_running")):
        assert answer["body"]["finished_at"] == NEVER
        assert "error" not in answer["body"]
