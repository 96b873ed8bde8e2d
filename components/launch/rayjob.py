"""Builds the RayJob of a worker group from the step's settings and environment; a pure function.

rules.py and rules_cluster.py check what the operator would reject. The pods meet the `restricted`
pod security standard.
"""

import hashlib
import math
import re
import shlex
from collections.abc import Mapping
from typing import Any

from xstilts.errors import InfrastructureError
from xstilts.plan.placement import Cluster, gpus_needed

#: The Ray version in the worker image, which the operator needs for token authentication.
RAY_VERSION = "2.60.0"
#: KubeRay appends to a RayJob's name and rejects longer ones.
LONGEST_NAME = 47
PART_OF = {"app.kubernetes.io/part-of": "xstilts"}
RUN_URI, GROUP, KIND = "xstilts.dev/run-uri", "xstilts.dev/group", "xstilts.dev/kind"
QUEUE = "kueue.x-k8s.io/queue-name"
#: Kueue orders a queue by this class; without the label it uses the pods' own priority class.
QUEUE_PRIORITY = "kueue.x-k8s.io/priority-class"
#: Seconds that a finished Ray cluster, with its GPUs, is kept.
KEPT_SECONDS = 30
USER = 1000

#: Environment of every Ray pod. The health check interval is also the interval at which reports are
#: collected.
_RAY = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HOME": "/tmp",
    "XSTILTS_CACHE": "/cache",
    "HF_HOME": "/cache/hf",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}
#: A lost rank must end the others, so that the group restarts; sites can set more variables.
_NCCL = {
    "NCCL_DEBUG": "WARN",
    "NCCL_SOCKET_IFNAME": "^lo,docker",
    "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
}
#: Prefixes of the network variables that Ray pods get from the step's environment.
NETWORK_PREFIXES = ("NCCL_", "TORCH_NCCL_", "FI_", "UCX_", "GLOO_")
_NAMED = (
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "XSTILTS_LEASE_SECONDS",
    "XSTILTS_RESIZE_SECONDS",
    "XSTILTS_RAY_START_SECONDS",
)
_SECRET_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN")


def name_of(run: str, group: str, kind: str) -> str:
    """The RayJob's name, equal for every attempt of a step, so that a retry finds it. A DNS-1035
    label of at most 47 characters.
    """
    digest = hashlib.sha256(f"{run}/{group}/{kind}".encode()).hexdigest()[:10]
    readable = re.sub(r"[^a-z0-9]+", "-", f"{kind}-{run}-{group}".lower()).strip("-")
    return f"xs-{readable[: LONGEST_NAME - 14].rstrip('-')}-{digest}"


def label(value: str) -> str:
    """A text as a label value: at most 63 letters, digits, `-`, `_` and `.`, with letters or digits
    at both ends.
    """
    return re.sub(r"[^A-Za-z0-9._-]", "-", value)[:63].strip("._-")


def entrypoint(config: Mapping[str, Any]) -> str:
    """The command of the job on the head of its Ray cluster."""
    words = (
        "python",
        "-m",
        "components.launch.driver",
        config["run_uri"],
        config["group"],
        config["kind"],
    )
    return shlex.join(map(str, words))


def build(
    settings: Mapping[str, Any],
    environment: Mapping[str, str],
    config: Mapping[str, Any],
    owner: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The RayJob of a group. Raises InfrastructureError for missing variables.

    Args:
        settings: of the group's steps (workers, gpus_per_worker, threads, cluster).
        environment: of the step.
        config: run_uri, group, kind.
        owner: of `owner_of`; Kubernetes deletes the RayJob with it.
    """
    missing = [
        key for key in ("XSTILTS_NAMESPACE", "XSTILTS_WORKER_IMAGE") if not environment.get(key)
    ]
    if missing:
        raise InfrastructureError(
            f"cannot create a RayJob: {', '.join(missing)} not set in the step's environment; "
            "`xstilts submit` sets them (or set XSTILTS_LAUNCHER=local)"
        )
    cluster = Cluster.model_validate(settings.get("cluster") or {})
    run, group, kind = config["run_uri"].rpartition("/runs/")[2], config["group"], config["kind"]
    name, queue, priority = (
        name_of(run, group, kind),
        queue_of(settings, environment),
        _priority(cluster, environment),
    )
    labels = {
        **PART_OF,
        "xstilts.dev/run": label(run),
        "xstilts.dev/group": label(group),
        KIND: kind,
    }
    annotations = {RUN_URI: config["run_uri"], GROUP: group}
    spec: dict[str, Any] = {
        "submissionMode": "HTTPMode",  # no submitter pod, whose end could be taken for the job's
        "entrypoint": entrypoint(config),
        "activeDeadlineSeconds": math.ceil(cluster.deadline_hours * 3600),
        "preRunningDeadlineSeconds": math.ceil(cluster.start_minutes * 60),
        "backoffLimit": 0,  # this launcher decides about retries
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        "rayClusterSpec": {
            "rayVersion": RAY_VERSION,
            "authOptions": {"mode": "token"},
            "enableInTreeAutoscaling": False,
            "headGroupSpec": _head(cluster, environment, labels, annotations),
            "workerGroupSpecs": [_workers(settings, cluster, environment, labels, annotations)],
        },
    }
    if queue:
        spec["suspend"] = True  # Kueue starts it once all of it fits
    queue_labels = {QUEUE: queue, QUEUE_PRIORITY: priority} if queue else {}
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": namespace(environment),
        "labels": {**labels, **{key: value for key, value in queue_labels.items() if value}},
        "annotations": annotations,
    }
    if owner is not None:
        metadata["ownerReferences"] = [dict(owner)]
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata, "spec": spec}


def queue_of(settings: Mapping[str, Any], environment: Mapping[str, str]) -> str | None:
    """The Kueue LocalQueue of a group: the plan's, else the installation's, else None."""
    return (settings.get("cluster") or {}).get("queue") or environment.get("XSTILTS_QUEUE") or None


def _priority(cluster: Cluster, environment: Mapping[str, str]) -> str | None:
    return cluster.priority_class or environment.get("XSTILTS_PRIORITY_CLASS") or None


def namespace(environment: Mapping[str, str]) -> str:
    """The namespace of RayJobs: XSTILTS_RAY_NAMESPACE, else the step's namespace."""
    return environment.get("XSTILTS_RAY_NAMESPACE") or environment["XSTILTS_NAMESPACE"]


def owner_of(pod: Mapping[str, Any]) -> dict[str, Any]:
    """The owner of a step's RayJob: the Argo Workflow that owns the step's pod, else the pod.

    The workflow lives as long as the run. A pod does not: a drained node, a preemption or the
    autoscaler deletes it, and Kubernetes would delete the RayJob with it while it trains.
    """
    metadata = pod["metadata"]
    workflows = [
        owner
        for owner in metadata.get("ownerReferences", [])
        if owner["kind"] == "Workflow" and owner["apiVersion"].startswith("argoproj.io/")
    ]
    owner = workflows[0] if workflows else {"apiVersion": "v1", "kind": "Pod", **metadata}
    return {
        **{key: owner[key] for key in ("apiVersion", "kind", "name", "uid")},
        "controller": False,
        "blockOwnerDeletion": False,
    }


def _head(
    cluster: Cluster, environment: Mapping[str, str], labels: Any, annotations: Any
) -> dict[str, Any]:
    shm = min(1.0, cluster.head_memory_gib / 4)
    pod = _pod(
        "head", cluster, environment, labels, annotations,
        {"cpu": str(cluster.head_cpus), "memory": _gib(cluster.head_memory_gib)}, {}, shm,
    )  # fmt: skip
    start = {
        "num-cpus": "0",  # no workers on the head
        "dashboard-host": "0.0.0.0",
        **_object_store(shm),
    }
    return {"rayStartParams": start, "template": pod}


def _workers(
    settings: Mapping[str, Any],
    cluster: Cluster,
    environment: Mapping[str, str],
    labels: Any,
    annotations: Any,
) -> dict[str, Any]:
    per_node, workers = cluster.workers_per_node, int(settings.get("workers", 1))
    minimum = math.ceil((cluster.min_workers or workers) / per_node)
    gpus = gpus_needed(per_node, float(settings.get("gpus_per_worker") or 0))
    amounts = {
        "cpu": str(cluster.cpus_per_worker * per_node),
        "memory": _gib(cluster.memory_gib_per_worker * per_node),
        **({"nvidia.com/gpu": str(gpus)} if gpus else {}),
    }
    variables = {**(_NCCL if gpus else {}), "OMP_NUM_THREADS": str(settings.get("threads", 1))}
    pod = _pod(
        "worker", cluster, environment, labels, annotations, amounts, variables, cluster.shm_gib
    )
    pod["spec"]["nodeSelector"] = dict(cluster.node_selector)
    pod["spec"]["tolerations"] = [
        t.model_dump(by_alias=True, exclude_none=True) for t in cluster.tolerations
    ]
    # Prefer one pod on each node: sharing a node is slower, but waiting for one may be forever.
    pod["spec"]["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": dict(pod["metadata"]["labels"])},
        }
    ]
    nodes = workers // per_node
    return {
        "groupName": "workers", "replicas": nodes, "minReplicas": minimum, "maxReplicas": nodes,
        "rayStartParams": _object_store(cluster.shm_gib), "template": pod,
    }  # fmt: skip


def _pod(
    role: str, cluster: Cluster, environment: Mapping[str, str], labels: Any, annotations: Any,
    amounts: Mapping[str, str], variables: Mapping[str, str], shm: float,
) -> dict[str, Any]:  # fmt: skip
    amounts = {**amounts, "ephemeral-storage": _gib(cluster.disk_gib if role == "worker" else 10)}
    site = {
        k: v
        for k, v in environment.items()
        if v and (k in _NAMED or (variables and k.startswith(NETWORK_PREFIXES)))
    }
    values = {**_RAY, **variables, **site}
    secret = environment.get("XSTILTS_S3_SECRET") or "xstilts-s3"
    env: list[dict[str, Any]] = [{"name": key, "value": values[key]} for key in sorted(values)]
    env += [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": True}}}
        for key in _SECRET_KEYS
    ]
    container = {
        "name": f"ray-{role}",
        "image": environment["XSTILTS_WORKER_IMAGE"],
        "imagePullPolicy": "IfNotPresent",
        "env": env,
        "resources": {"requests": dict(amounts), "limits": dict(amounts)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
        "volumeMounts": [
            {"name": "shm", "mountPath": "/dev/shm"},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "cache", "mountPath": "/cache"},  # shared by the pod's workers
        ],
    }
    priority = _priority(cluster, environment)
    return {
        "metadata": {
            "labels": {**labels, "app.kubernetes.io/component": f"ray-{role}"},
            "annotations": dict(annotations),
        },
        "spec": {
            "serviceAccountName": environment.get("XSTILTS_RAY_SERVICE_ACCOUNT") or "xstilts-ray",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            **({"priorityClassName": priority} if priority else {}),
            "terminationGracePeriodSeconds": 60,
            "securityContext": {
                "runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": _gib(shm)}},
                {"name": "tmp", "emptyDir": {}},
                {"name": "cache", "emptyDir": {}},
            ],
        },
    }  # fmt: skip


def _object_store(shm: float) -> dict[str, str]:
    """Half of /dev/shm for Ray's object store; NCCL and data loaders use the other half."""
    return {"object-store-memory": str(int(shm * 2**30 / 2))}


def _gib(amount: float) -> str:
    return f"{amount:g}Gi" if amount == int(amount) else f"{round(amount * 1024)}Mi"
