"""Whether the controllers of KubeRay and Kueue answer. Their CRDs and Deployments may be there
while nothing acts on a RayJob.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from components.launch.kubernetes import RAYJOBS, Api, ApiError, epoch

#: (passed, what was checked and, if it is missing, what to do). None: it could not be checked.
Line = tuple[bool | None, str]

#: Label of the operator's pods in KubeRay's manifests and chart; k8s/base lets pods with this label
#: reach Ray's head.
OPERATOR = "app.kubernetes.io/component=kuberay-operator"
#: Seconds after which a lease that its holder renews every few seconds is stale, with clock skew.
STALE_SECONDS = 120.0
QUEUE = "kueue.x-k8s.io/queue-name"


def operator(api: Api) -> Line:
    """Whether a pod of the operator is ready and its leader renews its lease. Without it the CRD
    may remain, and RayJobs are accepted but never start.
    """
    what = f"KubeRay's operator (pods of any namespace with {OPERATOR})"
    try:
        pods = api.request("GET", "/api/v1/pods", query={"labelSelector": OPERATOR}).get(
            "items", []
        )
    except ApiError as error:
        if error.status == 403:  # steps lack this right; the operator may still be there
            text = "not checked: no permission to list pods of all namespaces; ask an administrator"
            return None, f"{what}: {text}"
        return False, f"{what}: check failed: {error}"
    if not pods:
        return False, f"{what}: absent; install KubeRay 1.7: without the operator no RayJob starts"
    running = [pod["metadata"] for pod in pods if _is_ready(pod)]
    if not running:
        first = pods[0]["metadata"]
        command = f"kubectl -n {first['namespace']} describe pod {first['name']}"
        return False, f"{what}: not ready, so no RayJob starts; see `{command}`"
    name, namespace = running[0]["name"], running[0]["namespace"]
    age = _lease_age(api, namespace, {pod["name"] for pod in running})
    if age is not None and age > STALE_SECONDS:
        return False, (
            f"{what}: {name} in {namespace} is ready, but has not renewed its lease for {age:.0f} s"
            f"; see `kubectl -n {namespace} logs {name}`"
        )
    return True, f"{what}: {name} in {namespace}"


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _lease_age(api: Api, namespace: str, pods: set[str]) -> float | None:
    """Seconds since a leader among these pods renewed its lease; None if there is none to read."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    try:
        leases = api.request("GET", path).get("items", [])
    except ApiError as error:
        if error.status in (403, 404):
            return None
        raise
    renewed = [
        epoch(lease["spec"]["renewTime"])
        for lease in leases
        if lease["spec"].get("holderIdentity", "").partition("_")[0] in pods
    ]
    return time.time() - max(renewed) if renewed else None


def kueue(api: Api, namespace: str, environment: Mapping[str, str]) -> Iterator[Line]:
    """Whether Kueue takes RayJobs: a dry run of one with a queue must come back suspended."""
    queue = environment.get("XSTILTS_QUEUE")
    if not queue:
        return
    what = "Kueue's controller (dry run of a RayJob)"
    try:
        answer = api.request(
            "POST",
            RAYJOBS.format(namespace=namespace),
            body=_probe(namespace, queue),
            query={"dryRun": "All"},
        )
    except ApiError as error:
        if error.status in (401, 403):
            yield None, f"{what}: not checked: you may not create RayJobs in {namespace}"
        else:
            yield False, f"{what}: {error}"
        return
    suspended = bool(answer.get("spec", {}).get("suspend"))
    advice = (
        "it does not manage RayJobs; is it running, with ray.io/rayjob in integrations.frameworks?"
    )
    yield suspended, what if suspended else f"{what}: {advice}"


def _probe(namespace: str, queue: str) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "ray", "image": "none"}]}}
    head = {"rayStartParams": {}, "template": template}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {
            "name": "xstilts-doctor",
            "namespace": namespace,
            "labels": {QUEUE: queue},
        },
        "spec": {
            "entrypoint": "true",
            "shutdownAfterJobFinishes": True,
            "rayClusterSpec": {"headGroupSpec": head, "workerGroupSpecs": []},
        },
    }
