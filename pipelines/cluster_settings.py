"""What a task needs on a cluster and nowhere else: images, environment, accounts, nodes, retries,
time-outs, resources.

The local runners keep the plain pipeline. Credentials are named here (a Secret and its keys) and
never seen.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from kfp import dsl, kubernetes
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from components.images import reference
from components.launch.rayjob import HANDED_ON
from xstilts.errors import PlanError

Dress = Callable[[dsl.PipelineTask], dsl.PipelineTask]

#: Keys of the ConfigMap, each the name of an environment variable. A key that is absent leaves its
#: variable unset.
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
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
)
#: Keys of the optional Secret; a cluster that gives pods an identity (IRSA, workload identity) has
#: none.
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
#: More keys that the Secret may have, for the components that use them: the hub's token, for gated
#: sets and models, and that of a Ray cluster whose dashboard asks for one (XSTILTS_LAUNCHER=ray).
TOKENS: Mapping[str, tuple[str, ...]] = {
    "plan": ("HF_TOKEN",), "stage": ("HF_TOKEN",), "finetune": ("HF_TOKEN", "RAY_AUTH_TOKEN"),
    "score": ("HF_TOKEN", "RAY_AUTH_TOKEN"),
}  # fmt: skip
#: The components that launch workers.
LAUNCHING = ("finetune", "score")
#: What a pod knows of itself. XSTILTS_FIRING is KFP's id of the run: what tells the firings of one
#: schedule apart.
FIELDS = {
    "XSTILTS_NAMESPACE": "metadata.namespace",
    "XSTILTS_POD_NAME": "metadata.name",
    "XSTILTS_POD_UID": "metadata.uid",
    "XSTILTS_FIRING": "metadata.labels['pipeline/runid']",
}
LABELS = {"app.kubernetes.io/part-of": "xstilts", "app.kubernetes.io/component": "step"}
#: The component, and the stage of its Dockerfile, whose image a task shares.
IMAGE_OF = {
    "work": ("plan", "step"),
    "build": ("finetune", "worker"),
    "verdict": ("report", "step"),
}
#: Where every image has the versions of the lock that it was built by (images/install.py).
VERSIONS = "/opt/xstilts/versions.json"
#: The user that every image runs as.
USER = 1000


class Needs(BaseModel):
    """Resources, retries and time-out of one component. hours: how long one attempt may take."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu: str
    memory: str
    cpu_limit: str
    memory_limit: str
    hours: Annotated[float, Field(gt=0)]
    retries: Annotated[int, Field(ge=0, le=10)] = 2


#: finetune and score only watch a RayJob from their step; with XSTILTS_LAUNCHER=local they train in
#: it and need more.
NEEDS: Mapping[str, Needs] = {
    "plan": Needs(cpu="500m", memory="1Gi", cpu_limit="2", memory_limit="4Gi", hours=1),
    "work": Needs(cpu="100m", memory="256Mi", cpu_limit="1", memory_limit="1Gi", hours=0.25),
    "stage": Needs(cpu="1", memory="4Gi", cpu_limit="4", memory_limit="16Gi", hours=12),
    "build": Needs(cpu="1", memory="2Gi", cpu_limit="4", memory_limit="8Gi", hours=2),
    "finetune": Needs(cpu="250m", memory="1Gi", cpu_limit="2", memory_limit="4Gi", hours=168),
    "score": Needs(cpu="250m", memory="1Gi", cpu_limit="2", memory_limit="4Gi", hours=72),
    "report": Needs(cpu="1", memory="2Gi", cpu_limit="4", memory_limit="8Gi", hours=4),
    "verdict": Needs(
        cpu="100m", memory="256Mi", cpu_limit="1", memory_limit="1Gi", hours=0.25, retries=1
    ),
}


def _of_the_network(name: str) -> str:
    if not name.startswith(HANDED_ON):
        raise ValueError(
            f"{name!r} is no setting of the workers' network; those begin with {', '.join(HANDED_ON)}"
        )
    return name


class Toleration(BaseModel):
    """A taint that steps put up with, in Kubernetes' words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str | None = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Settings(BaseModel):
    """What differs between clusters: `--settings FILE` (YAML). Nothing here can change a result.

    node_selector, tolerations: for steps; Ray's pods follow the plan's resources.cluster. network:
    what NCCL and its like are told of this site's network, in the workers' pods. batches, groups:
    how many run side by side. ttl_days: how long a finished run's pods are kept. days: most that a
    whole run may take. timezone: the one that KFP's server reads cron in. hub: whether data comes
    straight from the hub; `submit` and schedules set it by the run's mirror. tasks: component → its
    needs, in place of the shipped ones.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    config_map: str = "xstilts-config"
    secret: str = "xstilts-s3"
    service_account: str = "xstilts-step"
    node_selector: Mapping[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    network: Mapping[Annotated[str, AfterValidator(_of_the_network)], str] = {}
    batches: Annotated[int, Field(ge=1)] = 2
    groups: Annotated[int, Field(ge=1)] = 1
    ttl_days: Annotated[int, Field(ge=1)] = 7
    days: Annotated[int, Field(ge=1)] = 30
    timezone: str = "UTC"
    hub: bool = False
    tasks: Mapping[
        Literal["plan", "work", "stage", "build", "finetune", "score", "report", "verdict"], Needs
    ] = {}

    def needs(self, component: str) -> Needs:
        tasks: Mapping[str, Needs] = dict(self.tasks)
        return tasks.get(component, NEEDS[component])

    def lasting(self, hours: float) -> "Settings":
        """These settings with time-outs of finetune and score above `hours`, which the Ray jobs
        that they watch may wait and run: a step must outlive its job to tell how it ended.
        """
        longer = {
            name: self.needs(name).model_copy(
                update={"hours": max(self.needs(name).hours, hours + 1.0)}
            )
            for name in LAUNCHING
        }
        return self.model_copy(update={"tasks": {**self.tasks, **longer}})


def plain(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Every task is our own to cache, never KFP's."""
    return task.set_caching_options(False)


def dressed(settings: Settings) -> Dress:
    """The function that makes a task of the pipeline ready for a cluster with these settings."""

    def dress(task: dsl.PipelineTask) -> dsl.PipelineTask:
        component = task.component_spec.name
        plain(task).set_container_image(image_of(component, "step", settings.hub))
        _environment(task, component, settings)
        _resources(task, settings.needs(component))
        _placement(task, settings)
        return task

    return dress


def image_of(component: str, stage: Literal["step", "worker"], hub: bool) -> str:
    """The image that a task runs in, on a cluster and on this machine.

    stage: `worker` where a task does its own work and waits for no pod that does it. hub: whether
    data comes straight from the hub. plan then takes the image of stage: the package that knows the
    hub's layouts is larger than plan's own.
    """
    if component == "plan" and hub:
        return reference("stage")
    name, of = IMAGE_OF.get(component, (component, stage))
    return reference(name, of)


def told_versions(task: dsl.PipelineTask, hub: bool) -> dsl.PipelineTask:
    """In the image of stage, plan must be told where the versions stand that its own image's
    environment names.
    """
    return (
        task.set_env_variable("XSTILTS_VERSIONS", VERSIONS)
        if hub and task.component_spec.name == "plan"
        else task
    )


def _environment(task: dsl.PipelineTask, component: str, settings: Settings) -> None:
    kubernetes.use_config_map_as_env(
        task, settings.config_map, {key: key for key in CONFIGURATION}, optional=True
    )
    keys = (*CREDENTIALS, *TOKENS.get(component, ()))
    kubernetes.use_secret_as_env(task, settings.secret, {key: key for key in keys}, optional=True)
    for variable, path in FIELDS.items():
        kubernetes.use_field_path_as_env(task, variable, path)
    told_versions(task, settings.hub)
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
    # Argo counts backoff_max_duration from the first attempt's start: less than all attempts
    # together, and a step that fails after hours would not be tried again.
    whole = f"{(needs.retries + 1) * (seconds + 600)}s"
    task.set_retry(
        needs.retries, backoff_duration="30s", backoff_factor=2.0, backoff_max_duration=whole
    )


def _placement(task: dsl.PipelineTask, settings: Settings) -> None:
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


def run_config(settings: Settings) -> dsl.PipelineConfig:
    """What holds for a whole run: how long it may take, and how long its pods are kept
    afterwards.
    """
    day = 86_400
    return dsl.PipelineConfig(
        ttl_seconds_after_finished=settings.ttl_days * day,
        active_deadline_seconds=settings.days * day,
    )


def load_settings(file: str | None) -> Settings:
    """Settings from a YAML file; without one the shipped ones. PlanError names every mistake."""
    if file is None:
        return Settings()
    try:
        return Settings.model_validate(yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {})
    except OSError as error:
        raise PlanError(f"{file}: cannot read the settings: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise PlanError(f"{file}: is not YAML: {error}") from error
    except ValidationError as error:
        wrong = [f"  - {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise PlanError(
            "\n".join([f"{file}: the settings have mistakes (docs/kubeflow.md):", *wrong])
        ) from error
