"""What the KubeRay operator (1.7) rejects in the Ray cluster of a RayJob: ValidateRayClusterSpec in
its validation.go.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Job = Mapping[str, Any]
AT = "spec.rayClusterSpec"
DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_PREFIX = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/"
_KEY = re.compile(rf"({_PREFIX})?[A-Za-z0-9]([A-Za-z0-9._-]{{0,61}}[A-Za-z0-9])?")
#: Variable that enables autoscaler v2 for operators before 1.4, and its values.
SWITCH, ON = "RAY_enable_autoscaler_v2", ("1", "true")
#: Set by the operator; autoscalerOptions.env must not override it.
COMMAND = "KUBERAY_GEN_AUTOSCALER_START_CMD"
FAULT_TOLERANT, NAMESPACE = "ray.io/ft-enabled", "ray.io/external-storage-namespace"


def bad_labels(where: str, labels: Mapping[str, str]) -> Iterator[str]:
    """One line for each invalid label key or value."""
    for key, value in labels.items():
        if not _KEY.fullmatch(key) or len(key.rpartition("/")[0]) > 253:
            yield f"{where}: {key!r} is not a label key"
        if not _VALUE.fullmatch(value):
            yield f"{where}.{key}: {value!r} is not a label value"


def head_pod(job: Job) -> Mapping[str, Any]:
    head = job["spec"].get("rayClusterSpec", {}).get("headGroupSpec", {})
    return dict(head.get("template", {}).get("spec", {}))


def _head_environment(job: Job) -> dict[str, str]:
    """Environment of the first container, which runs Ray; values from references are empty."""
    containers = head_pod(job).get("containers", [])
    return {
        item["name"]: item.get("value", "")
        for item in (containers[0].get("env", []) if containers else [])
    }


def _workers(cluster: Job) -> dict[str, Job]:
    """Path of each worker group → the group."""
    return {
        f"{AT}.workerGroupSpecs[{i}]": group
        for i, group in enumerate(cluster.get("workerGroupSpecs", []))
    }


def _is_ray(cluster: Job, *minimum: int) -> bool:
    """Whether the cluster's rayVersion is at least this version."""
    version = re.match(r"(\d+)\.(\d+)\.(\d+)$", cluster.get("rayVersion", ""))
    return version is not None and tuple(map(int, version.groups())) >= minimum


def _authentication(job: Job) -> Iterator[str]:
    cluster = job["spec"].get("rayClusterSpec", {})
    options = cluster.get("authOptions", {})
    if options.get("enableK8sTokenAuth"):
        yield f"{AT}.authOptions.enableK8sTokenAuth: not for a RayJob"
    if options.get("mode") == "token" and not _is_ray(cluster, 2, 52, 0):
        yield f"{AT}.rayVersion: must be 2.52.0 or later for authOptions.mode: token"
    if cluster.get("upgradeStrategy", {}).get("type"):
        yield f"{AT}.upgradeStrategy: not for a RayJob"


def _groups(job: Job) -> Iterator[str]:
    cluster = job["spec"].get("rayClusterSpec")
    if cluster is None:
        return
    for where, group in {
        f"{AT}.headGroupSpec": cluster["headGroupSpec"],
        **_workers(cluster),
    }.items():
        if not group["template"].get("spec", {}).get("containers"):
            yield f"{where}: no containers"
        start = group.get("rayStartParams", {})
        if group.get("resources") and any(
            start.get(k) for k in ("num-cpus", "num-gpus", "memory", "resources")
        ):
            yield f"{where}: set resources in rayStartParams or in resources, not in both"
        if "labels" in start:
            yield f"{where}.rayStartParams.labels: use the group's labels"
        yield from bad_labels(f"{where}.labels", group.get("labels", {}))
    for where, group in _workers(cluster).items():
        low, high = group.get("minReplicas"), group.get("maxReplicas")
        if not cluster.get("enableInTreeAutoscaling") and (low is None or high is None):
            yield f"{where}: needs minReplicas and maxReplicas without autoscaling"
        reversed_range = low is not None and high is not None and low > high
        if (low or 0) < 0 or (high or 0) < 0 or reversed_range:
            yield f"{where}: minReplicas {low} and maxReplicas {high} are not a valid range"


def _autoscaler(job: Job) -> Iterator[str]:
    cluster, switch = job["spec"].get("rayClusterSpec", {}), _head_environment(job).get(SWITCH)
    options, on = cluster.get("autoscalerOptions", {}), cluster.get("enableInTreeAutoscaling")
    if not on and switch in ON:
        yield f"{SWITCH}: only with enableInTreeAutoscaling: true"
    if on and "version" in options and switch is not None:
        yield f"{SWITCH}: not together with autoscalerOptions.version"
    if options.get("idleTimeoutSeconds", 0) < 0:
        seconds = options["idleTimeoutSeconds"]
        yield f"{AT}.autoscalerOptions.idleTimeoutSeconds: {seconds} is negative"
    if COMMAND in {item["name"] for item in options.get("env", [])}:
        yield f"{AT}.autoscalerOptions.env: {COMMAND} is reserved for the operator"
    v2 = options.get("version") == "v2"
    if on and v2 and head_pod(job).get("restartPolicy", "Never") != "Never":
        yield f"{AT}.headGroupSpec: restartPolicy must be Never with autoscaler v2"
    for where, group in _workers(cluster).items():
        if on and group.get("suspend"):
            yield f"{where}.suspend: not with enableInTreeAutoscaling"
        if on and v2 and group["template"].get("spec", {}).get("restartPolicy", "Never") != "Never":
            yield f"{where}: restartPolicy must be Never with autoscaler v2"
        if group.get("idleTimeoutSeconds", 0) < 0:
            yield f"{where}.idleTimeoutSeconds: {group['idleTimeoutSeconds']} is negative"
        if group.get("priority") and not _is_ray(cluster, 2, 56, 0):
            yield f"{where}.priority: needs rayVersion 2.56.0 or later"
        needs_v2 = [
            *(["idleTimeoutSeconds"] if "idleTimeoutSeconds" in group else []),
            *(["priority"] if group.get("priority") else []),
        ]
        for key in needs_v2 if not v2 and switch not in ON else []:
            yield f"{where}.{key}: only with autoscalerOptions.version: v2"


def _fault_tolerance(job: Job) -> Iterator[str]:
    cluster, names = job["spec"].get("rayClusterSpec", {}), _head_environment(job)
    annotations = job["metadata"].get("annotations", {})
    start = cluster.get("headGroupSpec", {}).get("rayStartParams", {})
    options = cluster.get("gcsFaultToleranceOptions")
    if "REDIS_USERNAME" in names or start.get("redis-username"):
        yield "REDIS_USERNAME: belongs to gcsFaultToleranceOptions"
    if options is None:
        if "RAY_REDIS_ADDRESS" in names and annotations.get(FAULT_TOLERANT, "").lower() != "true":
            yield "RAY_REDIS_ADDRESS: belongs to gcsFaultToleranceOptions"
        return
    redis = ("RAY_REDIS_ADDRESS", "REDIS_PASSWORD")
    forbidden: list[str] = [name for name in redis if name in names]
    forbidden += ["redis-password"] if start.get("redis-password") else []
    forbidden += [key for key in (FAULT_TOLERANT, NAMESPACE) if annotations.get(key)]
    for name in forbidden:
        yield f"{name}: not together with gcsFaultToleranceOptions"
    if options.get("storage") and options.get("backend", "redis") == "redis":
        yield f"{AT}.gcsFaultToleranceOptions.storage: not with the backend redis"


RULES: tuple[Callable[[Job], Iterator[str]], ...] = (
    _authentication,
    _groups,
    _autoscaler,
    _fault_tolerance,
)
