"""Checks a cluster for missing requirements, from a pod or a laptop: `xstilts doctor --cluster`."""

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from components.launch import controllers
from components.launch.fit_checks import fit, refuse_unfit
from components.launch.kubernetes import Api, ApiError
from components.launch.quantity import number
from xstilts.errors import InfrastructureError, XstiltsError

#: (passed, what was checked and, if it is missing, what to do). None: it could not be checked.
Line = tuple[bool | None, str]
WORDS = {True: "ok     ", False: "MISSING", None: "unknown"}
DENIED = "you are not allowed to read it, so it was not checked"

#: The namespace of a single-user KFP, to which k8s/base is applied.
NAMESPACE = "kubeflow"
#: Service account → (API group, resource, verbs) that the launcher and the garbage collector need.
RIGHTS: Mapping[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "xstilts-step": (
        ("ray.io", "rayjobs", ("create", "get", "patch", "delete")),
        ("", "pods", ("get", "list")),
        ("", "events", ("list",)),
        ("kueue.x-k8s.io", "workloads", ("list",)),
    ),
    "xstilts-gc": (("ray.io", "rayjobs", ("list", "delete")),),
}
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
        api.patience, api.doubt = 10, 0  # a refusal is an answer here
        return api
    return Api.from_kubeconfig()


def checks(
    api: Api,
    namespace: str,
    environment: Mapping[str, str],
    resources: Mapping[str, Any] | None = None,
) -> Iterator[Line]:
    """All checks, in the order in which to fix what is missing.

    Args:
        api: the cluster.
        namespace: of the runs.
        environment: settings that replace those of the ConfigMap.
        resources: the plan's resources, to check whether its groups fit.
    """
    try:
        version = api.request("GET", "/version").get("gitVersion")
    except InfrastructureError as error:
        yield False, f"Kubernetes API: {error}"
        return
    yield True, f"Kubernetes {version} at {api.host}"
    yield _has(
        api, "KubeRay's CRD rayjobs.ray.io/v1", "/apis/ray.io/v1", "install KubeRay 1.7", "rayjobs"
    )
    yield controllers.operator(api)
    for what, path, optional, advice in OBJECTS:
        passed, text = _has(api, f"{what} in {namespace}", path.format(ns=namespace), advice)
        yield True if passed is False and optional else passed, text
    configuration = _configuration(api, namespace)
    environment = {**configuration, **environment}
    yield from _queue(api, namespace, environment)
    yield from _priority(api, environment)
    for account, rights in RIGHTS.items():
        for group, resource, verbs in rights:
            yield _may(api, namespace, account, group, resource, verbs)
    yield from _quota(api, namespace)
    yield from controllers.kueue(api, namespace, environment)
    if resources is not None:
        findings = list(fit(api, namespace, environment, resources))
        fits: Mapping[str, bool | None] = {
            "never": False,
            "nodes": False,
            "now": True,
            "unread": None,
        }
        for finding in findings:
            yield fits[finding.kind], finding.text
        if not findings:
            yield True, "the plan's groups fit, and there is room for one now"
    yield _store(environment)


def _has(api: Api, what: str, path: str, advice: str, resource: str | None = None) -> Line:
    try:
        document = api.request("GET", path)
    except ApiError as error:
        if error.status == 404:
            return False, f"{what}: absent; {advice}"
        return _unread(what, error)
    if resource and resource not in {r.get("name") for r in document.get("resources", [])}:
        return False, f"{what}: absent; {advice}"
    return True, what


def _unread(what: str, error: ApiError) -> Line:
    """The line for something that could not be read. It may be there."""
    if error.status in (401, 403):
        return None, f"{what}: {DENIED}"
    return False, f"{what}: check failed: {error}"


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
        if last[0] is not False:
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
    user = f"system:serviceaccount:{namespace}:{account}"
    for verb in verbs:
        attributes = {"namespace": namespace, "group": group, "resource": resource, "verb": verb}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user,
                "groups": [
                    "system:serviceaccounts",
                    f"system:serviceaccounts:{namespace}",
                    "system:authenticated",
                ],
                "resourceAttributes": attributes,
            },
        }
        try:
            path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
            if not api.request("POST", path, body=body)["status"]["allowed"]:
                denied.append(verb)
        except ApiError as error:
            if error.status in (401, 403):
                return None, f"{what}: not checked: you may not create SubjectAccessReviews"
            return False, f"{what}: check failed: {error}"
    return not denied, f"{what}: denied: {', '.join(denied)}; apply k8s/base" if denied else what


def _quota(api: Api, namespace: str) -> Iterator[Line]:
    """One line for each quota, with its use. A full one is MISSING: no pod would start."""
    try:
        quotas = api.request("GET", f"/api/v1/namespaces/{namespace}/resourcequotas").get(
            "items", []
        )
    except ApiError as error:
        if error.status != 404:
            yield _unread(f"quotas of {namespace}", error)
        return
    for quota in quotas:
        status = quota.get("status", {})
        hard, used = status.get("hard", {}), status.get("used", {})
        full = [key for key in hard if number(used.get(key, "0")) >= number(hard[key])]
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


def check_fit(
    resources: Mapping[str, Any], namespace: str | None, warn: Callable[[str], None]
) -> None:
    """Checks before a submission whether a plan's groups fit. Raises InfrastructureError for those
    that can never run; warns of others, and of a cluster that it cannot reach.

    Args:
        resources: the plan's; `groups` of them run at once.
        namespace: of the runs; None: as `report`.
        warn: prints a line.
    """
    where = namespace or os.environ.get("XSTILTS_NAMESPACE") or NAMESPACE
    try:
        api = api_here()
        api.request("GET", "/version")
    except InfrastructureError as error:
        warn(f"not checked whether the plan's groups fit: {error}")
        return
    environment = {**_configuration(api, where), **os.environ}
    if environment.get("XSTILTS_LAUNCHER", "rayjob") == "rayjob":
        refuse_unfit(api, where, environment, resources, warn)


def report(
    say: Callable[[str], None], namespace: str | None, resources: Mapping[str, Any] | None = None
) -> int:
    """Prints one line for each check and returns the number that failed. resources: the plan's."""
    where = namespace or os.environ.get("XSTILTS_NAMESPACE") or NAMESPACE
    try:
        lines = list(checks(api_here(), where, os.environ, resources))
    except InfrastructureError as error:
        lines = [(False, str(error))]
    for passed, text in lines:
        say(f"{WORDS[passed]} {text}")
    return sum(passed is False for passed, _ in lines)
