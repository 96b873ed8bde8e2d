"""What tasks need on a cluster only: images, environment, accounts, nodes, retries, timeouts,
resources.

Local runners use the pipeline without these settings. Credentials appear only by name: a Secret
and its keys.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from kfp import dsl, kubernetes
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from components.images import reference
from components.launch.rayjob import NETWORK_PREFIXES
from xstilts.errors import PlanError
from xstilts.input_files import read_yaml
from xstilts.plan.placement import Toleration
from xstilts.plan.plan_errors import problems_of

log = logging.getLogger(__name__)

#: Sets up a task of the pipeline for the place where it runs.
TaskSetup = Callable[[dsl.PipelineTask], dsl.PipelineTask]

#: Keys of the ConfigMap, each the name of an environment variable. Keys may be absent.
CONFIGURATION = (
    "XSTILTS_STORE",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "XSTILTS_LAUNCHER",
    "XSTILTS_RAY_ADDRESS",
    "XSTILTS_RAY_SERVICE_ACCOUNT",
    "XSTILTS_RAY_NAMESPACE",
    "XSTILTS_PRIORITY_CLASS",
    "XSTILTS_QUEUE",
    "XSTILTS_LEASE_SECONDS",
    "XSTILTS_RESIZE_SECONDS",
    "XSTILTS_RAY_START_SECONDS",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
)
#: Keys of the optional Secret; clusters that give pods an identity (IRSA, workload identity) need
#: none.
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
#: Component → further keys of the Secret: the hub's token, for gated data sets and models, and the
#: token of an existing Ray cluster (XSTILTS_LAUNCHER=ray).
TOKENS: Mapping[str, tuple[str, ...]] = {
    "plan": ("HF_TOKEN",), "stage": ("HF_TOKEN",), "finetune": ("HF_TOKEN", "RAY_AUTH_TOKEN"),
    "score": ("HF_TOKEN", "RAY_AUTH_TOKEN"),
}  # fmt: skip
#: The components that launch workers.
LAUNCHING = ("finetune", "score")
#: Fields of the pod as environment variables. XSTILTS_FIRING is KFP's id of the run, which
#: distinguishes the firings of a schedule.
FIELDS = {
    "XSTILTS_NAMESPACE": "metadata.namespace",
    "XSTILTS_POD_NAME": "metadata.name",
    "XSTILTS_POD_UID": "metadata.uid",
    "XSTILTS_FIRING": "metadata.labels['pipeline/runid']",
}
LABELS = {"app.kubernetes.io/part-of": "xstilts", "app.kubernetes.io/component": "step"}
#: Task → the component and Dockerfile stage whose image it shares.
IMAGE_OF = {
    "build": ("finetune", "worker"),
    "verdict": ("report", "step"),
}
#: File in every image with the library versions of its lock (images/install.py).
VERSIONS = "/opt/xstilts/versions.json"
#: Largest values of settings; KFP and Kubernetes have 32 bits for them, the days in seconds.
MOST_PARALLEL, MOST_DAYS = 10_000, 10_000
#: The user that every image runs as.
USER = 1000


class Needs(BaseModel):
    """Resources, retries and timeout of one component. hours: timeout of one attempt."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu: str
    memory: str
    cpu_limit: str
    memory_limit: str
    hours: Annotated[float, Field(gt=0, le=24 * 365, allow_inf_nan=False)]
    retries: Annotated[int, Field(ge=0, le=10)] = 2


#: finetune and score only watch a RayJob; with XSTILTS_LAUNCHER=local they train in the step and
#: need more.
NEEDS: Mapping[str, Needs] = {
    "plan": Needs(cpu="500m", memory="1Gi", cpu_limit="2", memory_limit="4Gi", hours=1),
    "stage": Needs(cpu="1", memory="4Gi", cpu_limit="4", memory_limit="16Gi", hours=12),
    "build": Needs(cpu="1", memory="2Gi", cpu_limit="4", memory_limit="8Gi", hours=2),
    "finetune": Needs(cpu="250m", memory="1Gi", cpu_limit="2", memory_limit="4Gi", hours=168),
    "score": Needs(cpu="250m", memory="1Gi", cpu_limit="2", memory_limit="4Gi", hours=72),
    "report": Needs(cpu="1", memory="2Gi", cpu_limit="4", memory_limit="8Gi", hours=4),
    "verdict": Needs(
        cpu="100m", memory="256Mi", cpu_limit="1", memory_limit="1Gi", hours=0.25, retries=1
    ),
}


def _network_variable(name: str) -> str:
    if not name.startswith(NETWORK_PREFIXES):
        raise ValueError(
            f"{name!r} is not a network variable; allowed prefixes: {', '.join(NETWORK_PREFIXES)}"
        )
    return name


class ClusterSettings(BaseModel):
    """What differs between clusters: `--settings FILE` (YAML). Nothing here can change a result.

    node_selector, tolerations: of steps; Ray pods follow the plan's resources.cluster. network:
    variables for NCCL and similar libraries in worker pods. batches, groups: how many run at the
    same time; groups: if None, `resources.groups` of the plan (1 for `compile`). ttl_days: how long
    pods of a finished run are kept. days: timeout of a whole run. timezone: of KFP's cron. hub:
    whether data comes directly from the hub; `submit` and schedules set it. tasks: component →
    resources that replace the default ones.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    config_map: str = "xstilts-config"
    secret: str = "xstilts-s3"
    service_account: str = "xstilts-step"
    node_selector: Mapping[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    network: Mapping[Annotated[str, AfterValidator(_network_variable)], str] = {}
    batches: Annotated[int, Field(ge=1, le=MOST_PARALLEL)] = 2
    groups: Annotated[int, Field(ge=1, le=MOST_PARALLEL)] | None = None
    ttl_days: Annotated[int, Field(ge=1, le=MOST_DAYS)] = 7
    days: Annotated[int, Field(ge=1, le=MOST_DAYS)] = 30
    timezone: str = "UTC"
    hub: bool = False
    tasks: Mapping[
        Literal["plan", "stage", "build", "finetune", "score", "report", "verdict"], Needs
    ] = {}

    def needs(self, component: str) -> Needs:
        by_name = {str(name): needs for name, needs in self.tasks.items()}
        return by_name.get(component, NEEDS[component])

    def with_hours(self, hours: float) -> "ClusterSettings":
        """These settings with timeouts of finetune and score above `hours`, the time that their
        Ray jobs may wait and run: a step must outlive its job to report how it ended.
        """
        longer = {
            name: self.needs(name).model_copy(
                update={"hours": max(self.needs(name).hours, hours + 1.0)}
            )
            for name in LAUNCHING
        }
        return self.model_copy(update={"tasks": {**self.tasks, **longer}})


def without_cache(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Turns KFP's cache off: xstilts skips finished steps itself."""
    return task.set_caching_options(False)


def cluster_setup(settings: ClusterSettings) -> TaskSetup:
    """The function that sets up a task for a cluster with these settings."""

    def setup(task: dsl.PipelineTask) -> dsl.PipelineTask:
        component = task.component_spec.name
        without_cache(task).set_container_image(image_of(component, "step", settings.hub))
        _environment(task, component, settings)
        _resources(task, settings.needs(component))
        _placement(task, settings)
        return task

    return setup


def image_of(component: str, stage: Literal["step", "worker"], hub: bool) -> str:
    """The image of a task.

    stage: `worker` for a task that does the work itself, without other pods. hub: whether data
    comes directly from the hub; plan then needs the image of stage, which has the library that
    reads the hub's layouts.
    """
    if component == "plan" and hub:
        return reference("stage")
    name, image_stage = IMAGE_OF.get(component, (component, stage))
    return reference(name, image_stage)


def with_versions(task: dsl.PipelineTask, hub: bool) -> dsl.PipelineTask:
    """Sets XSTILTS_VERSIONS for plan in the image of stage; plan's own image sets it."""
    return (
        task.set_env_variable("XSTILTS_VERSIONS", VERSIONS)
        if hub and task.component_spec.name == "plan"
        else task
    )


def _environment(task: dsl.PipelineTask, component: str, settings: ClusterSettings) -> None:
    kubernetes.use_config_map_as_env(
        task, settings.config_map, {key: key for key in CONFIGURATION}, optional=True
    )
    keys = (*CREDENTIALS, *TOKENS.get(component, ()))
    kubernetes.use_secret_as_env(task, settings.secret, {key: key for key in keys}, optional=True)
    for variable, path in FIELDS.items():
        kubernetes.use_field_path_as_env(task, variable, path)
    with_versions(task, settings.hub)
    if component in LAUNCHING:
        task.set_env_variable("XSTILTS_WORKER_IMAGE", reference(component, "worker"))
        task.set_env_variable("XSTILTS_S3_SECRET", settings.secret)
        for variable, value in settings.network.items():
            task.set_env_variable(variable, value)


def _resources(task: dsl.PipelineTask, needs: Needs) -> None:
    task.set_cpu_request(needs.cpu).set_cpu_limit(needs.cpu_limit)
    task.set_memory_request(needs.memory).set_memory_limit(needs.memory_limit)
    seconds = round(needs.hours * 3600)
    kubernetes.set_timeout(task, seconds)
    # Argo counts backoff_max_duration from the start of the first attempt: with less than the time
    # of all attempts, a step that fails after hours would not be retried.
    maximum = f"{(needs.retries + 1) * (seconds + 600)}s"
    task.set_retry(
        needs.retries, backoff_duration="30s", backoff_factor=2.0, backoff_max_duration=maximum
    )


def _placement(task: dsl.PipelineTask, settings: ClusterSettings) -> None:
    for key, value in LABELS.items():
        kubernetes.add_pod_label(task, key, value)
    for key, value in settings.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in settings.tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump())
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    kubernetes.set_image_pull_policy(task, settings.pull_policy)
    if settings.pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(settings.pull_secrets))


def run_config(settings: ClusterSettings) -> dsl.PipelineConfig:
    """Settings of a whole run: its timeout, and how long its pods are kept."""
    day = 86_400
    return dsl.PipelineConfig(
        ttl_seconds_after_finished=settings.ttl_days * day,
        active_deadline_seconds=settings.days * day,
    )


def load_settings(file: Path | None) -> ClusterSettings:
    """Reads settings from a YAML file; without one, the defaults. Raises PlanError with every
    mistake.
    """
    if file is None:
        return ClusterSettings()
    log.info("settings %s", file)
    try:
        return ClusterSettings.model_validate(read_yaml(file) or {})
    except ValidationError as error:
        problems = problems_of(ClusterSettings, error)
        lines = [f"{file}: invalid settings (docs/kubeflow.md):", *(f"  - {p}" for p in problems)]
        raise PlanError("\n".join(lines)) from error
