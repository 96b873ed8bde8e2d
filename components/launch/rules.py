"""What the KubeRay operator (1.7) and Kueue (0.19) refuse in a RayJob, and the schema of the CRD does not.

Sources: KubeRay ray-operator/controllers/ray/utils/validation.go, and the CEL rules of its CRD; Kueue's page on RayJobs.
The operator says so only after the object was made, in a status that never changes again; this says it before.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from xstilts.errors import InfrastructureError

DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
Job = Mapping[str, Any]


def _metadata(job: Job) -> Iterator[str]:
    name = job["metadata"].get("name", "")
    if len(name) > 47:
        yield f"metadata.name: {name!r} has {len(name)} characters; at most 47"
    if not DNS_1035.fullmatch(name):
        yield f"metadata.name: {name!r} is no DNS-1035 label: small letters, digits and '-', a letter first"
    for key, value in job["metadata"].get("labels", {}).items():
        if not _LABEL.fullmatch(value):
            yield f"metadata.labels.{key}: {value!r} is no label value"


def _suspend(job: Job) -> Iterator[str]:
    spec = job["spec"]
    if spec.get("suspend") and not spec.get("shutdownAfterJobFinishes"):
        yield "spec.suspend: only with shutdownAfterJobFinishes: true"
    if spec.get("suspend") and spec.get("clusterSelector"):
        yield "spec.suspend: not with clusterSelector"


def _numbers(job: Job) -> Iterator[str]:
    spec = job["spec"]
    for key in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if key in spec and spec[key] <= 0:
            yield f"spec.{key}: {spec[key]} is not positive"
    for key in ("backoffLimit", "ttlSecondsAfterFinished"):
        if spec.get(key, 0) < 0:
            yield f"spec.{key}: {spec[key]} is negative"


def _deletion(job: Job) -> Iterator[str]:
    spec = job["spec"]
    if spec.get("ttlSecondsAfterFinished", 0) > 0 and not spec.get("shutdownAfterJobFinishes"):
        yield "spec.ttlSecondsAfterFinished: only with shutdownAfterJobFinishes: true"
    strategy = spec.get("deletionStrategy")
    if strategy is None:
        return
    rules, old = strategy.get("deletionRules"), [key for key in ("onSuccess", "onFailure") if key in strategy]
    if rules and old:
        yield "spec.deletionStrategy: deletionRules and onSuccess/onFailure exclude each other"
    if not rules and len(old) < 2:
        yield "spec.deletionStrategy: needs deletionRules, or both onSuccess and onFailure"
    if rules and (spec.get("shutdownAfterJobFinishes") or spec.get("ttlSecondsAfterFinished")):
        yield "spec.deletionStrategy.deletionRules: not with shutdownAfterJobFinishes or ttlSecondsAfterFinished"


def _submission(job: Job) -> Iterator[str]:
    spec, mode = job["spec"], job["spec"].get("submissionMode", "K8sJobMode")
    if ("rayClusterSpec" in spec) == bool(spec.get("clusterSelector")):
        yield "spec: exactly one of rayClusterSpec and clusterSelector"
    if spec.get("clusterSelector") and spec.get("backoffLimit", 0) > 0:
        yield "spec.backoffLimit: not with clusterSelector"
    if mode == "InteractiveMode" and spec.get("backoffLimit", 0) > 0:
        yield "spec.backoffLimit: not with InteractiveMode"
    if mode == "SidecarMode":
        if given := [key for key in ("submitterPodTemplate", "submitterConfig", "clusterSelector") if spec.get(key)]:
            yield f"spec.{given[0]}: not with SidecarMode"
        if _head_pod(job).get("restartPolicy", "Never") != "Never":
            yield "spec.rayClusterSpec.headGroupSpec: restartPolicy must be Never with SidecarMode"


def _authentication(job: Job) -> Iterator[str]:
    cluster = job["spec"].get("rayClusterSpec", {})
    options = cluster.get("authOptions", {})
    if options.get("enableK8sTokenAuth"):
        yield "spec.rayClusterSpec.authOptions.enableK8sTokenAuth: not for a RayJob"
    if options.get("mode") == "token":
        version = re.match(r"(\d+)\.(\d+)\.(\d+)$", cluster.get("rayVersion", ""))
        if version is None or (int(version[1]), int(version[2])) < (2, 52):
            yield "spec.rayClusterSpec.rayVersion: must be given, 2.52.0 or later, for authOptions.mode: token"


def _groups(job: Job) -> Iterator[str]:
    cluster = job["spec"].get("rayClusterSpec")
    if cluster is None:
        return
    groups = {"headGroupSpec": cluster["headGroupSpec"]}
    groups |= {f"workerGroupSpecs[{i}]": group for i, group in enumerate(cluster.get("workerGroupSpecs", []))}
    for at, group in groups.items():
        where = f"spec.rayClusterSpec.{at}"
        if not group["template"].get("spec", {}).get("containers"):
            yield f"{where}: has no container"
        start = group.get("rayStartParams", {})
        if group.get("resources") and any(start.get(k) for k in ("num-cpus", "num-gpus", "memory", "resources")):
            yield f"{where}: resources stand both in rayStartParams and in resources"
        if "labels" in start:
            yield f"{where}.rayStartParams.labels: use the group's labels"
        if at == "headGroupSpec":
            continue
        least, most = group.get("minReplicas"), group.get("maxReplicas")
        if not cluster.get("enableInTreeAutoscaling") and (least is None or most is None):
            yield f"{where}: needs minReplicas and maxReplicas without autoscaling"
        if least is not None and most is not None and not 0 <= least <= most:
            yield f"{where}: minReplicas {least} and maxReplicas {most} are no range"


def _environment(job: Job) -> Iterator[str]:
    cluster = job["spec"].get("rayClusterSpec", {})
    names = {item["name"] for c in _head_pod(job).get("containers", [])[:1] for item in c.get("env", [])}
    if "RAY_REDIS_ADDRESS" in names and "gcsFaultToleranceOptions" not in cluster:
        yield "RAY_REDIS_ADDRESS: only with gcsFaultToleranceOptions"
    if "REDIS_USERNAME" in names:
        yield "REDIS_USERNAME: belongs to gcsFaultToleranceOptions"


def _kueue(job: Job) -> Iterator[str]:
    labels = job["metadata"].get("labels", {})
    if "kueue.x-k8s.io/queue-name" not in labels:
        if "kueue.x-k8s.io/priority-class" in labels:
            yield "metadata.labels.kueue.x-k8s.io/priority-class: only with a queue; Kueue takes no notice of it otherwise"
        return
    spec, cluster = job["spec"], job["spec"].get("rayClusterSpec", {})
    if spec.get("clusterSelector"):
        yield "a queue: not with clusterSelector"
    if not spec.get("shutdownAfterJobFinishes"):
        yield "a queue: only with shutdownAfterJobFinishes: true"
    if not spec.get("suspend"):
        yield "a queue: the job must be made suspended, or it starts before it is admitted where Kueue is away"
    if cluster.get("enableInTreeAutoscaling"):
        yield "a queue: not with enableInTreeAutoscaling"
    if len(cluster.get("workerGroupSpecs", [])) > 17:
        yield "a queue: at most 17 worker groups"


def _head_pod(job: Job) -> Mapping[str, Any]:
    head = job["spec"].get("rayClusterSpec", {}).get("headGroupSpec", {})
    return dict(head.get("template", {}).get("spec", {}))


RULES: tuple[Callable[[Job], Iterator[str]], ...] = (
    _metadata, _suspend, _numbers, _deletion, _submission, _authentication, _groups, _environment, _kueue,
)  # fmt: skip


def problems(job: Job) -> list[str]:
    """Everything that the operator would refuse, as sentences; empty when it would take the RayJob."""
    return [problem for rule in RULES for problem in rule(job)]


def checked(job: dict[str, Any]) -> dict[str, Any]:
    """The RayJob, or an InfrastructureError that lists what is wrong with it."""
    if found := problems(job):
        raise InfrastructureError(f"RayJob {job['metadata'].get('name')}: " + "; ".join(found))
    return job
