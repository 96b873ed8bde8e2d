"""`xstilts results --tensorboard` and `--mlflow`: a run's cells in experiment trackers."""

import itertools
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.cli import main
from pipelines.trackers import mlflow, tensorboard, tracked_cells
from tests.expansions import expansion_of
from xstilts.analysis.tracked_runs import CELL, TrackedRun
from xstilts.errors import PlanError
from xstilts.runs.folder import create
from xstilts.step import Step
from xstilts.store.store import Store

RUN, CELL_ID, STARTED = "demo-20260101-000000-1", "b.x.squad.i0.t0", 1_700_000_000.0
LOSSES = [2.0, 1.5, 1.25]
SCORE = Step("score", {"evaluation": "xquad"})


@pytest.fixture
def run(local_store: Store, tmp_path: Path) -> Store:
    """A finished run with one cell, which commands see as the local store."""

    spec = {"stage": "target", "name": "squad", "tuning": {"mode": "full"}, "recipe": {"lr": 0.01}}
    step = Step("finetune", spec, {}, {"label": "b: x → squad"})
    history = tmp_path / "history.parquet"
    rows = [
        {"update": k, "loss": loss, "lr": 0.01, "norm": 1.0, "seconds": 10.0 * (k + 1)}
        for k, loss in enumerate(LOSSES)
    ]
    pq.write_table(pa.Table.from_pylist(rows), history)
    looks = [{"update": 2, "value": 70.0}]
    local_store.commit(
        step, {"history.parquet": history}, {"selection": {"update": 2, "looks": looks}}
    )
    create(local_store, RUN, "name: demo", "miniature")
    document = local_store.get_json(f"runs/{RUN}/run.json") or {}
    local_store.put_json(f"runs/{RUN}/run.json", {**document, "created": STARTED})
    cell = {"id": CELL_ID, "backbone": "b", "arm": "x", "seed": 0, "seed_intermediate": 0, "seed_target": 0,
            "trained_target": "squad", "chain": [step.fingerprint], "scores": {"xquad": SCORE.fingerprint}}  # fmt: skip
    expansion = expansion_of([step, SCORE], ["xquad"], name="demo", cells=[cell])
    local_store.put_json(f"runs/{RUN}/expanded.json", expansion.to_json())
    scores = [{**{key: cell[key] for key in CELL}, "checkpoint": "selected", "evaluation": "xquad",
               "metric": "squad", "language": "avg", "value": 55.5}]  # fmt: skip
    path = tmp_path / "results.parquet"
    pd.DataFrame(scores).to_parquet(path)
    local_store.put_bytes_at(f"runs/{RUN}/report/results.parquet", path.read_bytes())
    local_store.put_json(f"runs/{RUN}/status.json", {"exit_code": 0, "missing": []})
    return local_store


def cell() -> TrackedRun:
    return TrackedRun("b.x", {"lr": 0.01}, {"plan": "demo", "run": RUN}, {}, {"score/xquad": 55.5})


def events(folder: Path) -> Iterator[Any]:
    """The events of the files in a folder: each has a length, a checksum, bytes, a checksum."""
    from tensorboardX.proto.event_pb2 import Event

    for path in folder.iterdir():
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            yield Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length


def test_event_files_have_each_update_and_the_scores(
    run: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "events"
    assert main(["results", "demo", "--tensorboard", str(out)]) == 0
    assert f"1 cell written; to see them: tensorboard --logdir {out}" in capfd.readouterr().out
    scalars = [
        (value.tag, event.step, round(value.simple_value, 4), event.wall_time - STARTED)
        for event in events(out / CELL_ID)
        for value in event.summary.value
        if value.HasField("simple_value")
    ]
    for update, loss in enumerate(LOSSES, 1):
        assert ("target/loss", update, loss, 10.0 * update) in scalars
    assert ("target/dev", 2, 70.0, 20.0) in scalars
    assert ("target/learning_rate", 1, 0.01, 10.0) in scalars
    assert ("score/xquad/squad/avg", 0, 55.5, 0.0) in scalars


def test_tensorboard_reads_the_event_files(run: Store, tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="pip install tensorboard"
    )
    assert main(["results", "demo", "--tensorboard", str(tmp_path / "events")]) == 0
    read = accumulator.EventAccumulator(str(tmp_path / "events" / CELL_ID))
    read.Reload()
    losses = [(event.step, event.value) for event in read.Scalars("target/loss")]
    assert losses == [(1, 2.0), (2, 1.5), (3, 1.25)]
    assert "_hparams_/session_start_info" in read.summary_metadata
    (text,) = read.Tensors("run/text_summary")
    assert f"- run: `{RUN}`".encode() in text.tensor_proto.string_val[0]


@pytest.mark.parametrize("option", ["--table effects", "--format csv"])
def test_options_of_a_printed_table_are_refused(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "events")
    assert main(["results", "demo", "--tensorboard", out, *option.split()]) == 2
    assert f"{option.split()[0]} is of a printed table" in capsys.readouterr().err


def test_an_export_into_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    with pytest.raises(PlanError, match="TensorBoard would mix two exports"):
        tensorboard.write(tmp_path, STARTED, [cell()])


@pytest.mark.parametrize(
    ("module", "export", "message"),
    [
        ("tensorboardX", lambda path: tensorboard.write(path / "new", STARTED, []), "pip install tensorboardX"),
        ("mlflow", lambda path: mlflow.log("demo", RUN, STARTED, []), "pip install mlflow-skinny"),
    ],
)  # fmt: skip
def test_a_missing_library_is_named(
    module: str, export: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PlanError, match=message):
        export(tmp_path)


def test_a_run_without_a_report_is_an_error(run: Store) -> None:
    run.delete(f"runs/{RUN}/status.json")
    with pytest.raises(PlanError, match="the run has no report yet"):
        tracked_cells.cells_of(run, RUN)


class Server:
    """An MLflow client that keeps runs in memory, for machines without MLflow."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.experiments: dict[str, Any] = {}
        self.names = itertools.count()

    def get_experiment_by_name(self, name: str) -> Any:
        return self.experiments.get(name)

    def create_experiment(self, name: str) -> str:
        self.experiments[name] = SimpleNamespace(experiment_id="7", lifecycle_stage="active")
        return "7"

    def search_runs(self, experiments: list[str], text: str, page_token: str | None) -> Any:
        """Pages of one run each."""
        found = [
            SimpleNamespace(info=SimpleNamespace(run_id=key), data=SimpleNamespace(tags=each["tags"]))
            for key, each in self.runs.items()
            if text == f"tags.run = '{each['tags']['run']}'"
        ]  # fmt: skip
        at = int(page_token or 0)

        class Page(list[Any]):
            token = str(at + 1) if at + 1 < len(found) else None

        return Page(found[at : at + 1])

    def create_run(self, experiment: str, start: int, tags: dict[str, str], name: str) -> Any:
        key = f"run{next(self.names)}"
        self.runs[key] = {"tags": dict(tags), "name": name, "params": {}, "metrics": []}
        return SimpleNamespace(info=SimpleNamespace(run_id=key))

    def log_batch(self, key: str, metrics: Any = (), params: Any = ()) -> None:
        assert len(metrics) <= 1000
        assert len(params) <= 100
        self.runs[key]["metrics"] += metrics
        self.runs[key]["params"] |= {param.key: param.value for param in params}

    def set_tag(self, key: str, name: str, value: str) -> None:
        self.runs[key]["tags"][name] = value

    def set_terminated(self, key: str, status: str, end: int) -> None:
        self.runs[key]["status"] = status

    def delete_run(self, key: str) -> None:
        del self.runs[key]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    package, entities, errors = (
        ModuleType(f"mlflow{part}") for part in ("", ".entities", ".exceptions")
    )
    package.MlflowClient = lambda: server  # type: ignore[attr-defined]
    entities.Metric = lambda key, value, timestamp, step: (key, step, value, timestamp)  # type: ignore[attr-defined]
    entities.Param = lambda key, value: SimpleNamespace(key=key, value=value)  # type: ignore[attr-defined]
    errors.MlflowException = ConnectionError  # type: ignore[attr-defined]
    for module in (package, entities, errors):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    return server


def test_a_cell_is_a_run_of_mlflow(
    run: Store, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["results", "demo", "--mlflow"]) == 0
    assert "MLflow experiment demo: 1 cell logged, 0 already there" in capfd.readouterr().out
    (logged,) = server.runs.values()
    assert (logged["name"], logged["status"]) == (CELL_ID, "FINISHED")
    assert logged["params"]["target.lr"] == "0.01"
    assert (logged["tags"]["run"], logged["tags"]["plan"]) == (RUN, "demo")
    assert logged["tags"]["manifest.xquad"] == f"steps/score/{SCORE.fingerprint}/manifest.json"
    assert ("target/loss", 3, 1.25, 1_700_000_030_000) in logged["metrics"]
    assert ("score/xquad/squad/avg", 0, 55.5, 1_700_000_000_000) in logged["metrics"]


def test_a_cell_is_logged_once_and_again_if_it_changed_or_was_interrupted(server: Server) -> None:
    cells = [cell(), TrackedRun("b.y", {}, cell().tags)]
    assert mlflow.log("demo", RUN, STARTED, cells) == (2, 0)
    assert mlflow.log("demo", RUN, STARTED, cells) == (0, 2)
    changed = TrackedRun("b.y", {}, cell().tags, scores={"score/xquad": 1.0})
    assert mlflow.log("demo", RUN, STARTED, [cell(), changed]) == (1, 1)
    for each in server.runs.values():
        del each["tags"][mlflow.CONTENT]
    assert mlflow.log("demo", RUN, STARTED, [cell(), changed]) == (2, 0)
    assert sorted(each["name"] for each in server.runs.values()) == ["b.x", "b.y"]


def test_long_curves_and_many_parameters_are_logged_in_several_requests(server: Server) -> None:
    curve = [(update, 0.0, 1.0) for update in range(2500)]
    parameters = {f"p{number}": number for number in range(150)}
    large = TrackedRun("b.x", parameters, cell().tags, {"target/loss": curve})
    assert mlflow.log("demo", RUN, STARTED, [large]) == (1, 0)
    (logged,) = server.runs.values()
    assert (len(logged["metrics"]), len(logged["params"])) == (2500, 150)


def test_an_infinite_gradient_norm_is_logged(server: Server) -> None:
    infinite = TrackedRun(
        "b.x", {}, cell().tags, {"target/gradient_norm": [(1, 0.0, float("inf"))]}
    )
    assert mlflow.log("demo", RUN, STARTED, [infinite]) == (1, 0)
    assert mlflow.log("demo", RUN, STARTED, [infinite]) == (0, 1)


def test_mlflow_without_an_address_or_with_a_deleted_experiment_is_an_error(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.experiments["demo"] = SimpleNamespace(experiment_id="7", lifecycle_stage="deleted")
    with pytest.raises(PlanError, match="'demo' was deleted; restore it"):
        mlflow.log("demo", RUN, STARTED, [cell()])
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(PlanError, match="MLFLOW_TRACKING_URI is not set"):
        mlflow.log("demo", RUN, STARTED, [cell()])


def test_the_installed_mlflow_keeps_what_was_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client_class = pytest.importorskip("mlflow", reason="pip install mlflow-skinny").MlflowClient
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    logged = TrackedRun(
        "b.x", {"lr": 0.01}, cell().tags, {"target/loss": [(1, 0.5, 2.0), (2, 1.0, 1.5)]}
    )
    assert mlflow.log("demo", RUN, STARTED, [logged]) == (1, 0)
    assert mlflow.log("demo", RUN, STARTED, [logged]) == (0, 1)
    client = client_class()
    (found,) = client.search_runs([client.get_experiment_by_name("demo").experiment_id])
    history = client.get_metric_history(found.info.run_id, "target/loss")
    assert [(point.step, point.value) for point in history] == [(1, 2.0), (2, 1.5)]
    assert (found.data.params, found.info.status) == ({"lr": "0.01"}, "FINISHED")
