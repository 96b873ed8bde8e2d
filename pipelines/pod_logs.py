"""The logs of a run's pods, from the Kubernetes API. Needs the rights to list pods and get
pods/log.
"""

from dataclasses import dataclass
from typing import Any

from components.launch.kubernetes import load_kubeconfig
from pipelines.log_steps import StepName, step_of_pod
from xstilts.errors import InfrastructureError

#: Phases in which a pod's log is complete.
OVER = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Pod:
    """A pod that runs a component.

    Attributes:
        name: of the pod.
        step: what it runs.
        phase: Kubernetes' phase.
        created: seconds since the epoch.
        waiting: Kubernetes' reason why it does not run yet.
    """

    name: str
    step: StepName
    phase: str
    created: float
    waiting: str = ""

    @property
    def title(self) -> str:
        return f"==> {self.step} ({self.phase.lower()})"


def pods_of(run_id: str, namespace: str) -> list[Pod]:
    """The pods of a KFP run that run a component, oldest first. Call `configure` first. Raises
    InfrastructureError if the API is unreachable or denies access.
    """
    from kubernetes import client

    what = f"the pods of run {run_id} in namespace {namespace}"
    listing = client.CoreV1Api().list_namespaced_pod
    items = _request(what, listing, namespace, label_selector=f"pipeline/runid={run_id}").items
    pods = []
    for pod in items:
        metadata = pod.metadata
        if (metadata.labels or {}).get("app.kubernetes.io/part-of") != "xstilts":
            continue  # one of KFP's drivers
        phase = str(pod.status.phase)
        waiting = _waiting(pod) if phase == "Pending" else ""
        step, created = step_of_pod(metadata, pod.spec), metadata.creation_timestamp.timestamp()
        pods.append(Pod(metadata.name, step, phase, created, waiting))
    return sorted(pods, key=lambda pod: (pod.created, pod.name))


def log_of(name: str, namespace: str, **options: Any) -> str:
    """The log of a pod's component. options: tail_lines, since_seconds, timestamps. Raises
    InfrastructureError.
    """
    from kubernetes import client

    reading = client.CoreV1Api().read_namespaced_pod_log
    what = f"the log of {name}"
    return str(_request(what, reading, name, namespace, container="main", **options) or "")


def _waiting(pod: Any) -> str:
    states = [
        status.state.waiting
        for status in pod.status.container_statuses or ()
        if status.state.waiting
    ]
    conditions = [
        c.message for c in pod.status.conditions or () if c.status == "False" and c.message
    ]
    return (
        "; ".join([*(f"{s.reason}: {s.message or ''}".rstrip(": ") for s in states), *conditions])
        or "waiting"
    )


def configure() -> None:
    """Loads the cluster and credentials of this pod or of the kubeconfig. Raises
    InfrastructureError if there are none.
    """
    from kubernetes import config

    try:
        config.load_incluster_config()
    except config.ConfigException:
        load_kubeconfig("or read the logs on the run's page")


def _request(what: str, function: Any, *arguments: Any, **options: Any) -> Any:
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return function(*arguments, **options, _request_timeout=(5, 60))
    except ApiException as error:
        advice = {
            401: "not authenticated: sign in to the cluster again",
            403: "ask for a role that may get pods and pods/log in this namespace",
            404: "deleted: pods are removed after a run; its folder keeps the end of its logs",
        }.get(int(error.status or 0), "check the cluster's API server")
        raise InfrastructureError(
            f"cannot read {what} ({error.status} {error.reason}): {advice}"
        ) from error
    except HTTPError as error:
        raise InfrastructureError(
            f"cannot reach Kubernetes for {what} ({type(error).__name__}): check KUBECONFIG and "
            "the network"
        ) from error
