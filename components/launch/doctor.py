"""Checks a cluster for missing requirements, from a pod or a laptop: `xstilts doctor --cluster`."""

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from components.launch.kubernetes import Api, ApiError
from xstilts.errors import InfrastructureError, XstiltsError

#: (passed, what was checked and, if it is missing, what to do)
Line = tuple[bool, str]

#: The namespace of a single-user KFP, to which k8s/base is applied.
NAMESPACE = "kubeflow"
#: Service account → (API group, resource, verbs) that the launcher and the garbage collector need.
RIGHTS: Mapping[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "xstilts-step": (
        ("ray.io", "rayjobs", ("create", "get", "patch", "delete")),
        ("", "events", ("list",)),
    ),
    "xstilts-gc": (("ray.io", "rayjobs", ("list", "delete")),),
}
#: Label of the operator's pods in KubeRay's manifests and chart; k8s/base lets pods with this label
#: reach Ray's head.
OPERATOR = "app.kubernetes.io/component=kuberay-operator"
#: (kind and name, path in the API, whether it is optional, what to do)
OBJECTS = (
    (
        "ConfigMap xstilts-config",
        "/api/v1/namespaces/{ns}/configmaps/xstilts-config",
        False,
        "apply k8s/base",
    ),
    (
        "Secret xstilts-s3",
        "/api/v1/namespaces/{ns}/secrets/xstilts-s3",
        True,
        "required unless pods have a cloud identity",
    ),
    (
        "ServiceAccount xstilts-step",
        "/api/v1/namespaces/{ns}/serviceaccounts/xstilts-step",
        False,
        "apply k8s/base",
    ),
    (
        "ServiceAccount xstilts-ray",
        "/api/v1/namespaces/{ns}/serviceaccounts/xstilts-ray",
        False,
        "apply k8s/base",
    ),
    (
        "CronJob xstilts-gc",
        "/apis/batch/v1/namespaces/{ns}/cronjobs/xstilts-gc",
        False,
        "apply k8s/base; without it RayJobs of killed runs are not removed",
    ),
)


def api_here() -> Api:
    """The API server of this pod, or of the current context of the kubeconfig."""
    if os.environ.get("XSTILTS_KUBERNETES_API") or os.environ.get("KUBERNETES_SERVICE_HOST"):
        api = Api.in_cluster()
        api.patience = 10
        return api
    return Api.from_kubeconfig()


def checks(api: Api, namespace: str, environment: Mapping[str, str]) -> Iterator[Line]:
    """All checks, in the order in which to fix what is missing."""
    try:
        version = api.request("GET", "/version").get("gitVersion")
    except InfrastructureError as error:
        yield False, f"Kubernetes API: {error}"
        return
    yield True, f"Kubernetes {version} at {api.host}"
    yield _has(
        api, "KubeRay's CRD rayjobs.ray.io/v1", "/apis/ray.io/v1", "install KubeRay 1.7", "rayjobs"
    )
    yield _operator(api)
    for what, path, optional, advice in OBJECTS:
        passed, text = _has(api, f"{what} in {namespace}", path.format(ns=namespace), advice)
        yield passed or optional, text
    configuration = _configuration(api, namespace)
    environment = {**configuration, **environment}
    yield from _queue(api, namespace, environment)
    yield from _priority(api, environment)
    for account, rights in RIGHTS.items():
        for group, resource, verbs in rights:
            yield _may(api, namespace, account, group, resource, verbs)
    yield from _quota(api, namespace)
    yield _store(environment)


def _has(api: Api, what: str, path: str, advice: str, resource: str | None = None) -> Line:
    try:
        document = api.request("GET", path)
    except ApiError as error:
        if error.status == 404:
            return False, f"{what}: absent; {advice}"
        return False, f"{what}: check failed: {error}"
    if resource and resource not in {r.get("name") for r in document.get("resources", [])}:
        return False, f"{what}: absent; {advice}"
    return True, what


def _operator(api: Api) -> Line:
    """Whether a pod of the operator is ready. Without it the CRD may remain, and RayJobs are
    accepted but never start.
    """
    what = f"KubeRay's operator (pods of any namespace with {OPERATOR})"
    try:
        pods = api.request("GET", "/api/v1/pods", query={"labelSelector": OPERATOR}).get(
            "items", []
        )
    except ApiError as error:
        if error.status == 403:  # steps lack this right; the operator may still be there
            text = "not checked: no permission to list pods of all namespaces; ask an administrator"
            return True, f"{what}: {text}"
        return False, f"{what}: check failed: {error}"
    if not pods:
        return False, f"{what}: absent; install KubeRay 1.7: without the operator no RayJob starts"
    running = [pod["metadata"] for pod in pods if _is_ready(pod)]
    if not running:
        first = pods[0]["metadata"]
        command = f"kubectl -n {first['namespace']} describe pod {first['name']}"
        return False, f"{what}: not ready, so no RayJob starts; see `{command}`"
    return True, f"{what}: {running[0]['name']} in {running[0]['namespace']}"


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _configuration(api: Api, namespace: str) -> dict[str, str]:
    try:
        document = api.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/xstilts-config")
    except ApiError:
        return {}  # reported by its own check
    return dict(document.get("data") or {})


def _queue(api: Api, namespace: str, environment: Mapping[str, str]) -> Iterator[Line]:
    queue = environment.get("XSTILTS_QUEUE")
    if not queue:
        return
    advice = "apply k8s/components/kueue or unset XSTILTS_QUEUE; RayJobs would wait forever"
    path = f"namespaces/{namespace}/localqueues/{queue}"
    yield _kueue_has(api, f"Kueue LocalQueue {queue} in {namespace}", path, advice)


def _kueue_has(api: Api, what: str, path: str, advice: str) -> Line:
    """Checks the versions of Kueue's API that are in use."""
    last: Line = (False, "")
    for version in ("v1beta2", "v1beta1"):
        last = _has(api, what, f"/apis/kueue.x-k8s.io/{version}/{path}", advice)
        if last[0]:
            break
    return last


def _priority(api: Api, environment: Mapping[str, str]) -> Iterator[Line]:
    if name := environment.get("XSTILTS_PRIORITY_CLASS"):
        path = f"/apis/scheduling.k8s.io/v1/priorityclasses/{name}"
        yield _has(
            api,
            f"PriorityClass {name}",
            path,
            "apply k8s/base; pods that name it would be rejected",
        )
        if environment.get("XSTILTS_QUEUE"):
            advice = "apply k8s/components/kueue/cluster; Kueue rejects RayJobs that name it"
            kind = "workloadpriorityclasses"
            yield _kueue_has(api, f"Kueue WorkloadPriorityClass {name}", f"{kind}/{name}", advice)


def _may(
    api: Api, namespace: str, account: str, group: str, resource: str, verbs: tuple[str, ...]
) -> Line:
    what, denied = f"{account} may {', '.join(verbs)} {resource}", []
    for verb in verbs:
        attributes = {"namespace": namespace, "group": group, "resource": resource, "verb": verb}
        try:
            if not _allowed(api, namespace, account, attributes):
                denied.append(verb)
        except ApiError as error:
            return False, f"{what}: check failed: {error}"
    return not denied, f"{what}: denied: {', '.join(denied)}; apply k8s/base" if denied else what


def _allowed(api: Api, namespace: str, account: str, attributes: Mapping[str, str]) -> bool:
    """Reviews the account's access; without the right to do so, that of the caller."""
    user = f"system:serviceaccount:{namespace}:{account}"
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    try:
        spec: dict[str, Any] = {"user": user, "resourceAttributes": dict(attributes)}
        answer = api.request("POST", path, body={**body, "spec": spec})
    except ApiError as error:
        if error.status != 403:
            raise
        body["kind"], path = "SelfSubjectAccessReview", path.replace("subject", "selfsubject")
        answer = api.request(
            "POST", path, body={**body, "spec": {"resourceAttributes": dict(attributes)}}
        )
    return bool(answer["status"]["allowed"])


def _quota(api: Api, namespace: str) -> Iterator[Line]:
    """One line for each quota, with its use. A full one is MISSING: no pod would start."""
    try:
        quotas = api.request("GET", f"/api/v1/namespaces/{namespace}/resourcequotas").get(
            "items", []
        )
    except ApiError as error:
        if error.status != 404:
            yield False, f"quotas of {namespace}: check failed: {error}"
        return
    for quota in quotas:
        status = quota.get("status", {})
        hard, used = status.get("hard", {}), status.get("used", {})
        full = [key for key, limit in hard.items() if used.get(key) == limit]
        shown = ", ".join(
            f"{key} {used.get(key, '0')} of {limit}" for key, limit in sorted(hard.items())
        )
        advice = f"; exhausted: {', '.join(full)}; no pod starts" if full else ""
        yield not full, f"quota {quota['metadata']['name']}: {shown}{advice}"


def _store(environment: Mapping[str, str]) -> Line:
    """Writes, reads and deletes a small object."""
    from xstilts.store.store import Store

    uri = environment.get("XSTILTS_STORE")
    if not uri:
        return False, "store: XSTILTS_STORE is not set; set it in ConfigMap xstilts-config"
    key, text = f"doctor/{uuid.uuid4()}", b"written by xstilts doctor"
    try:
        store = Store.open(uri)
        store.put_bytes_at(key, text)
        same = store.get_bytes_at(key) == text
        store.delete(key)
    except XstiltsError as error:
        return False, f"store: {error}"
    return same, f"store {uri}: written, read and deleted" + (
        "" if same else ", but it returned other bytes"
    )


def report(say: Callable[[str], None], namespace: str | None) -> int:
    """Prints one line for each check and returns the number that failed."""
    where = namespace or os.environ.get("XSTILTS_NAMESPACE") or NAMESPACE
    try:
        lines = list(checks(api_here(), where, os.environ))
    except InfrastructureError as error:
        lines = [(False, str(error))]
    for passed, text in lines:
        say(f"{'ok     ' if passed else 'MISSING'} {text}")
    return sum(not passed for passed, _ in lines)
