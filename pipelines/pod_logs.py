"""The logs of a run's pods, from the Kubernetes API."""

from collections.abc import Iterator
from typing import Any

from xstilts.errors import InfrastructureError


def pod_logs(run_id: str, namespace: str, tail: int) -> Iterator[tuple[str, str, str]]:
    """(pod, phase, end of its log) of every pod that runs a component of a KFP run, oldest first. Raises
    InfrastructureError when the API cannot be reached or refuses; its message says what to do."""
    from kubernetes import client

    _configure()
    core = client.CoreV1Api()
    asked = f"the pods of run {run_id} in namespace {namespace}"
    pods = _ask(asked, core.list_namespaced_pod, namespace, label_selector=f"pipeline/runid={run_id}").items
    for pod in sorted(pods, key=lambda pod: str(pod.metadata.creation_timestamp)):
        labels = pod.metadata.labels or {}
        if labels.get("app.kubernetes.io/part-of") != "xstilts":
            continue  # KFP's drivers
        name, phase = pod.metadata.name, str(pod.status.phase)
        if phase == "Pending":
            yield name, phase, _waiting(pod)
            continue
        reading = core.read_namespaced_pod_log
        try:
            log = _ask(f"the log of {name}", reading, name, namespace, container="main", tail_lines=tail)
        except InfrastructureError as error:  # one pod that is gone hides no other
            log = f"(no log: {error})"
        yield name, phase, log or ""


def _waiting(pod: Any) -> str:
    """Why a pod does not run yet, in Kubernetes' words."""
    states = [status.state.waiting for status in pod.status.container_statuses or () if status.state.waiting]
    conditions = [c.message for c in pod.status.conditions or () if c.status == "False" and c.message]
    return "; ".join([*(f"{s.reason}: {s.message or ''}".rstrip(": ") for s in states), *conditions]) or "waiting"


def _configure() -> None:
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
        raise InfrastructureError(f"Kubernetes refuses {what} ({error.status} {error.reason}): {todo}") from error
    except HTTPError as error:
        raise InfrastructureError(
            f"Kubernetes cannot be reached for {what} ({type(error).__name__}): check KUBECONFIG and the way to the cluster"
        ) from error
