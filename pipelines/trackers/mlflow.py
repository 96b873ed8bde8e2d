"""Logs the cells of a run to an MLflow tracking server."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from xstilts.analysis.tracked_runs import TrackedRun
from xstilts.errors import InfrastructureError, PlanError, without_credentials

#: Limits of one request: https://mlflow.org/docs/latest/api_reference/rest-api.html#log-batch
MOST_METRICS, MOST_PARAMETERS = 1000, 100
#: Set last. Runs without it are incomplete; those with an equal one need not be logged again.
CONTENT = "xstilts.content"
URI = "MLFLOW_TRACKING_URI"


def log(plan: str, run: str, started: float, cells: Iterable[TrackedRun]) -> tuple[int, int]:
    """Logs one MLflow run per cell to the experiment `plan` of the server at MLFLOW_TRACKING_URI.

    A cell that was logged with the same content is skipped. One that has changed, or whose logging
    was interrupted, is deleted and logged again.

    Args:
        plan: name of the experiment.
        run: name of the run of xstilts.
        started: time of the run, in seconds since 1970.
        cells: what to log.

    Returns:
        (cells that were logged, cells that were there).

    Raises:
        PlanError: the client is not installed, MLFLOW_TRACKING_URI is not set, or the experiment
            was deleted.
        InfrastructureError: the server does not answer or refuses a request.
    """
    client_class, failure = _library()
    if not os.environ.get(URI):
        raise PlanError(
            f"{URI} is not set; set it to the tracking server, such as http://localhost:5000"
        )
    try:
        return log_with(client_class(), plan, run, started, cells)
    except failure as error:
        raise InfrastructureError(f"MLflow: {without_credentials(str(error))}") from error


def _library() -> tuple[Any, type[Exception]]:
    """(MlflowClient, MlflowException) of MLflow's client."""
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise PlanError(
            f"MLflow needs its client ({error}); run `pip install mlflow-skinny`"
        ) from error
    return MlflowClient, MlflowException


def log_with(
    client: Any, plan: str, run: str, started: float, cells: Iterable[TrackedRun]
) -> tuple[int, int]:
    """As `log`, with an `MlflowClient`."""
    experiment = _experiment(client, plan)
    logged = {each.data.tags.get("cell"): each for each in _runs(client, experiment, run)}
    milliseconds, new, old = int(1000 * started), 0, 0
    for cell in cells:
        # Not canonical_json: a gradient norm can be infinite.
        content = hashlib.sha256(json.dumps(asdict(cell), sort_keys=True).encode()).hexdigest()
        if (before := logged.get(cell.name)) is not None:
            if before.data.tags.get(CONTENT) == content:
                old += 1
                continue
            client.delete_run(before.info.run_id)
        tags = {**cell.tags, "cell": cell.name}
        created = client.create_run(experiment, milliseconds, tags, cell.name)
        _log_cell(client, created.info.run_id, milliseconds, cell)
        client.set_tag(created.info.run_id, CONTENT, content)
        client.set_terminated(created.info.run_id, "FINISHED", milliseconds)
        new += 1
    return new, old


def _experiment(client: Any, name: str) -> str:
    """The id of an experiment, which is created if it does not exist."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name))
    if found.lifecycle_stage != "active":
        raise PlanError(
            f"MLflow's experiment {name!r} was deleted; restore it (`mlflow experiments restore "
            f"-x {found.experiment_id}`) or remove it for good (`mlflow gc`)"
        )
    return str(found.experiment_id)


def _runs(client: Any, experiment: str, run: str) -> Iterator[Any]:
    """The runs of an experiment that were logged from a run of xstilts."""
    token, first = None, True
    while first or token:
        page = client.search_runs([experiment], f"tags.run = '{run}'", page_token=token)
        yield from page
        token, first = page.token, False


def _log_cell(client: Any, run_id: str, milliseconds: int, cell: TrackedRun) -> None:
    from mlflow.entities import Metric, Param

    parameters = [Param(name, str(value)) for name, value in cell.parameters.items()]
    metrics = [
        Metric(name, value, milliseconds + int(1000 * seconds), update)
        for name, points in cell.curves.items()
        for update, seconds, value in points
    ]
    metrics += [Metric(name, value, milliseconds, 0) for name, value in cell.scores.items()]
    for start in range(0, len(parameters), MOST_PARAMETERS):
        client.log_batch(run_id, params=parameters[start : start + MOST_PARAMETERS])
    for start in range(0, len(metrics), MOST_METRICS):
        client.log_batch(run_id, metrics=metrics[start : start + MOST_METRICS])
