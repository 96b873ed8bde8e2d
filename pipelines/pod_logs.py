"""The logs of a run's pods, from the Kubernetes API. They need the rights to list pods and to
get pods/log, and no more.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from xstilts.errors import InfrastructureError

#: Phases in which a pod says nothing more.
OVER = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Pod:
    """A pod that runs a component. waiting: why it does not run yet, in Kubernetes' words; empty
    when it does.
    """

    name: str
    phase: str
    waiting: str = ""


def pods_of(run_id: str, namespace: str) -> list[Pod]:
    """The pods of a KFP run that run a component, oldest first, after `configure`. Raises
    InfrastructureError when the API cannot be reached or refuses; its message says what to do.
    """
    from kubernetes import client

    asked = f"the pods of run {run_id} in namespace {namespace}"
    listing = client.CoreV1Api().list_namespaced_pod
    pods = _ask(asked, listing, namespace, label_selector=f"pipeline/runid={run_id}").items
    found = []
    for pod in sorted(pods, key=lambda pod: str(pod.metadata.creation_timestamp)):
        if (pod.metadata.labels or {}).get(
            "app.kubernetes.io/part-of"
        ) == "xstilts":  # the others are KFP's drivers
            phase = str(pod.status.phase)
            found.append(Pod(pod.metadata.name, phase, _waiting(pod) if phase == "Pending" else ""))
    return found


def log_of(name: str, namespace: str, **more: Any) -> str:
    """The log of a pod's component. more: tail_lines, since_seconds, timestamps. Raises
    InfrastructureError.
    """
    from kubernetes import client

    reading = client.CoreV1Api().read_namespaced_pod_log
    return str(_ask(f"the log of {name}", reading, name, namespace, container="main", **more) or "")


def pod_logs(run_id: str, namespace: str, tail: int) -> Iterator[tuple[str, str, str]]:
    """(pod, phase, end of its log) of every pod that runs a component of a KFP run, oldest
    first. Raises InfrastructureError when the API cannot be reached or refuses; its message says
    what to do.
    """
    configure()
    for pod in pods_of(run_id, namespace):
        if pod.phase == "Pending":
            yield pod.name, pod.phase, pod.waiting
            continue
        try:
            log = log_of(pod.name, namespace, tail_lines=tail)
        except InfrastructureError as error:  # one pod that is gone hides no other
            log = f"(no log: {error})"
        yield pod.name, pod.phase, log


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
    """Finds the cluster and this person's credentials, which may be asked of a program. Raises
    InfrastructureError.
    """
    from kubernetes import config

    try:
        config.load_incluster_config()
    except config.ConfigException:
        try:
            config.load_kube_config()
        except (config.ConfigException, OSError) as error:
            raise InfrastructureError(
                f"no Kubernetes cluster is configured here ({error}): set KUBECONFIG, or read the logs on the run's page"
            ) from error


def _ask(what: str, function: Any, *arguments: Any, **more: Any) -> Any:
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return function(*arguments, **more, _request_timeout=(5, 60))
    except ApiException as error:
        todo = {
            401: "kubectl's credentials have run out; sign in again",
            403: "ask for a role that may get pods and pods/log in this namespace",
            404: "it is gone: pods are cleared away some days after a run; the store keeps its failures",
        }.get(int(error.status or 0), "look at the cluster's API server")
        raise InfrastructureError(
            f"Kubernetes refuses {what} ({error.status} {error.reason}): {todo}"
        ) from error
    except HTTPError as error:
        raise InfrastructureError(
            f"Kubernetes cannot be reached for {what} ({type(error).__name__}): check KUBECONFIG and the way to the cluster"
        ) from error
