"""What is missing on a cluster, one line a check. `xstilts doctor --cluster`, in a pod or from a
laptop.
"""

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from components.launch.kubernetes import Api, ApiError
from xstilts.errors import InfrastructureError, XstiltsError

#: (good, what was looked at and, where it is missing, what to do)
Line = tuple[bool, str]

#: Where a KFP of one user runs its steps, and so the namespace that k8s/base is applied to.
NAMESPACE = "kubeflow"
#: service account → (group, resource, verbs) that it needs: what the launcher and the collector ask
#: for.
RIGHTS: Mapping[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "xstilts-step": (
        ("ray.io", "rayjobs", ("create", "get", "patch", "delete")),
        ("", "events", ("list",)),
    ),
    "xstilts-gc": (("ray.io", "rayjobs", ("list", "delete")),),
}
#: What KubeRay's own manifests, and its chart, call the operator's pods; k8s/base lets pods of this
#: label reach Ray's head.
OPERATOR = "app.kubernetes.io/component=kuberay-operator"
#: (kind in words, path under the namespace, whether a cluster can do without, what to do)
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
        "needed unless pods have an identity",
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
        "apply k8s/base; without it RayJobs of killed runs stay",
    ),
)


def api_here() -> Api:
    """The API server of this pod, or of the kubeconfig's current context."""
    if os.environ.get("XSTILTS_KUBERNETES_API") or os.environ.get("KUBERNETES_SERVICE_HOST"):
        api = Api.in_cluster()
        api.patience = 10
        return api
    return Api.from_kubeconfig()


def look(api: Api, namespace: str, environment: Mapping[str, str]) -> Iterator[Line]:
    """All checks, in an order in which the first MISSING is the one to mend first."""
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
    for what, path, optional, todo in OBJECTS:
        good, text = _has(api, f"{what} in {namespace}", path.format(ns=namespace), todo)
        yield good or optional, text
    configuration = _configuration(api, namespace)
    environment = {**configuration, **environment}
    yield from _queue(api, namespace, environment)
    yield from _priority(api, environment)
    for account, rights in RIGHTS.items():
        for group, resource, verbs in rights:
            yield _may(api, namespace, account, group, resource, verbs)
    yield from _quota(api, namespace)
    yield _store(environment)


def _has(api: Api, what: str, path: str, todo: str, resource: str | None = None) -> Line:
    try:
        found = api.request("GET", path)
    except ApiError as error:
        if error.status == 404:
            return False, f"{what}: absent; {todo}"
        return False, f"{what}: cannot be looked at: {error}"
    if resource and resource not in {one.get("name") for one in found.get("resources", [])}:
        return False, f"{what}: absent; {todo}"
    return True, what


def _operator(api: Api) -> Line:
    """Whether a pod of the operator is ready. Its CRD outlives it, and then a RayJob is taken
    and never started.
    """
    what = f"KubeRay's operator (pods of any namespace with {OPERATOR})"
    try:
        pods = api.request("GET", "/api/v1/pods", query={"labelSelector": OPERATOR}).get(
            "items", []
        )
    except ApiError as error:
        if error.status == 403:  # as steps may not; it need not be missing
            return (
                True,
                f"{what}: not looked for, pods of all namespaces may not be listed; ask an administrator",
            )
        return False, f"{what}: cannot be looked at: {error}"
    if not pods:
        return False, f"{what}: absent; install KubeRay 1.7, without it no RayJob starts"
    running = [one["metadata"] for one in pods if _is_ready(one)]
    if not running:
        first = pods[0]["metadata"]
        return False, (
            f"{what}: not ready; `kubectl -n {first['namespace']} describe pod {first['name']}` says why, and no RayJob starts"
        )
    return True, f"{what}: {running[0]['name']} in {running[0]['namespace']}"


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _configuration(api: Api, namespace: str) -> dict[str, str]:
    try:
        found = api.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/xstilts-config")
    except ApiError:
        return {}  # its own line says so
    return dict(found.get("data") or {})


def _queue(api: Api, namespace: str, environment: Mapping[str, str]) -> Iterator[Line]:
    queue = environment.get("XSTILTS_QUEUE")
    if not queue:
        return
    todo = "apply k8s/components/kueue, or set XSTILTS_QUEUE to nothing; a RayJob would wait for it for ever"
    path = f"namespaces/{namespace}/localqueues/{queue}"
    yield _kueue_has(api, f"Kueue LocalQueue {queue} in {namespace}", path, todo)


def _kueue_has(api: Api, what: str, path: str, todo: str) -> Line:
    """By either version of Kueue's API that is served today."""
    last: Line = (False, "")
    for version in ("v1beta2", "v1beta1"):
        last = _has(api, what, f"/apis/kueue.x-k8s.io/{version}/{path}", todo)
        if last[0]:
            break
    return last


def _priority(api: Api, environment: Mapping[str, str]) -> Iterator[Line]:
    if name := environment.get("XSTILTS_PRIORITY_CLASS"):
        path = f"/apis/scheduling.k8s.io/v1/priorityclasses/{name}"
        yield _has(
            api, f"PriorityClass {name}", path, "apply k8s/base; pods that name it would be refused"
        )
        if environment.get("XSTILTS_QUEUE"):
            todo = "apply k8s/components/kueue/cluster; Kueue admits no RayJob that names a class which is not there"
            kind = "workloadpriorityclasses"
            yield _kueue_has(api, f"Kueue WorkloadPriorityClass {name}", f"{kind}/{name}", todo)


def _may(
    api: Api, namespace: str, account: str, group: str, resource: str, verbs: tuple[str, ...]
) -> Line:
    what, lacking = f"{account} may {', '.join(verbs)} {resource}", []
    for verb in verbs:
        attributes = {"namespace": namespace, "group": group, "resource": resource, "verb": verb}
        try:
            if not _allowed(api, namespace, account, attributes):
                lacking.append(verb)
        except ApiError as error:
            return False, f"{what}: cannot be asked: {error}"
    return (
        not lacking,
        f"{what}{': not ' + ', '.join(lacking) + '; apply k8s/base' if lacking else ''}",
    )


def _allowed(api: Api, namespace: str, account: str, attributes: Mapping[str, str]) -> bool:
    """Asks for the account when we may; in a pod of that very account it asks for itself."""
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
    """One line a quota: what is used of it. A full one is MISSING: nothing of ours would start."""
    try:
        found = api.request("GET", f"/api/v1/namespaces/{namespace}/resourcequotas").get(
            "items", []
        )
    except ApiError as error:
        if error.status != 404:
            yield False, f"quotas of {namespace}: cannot be looked at: {error}"
        return
    for quota in found:
        status = quota.get("status", {})
        hard, used = status.get("hard", {}), status.get("used", {})
        full = [key for key, most in hard.items() if used.get(key) == most]
        shown = ", ".join(
            f"{key} {used.get(key, '0')} of {most}" for key, most in sorted(hard.items())
        )
        todo = f"; nothing more starts: {', '.join(full)} is used up" if full else ""
        yield not full, f"quota {quota['metadata']['name']}: {shown}{todo}"


def _store(environment: Mapping[str, str]) -> Line:
    """Writes, reads and deletes one small object."""
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
        "" if same else ", but it gave back other bytes"
    )


def report(say: Callable[[str], None], namespace: str | None) -> int:
    """Prints a line a check; returns how many are missing."""
    where = namespace or os.environ.get("XSTILTS_NAMESPACE") or NAMESPACE
    try:
        lines = list(look(api_here(), where, os.environ))
    except InfrastructureError as error:
        lines = [(False, str(error))]
    for good, what in lines:
        say(f"{'ok     ' if good else 'MISSING'} {what}")
    return sum(not good for good, _ in lines)
