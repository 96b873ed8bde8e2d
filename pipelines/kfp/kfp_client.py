"""A client of the Kubeflow Pipelines API with timeouts and readable errors."""

import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.kfp.error_texts import readable_errors
from xstilts.errors import PlanError

log = logging.getLogger(__name__)

PIPELINE = "intermediate-to-xtreme-r"
EXPERIMENT = "xstilts"
#: Seconds to connect, and to wait for a response.
TIMEOUT = (5.0, 60.0)


class Kfp:
    """One server. Credentials come from the environment and go into headers only."""

    def __init__(
        self, host: str, namespace: str | None = None, ca_cert: Path | None = None
    ) -> None:
        """host: root URL of the API, e.g. http://localhost:8888. namespace: of a multi-user KFP."""
        import kfp_server_api as api

        if not host.startswith(("http://", "https://")):
            raise PlanError(f"--host {host!r}: not a URL; write for example https://{host}")
        self.host, self.namespace = host.rstrip("/"), namespace
        configuration = api.Configuration(host=self.host)
        configuration.ssl_ca_cert = None if ca_cert is None else str(ca_cert)
        if token := _token():
            configuration.api_key["authorization"] = token
            configuration.api_key_prefix["authorization"] = "Bearer"
        self.client = client = api.ApiClient(
            configuration, cookie=os.environ.get("XSTILTS_KFP_COOKIE")
        )
        self.models = api
        self.experiments = api.ExperimentServiceApi(client)
        self.pipelines = api.PipelineServiceApi(client)
        self.uploads = api.PipelineUploadServiceApi(client)
        self.runs = api.RunServiceApi(client)
        self.recurring = api.RecurringRunServiceApi(client)

    def call(self, action: str, function: Callable[..., Any], **arguments: Any) -> Any:
        """Calls a function of the generated client. Raises KfpError, which names the host and the
        action ("find the run x").
        """
        log.info("%s: %s", self.host, action)
        with readable_errors(self.host, action):
            response = function(**arguments, _request_timeout=TIMEOUT)
            # The client accepts any page as an empty response, even a sign-in page.
            if not isinstance(json.loads(self.client.last_response.data), dict):
                raise ValueError("no JSON object")
            return response

    def _listed(
        self, action: str, function: Callable[..., Any], field: str, **arguments: Any
    ) -> Iterator[Any]:
        token = ""
        while True:
            page = self.call(action, function, page_token=token, page_size=100, **arguments)
            yield from getattr(page, field) or ()
            token = page.next_page_token or ""
            if not token:
                return

    def _namespace(self) -> dict[str, str]:
        return {"namespace": self.namespace} if self.namespace else {}

    # ---- experiments and packages ----

    def find_experiment(self, name: str) -> str | None:
        """The id of an experiment, or None."""
        listing = self.experiments.experiment_service_list_experiments
        experiments = self._listed(
            f"find the experiment {name}",
            listing,
            "experiments",
            filter=_named(name),
            **self._namespace(),
        )
        return next((str(experiment.experiment_id) for experiment in experiments), None)

    def experiment(self, name: str = EXPERIMENT) -> str:
        """The id of an experiment, which is created if it does not exist."""
        existing = self.find_experiment(name)
        if existing is not None:
            return existing
        body = self.models.V2beta1Experiment(display_name=name, **self._namespace())
        create = self.experiments.experiment_service_create_experiment
        return str(
            self.call(f"create the experiment {name}", create, experiment=body).experiment_id
        )

    def find_version(self, version: str) -> tuple[str, str] | None:
        """(pipeline id, version id) of an uploaded package, or None."""
        pipeline = self._pipeline()
        if pipeline is None:
            return None
        listing = self.pipelines.pipeline_service_list_pipeline_versions
        action = f"find version {version} of the pipeline {PIPELINE}"
        for match in self._listed(
            action, listing, "pipeline_versions", pipeline_id=pipeline, filter=_named(version)
        ):
            return pipeline, str(match.pipeline_version_id)
        return None

    def version(self, text: str, version: str) -> tuple[str, str]:
        """(pipeline id, version id) of a package, which is uploaded if it does not exist."""
        existing = self.find_version(version)
        if existing is not None:
            return existing
        pipeline = self._pipeline()
        if pipeline is None:
            body = self.models.V2beta1Pipeline(
                display_name=PIPELINE, name=PIPELINE, **self._namespace()
            )
            create = self.pipelines.pipeline_service_create_pipeline
            pipeline = str(
                self.call(f"create the pipeline {PIPELINE}", create, pipeline=body).pipeline_id
            )
        with tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
            path = Path(scratch) / "pipeline.yaml"
            path.write_text(text)
            uploaded = self.call(
                f"upload version {version} of the pipeline {PIPELINE}",
                self.uploads.upload_pipeline_version,
                uploadfile=str(path),
                name=version,
                display_name=version,
                pipelineid=pipeline,
            )
        return pipeline, str(uploaded.pipeline_version_id)

    def _pipeline(self) -> str | None:
        listing = self.pipelines.pipeline_service_list_pipelines
        action = f"find the pipeline {PIPELINE}"
        for match in self._listed(
            action, listing, "pipelines", filter=_named(PIPELINE), **self._namespace()
        ):
            return str(match.pipeline_id)
        return None

    # ---- runs ----

    def submit(
        self, name: str, run_uri: str, experiment: str, version: tuple[str, str], account: str
    ) -> str:
        """Starts a run and returns KFP's id."""
        reference = self.models.V2beta1PipelineVersionReference(
            pipeline_id=version[0], pipeline_version_id=version[1]
        )
        body = self.models.V2beta1Run(
            display_name=name,
            experiment_id=experiment,
            pipeline_version_reference=reference,
            service_account=account,
            runtime_config=self.models.V2beta1RuntimeConfig(parameters={"run": run_uri}),
        )
        return str(self.call(f"start {name}", self.runs.run_service_create_run, run=body).run_id)

    def find_run(self, name: str) -> str | None:
        """KFP's id of the run with this name, or None."""
        listing = self.runs.run_service_list_runs
        runs = self._listed(
            f"find the run {name}", listing, "runs", filter=_named(name), **self._namespace()
        )
        return next((str(run.run_id) for run in runs), None)

    def run(self, run_id: str) -> Any:
        """A run as KFP returns it: state, error, times."""
        return self.call(f"get run {run_id}", self.runs.run_service_get_run, run_id=run_id)

    def terminate(self, run_id: str) -> None:
        self.call(f"terminate run {run_id}", self.runs.run_service_terminate_run, run_id=run_id)

    def url(self, run_id: str) -> str:
        """The page of a run. KF_PIPELINES_UI_ENDPOINT: the UI's URL, if it is not the API's."""
        root = os.environ.get("KF_PIPELINES_UI_ENDPOINT", self.host).rstrip("/")
        return f"{root}/#/runs/details/{run_id}"

    # ---- recurring runs ----

    def recurring_runs(self) -> list[Any]:
        """All visible recurring runs."""
        listing = self.recurring.recurring_run_service_list_recurring_runs
        return list(
            self._listed("list the recurring runs", listing, "recurring_runs", **self._namespace())
        )

    def create_recurring(self, body: Mapping[str, Any]) -> str:
        """Creates a recurring run from fields of V2beta1RecurringRun and returns its id."""
        models = self.models
        trigger = models.V2beta1Trigger(
            cron_schedule=models.V2beta1CronSchedule(**body["cron_schedule"])
        )
        recurring_run = models.V2beta1RecurringRun(
            **{
                key: value
                for key, value in body.items()
                if key not in ("cron_schedule", "version", "parameters")
            },
            trigger=trigger,
            pipeline_version_reference=models.V2beta1PipelineVersionReference(
                pipeline_id=body["version"][0], pipeline_version_id=body["version"][1]
            ),
            runtime_config=models.V2beta1RuntimeConfig(parameters=dict(body["parameters"])),
        )
        function = self.recurring.recurring_run_service_create_recurring_run
        action = f"create the recurring run {body['display_name']}"
        return str(self.call(action, function, recurring_run=recurring_run).recurring_run_id)

    def delete_recurring(self, run_id: str, name: str) -> None:
        function = self.recurring.recurring_run_service_delete_recurring_run
        self.call(f"delete the recurring run {name}", function, recurring_run_id=run_id)

    def enable_recurring(self, run_id: str, name: str, enabled: bool) -> None:
        verb = "enable" if enabled else "disable"
        function = getattr(self.recurring, f"recurring_run_service_{verb}_recurring_run")
        self.call(f"{verb} the recurring run {name}", function, recurring_run_id=run_id)


def _named(name: str) -> str:
    return json.dumps(
        {"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]}
    )


def _token() -> str | None:
    file = os.environ.get("KF_PIPELINES_SA_TOKEN_PATH")
    if os.environ.get("XSTILTS_KFP_TOKEN") or not file:
        return os.environ.get("XSTILTS_KFP_TOKEN")
    try:
        return Path(file).read_text().strip()
    except OSError as error:
        raise PlanError(
            f"KF_PIPELINES_SA_TOKEN_PATH={file}: cannot read the token: {error.strerror}"
        ) from error
