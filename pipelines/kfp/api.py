"""The Kubeflow Pipelines API as xstilts uses it: each call with a time-out, and errors in words."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.kfp.errors import KfpError, explained
from xstilts.errors import PlanError

PIPELINE = "intermediate-to-xtreme-r"
EXPERIMENT = "xstilts"
#: Seconds to connect and to wait for an answer.
TIMEOUT = (5.0, 60.0)
FINISHED = frozenset({"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"})


class Kfp:
    """One server. Credentials come from the environment and go into headers only."""

    def __init__(self, host: str, namespace: str | None = None, ca_cert: str | None = None) -> None:
        """host: the root of the API, e.g. http://localhost:8888. namespace: of a server with
        several users.
        """
        import kfp_server_api as api

        if not host.startswith(("http://", "https://")):
            raise PlanError(f"--host {host!r}: give its whole address, e.g. https://{host}")
        self.host, self.namespace = host.rstrip("/"), namespace
        configuration = api.Configuration(host=self.host)
        configuration.ssl_ca_cert = ca_cert
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

    def call(self, asked: str, function: Callable[..., Any], **arguments: Any) -> Any:
        """Calls a function of the generated client; raises KfpError that says what was asked of
        whom.
        """
        with explained(self.host, asked):
            answer = function(**arguments, _request_timeout=TIMEOUT)
            # The client takes any page for an empty answer, and a sign-in page for a server without
            # runs.
            if not isinstance(json.loads(self.client.last_response.data), dict):
                raise ValueError("no JSON object")
            return answer

    def _listed(
        self, asked: str, function: Callable[..., Any], field: str, **arguments: Any
    ) -> Iterator[Any]:
        token = ""
        while True:
            page = self.call(asked, function, page_token=token, page_size=100, **arguments)
            yield from getattr(page, field) or ()
            token = page.next_page_token or ""
            if not token:
                return

    def _here(self) -> dict[str, str]:
        return {"namespace": self.namespace} if self.namespace else {}

    # ---- what runs belong to ----

    def find_experiment(self, name: str) -> str | None:
        """The id of an experiment, or None."""
        listing = self.experiments.experiment_service_list_experiments
        found = self._listed(
            f"find the experiment {name}",
            listing,
            "experiments",
            filter=_named(name),
            **self._here(),
        )
        return next((str(one.experiment_id) for one in found), None)

    def experiment(self, name: str = EXPERIMENT) -> str:
        """The id of an experiment, which is made when it is not there."""
        found = self.find_experiment(name)
        if found is not None:
            return found
        body = self.models.V2beta1Experiment(display_name=name, **self._here())
        making = self.experiments.experiment_service_create_experiment
        return str(self.call(f"make the experiment {name}", making, experiment=body).experiment_id)

    def find_version(self, version: str) -> tuple[str, str] | None:
        """(pipeline's id, version's id) of a package that was uploaded before."""
        pipeline = self._pipeline()
        if pipeline is None:
            return None
        listing = self.pipelines.pipeline_service_list_pipeline_versions
        asked = f"find version {version} of the pipeline {PIPELINE}"
        for one in self._listed(
            asked, listing, "pipeline_versions", pipeline_id=pipeline, filter=_named(version)
        ):
            return pipeline, str(one.pipeline_version_id)
        return None

    def version(self, text: str, version: str) -> tuple[str, str]:
        """(pipeline's id, version's id) of a package; it is uploaded unless it was before."""
        found = self.find_version(version)
        if found is not None:
            return found
        pipeline = self._pipeline()
        if pipeline is None:
            body = self.models.V2beta1Pipeline(display_name=PIPELINE, name=PIPELINE, **self._here())
            making = self.pipelines.pipeline_service_create_pipeline
            pipeline = str(
                self.call(f"make the pipeline {PIPELINE}", making, pipeline=body).pipeline_id
            )
        with tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
            path = Path(scratch) / "pipeline.yaml"
            path.write_text(text)
            made = self.call(
                f"upload version {version} of the pipeline {PIPELINE}",
                self.uploads.upload_pipeline_version,
                uploadfile=str(path),
                name=version,
                display_name=version,
                pipelineid=pipeline,
            )
        return pipeline, str(made.pipeline_version_id)

    def _pipeline(self) -> str | None:
        listing = self.pipelines.pipeline_service_list_pipelines
        asked = f"find the pipeline {PIPELINE}"
        for one in self._listed(
            asked, listing, "pipelines", filter=_named(PIPELINE), **self._here()
        ):
            return str(one.pipeline_id)
        return None

    # ---- runs ----

    def submit(
        self, name: str, run_uri: str, experiment: str, version: tuple[str, str], account: str
    ) -> str:
        """Starts a run; returns KFP's id of it."""
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
        """KFP's id of the run of that name, or None."""
        listing = self.runs.run_service_list_runs
        found = self._listed(
            f"find the run {name}", listing, "runs", filter=_named(name), **self._here()
        )
        return next((str(one.run_id) for one in found), None)

    def run(self, run_id: str) -> Any:
        """A run as the server knows it: state, error, times."""
        return self.call(f"tell of run {run_id}", self.runs.run_service_get_run, run_id=run_id)

    def terminate(self, run_id: str) -> None:
        self.call(f"end run {run_id}", self.runs.run_service_terminate_run, run_id=run_id)

    def url(self, run_id: str) -> str:
        """The page of a run. KF_PIPELINES_UI_ENDPOINT is where the pages are, when not beside
        the API.
        """
        return f"{os.environ.get('KF_PIPELINES_UI_ENDPOINT', self.host).rstrip('/')}/#/runs/details/{run_id}"

    def wait(
        self,
        run_id: str,
        every: float = 10.0,
        patience: int = 30,
        look: Callable[[], None] | None = None,
    ) -> str:
        """The state in which a run ended. `patience` answers in a row may be lost: the run goes
        on without us.
        """
        lost = 0
        while True:
            try:
                state = str(self.run(run_id).state or "")
                lost = 0
                if state in FINISHED:
                    return state
            except KfpError as error:
                lost += 1
                if error.status in (400, 401, 403, 404) or lost > patience:
                    raise KfpError(
                        f"{error}. The run goes on; `xstilts status` tells how it is", error.status
                    ) from error
            if look is not None:
                look()
            time.sleep(every)

    # ---- recurring runs ----

    def recurring_runs(self) -> list[Any]:
        """All recurring runs that can be seen."""
        listing = self.recurring.recurring_run_service_list_recurring_runs
        return list(
            self._listed("list the recurring runs", listing, "recurring_runs", **self._here())
        )

    def create_recurring(self, body: Mapping[str, Any]) -> str:
        """Makes a recurring run of the fields of V2beta1RecurringRun; returns its id."""
        models = self.models
        trigger = models.V2beta1Trigger(
            cron_schedule=models.V2beta1CronSchedule(**body["cron_schedule"])
        )
        made = models.V2beta1RecurringRun(
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
        asked = f"make the recurring run {body['display_name']}"
        return str(self.call(asked, function, recurring_run=made).recurring_run_id)

    def delete_recurring(self, run_id: str, name: str) -> None:
        function = self.recurring.recurring_run_service_delete_recurring_run
        self.call(f"delete the recurring run {name}", function, recurring_run_id=run_id)

    def enable_recurring(self, run_id: str, name: str, enabled: bool) -> None:
        what = "enable" if enabled else "disable"
        function = getattr(self.recurring, f"recurring_run_service_{what}_recurring_run")
        self.call(f"{what} the recurring run {name}", function, recurring_run_id=run_id)


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
