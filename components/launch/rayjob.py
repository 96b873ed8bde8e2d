"""A RayJob for one worker group, from the step's settings and the environment. Pure: it reads and
posts nothing.

What the operator refuses is checked in rules.py and rules_cluster.py. The pods satisfy the pod
security standard `restricted`.
"""

import hashlib
import math
import re
import shlex
from collections.abc import Mapping
from typing import Any

from xstilts.errors import InfrastructureError
from xstilts.plan.placement import Cluster

#: The Ray in the workers' image; the operator must know it to switch on token authentication.
RAY_VERSION = "2.60.0"
#: KubeRay appends to a RayJob's name, and refuses longer ones.
LONGEST_NAME = 47
PART_OF = {"app.kubernetes.io/part-of": "xstilts"}
RUN_URI, GROUP, KIND = "xstilts.dev/run-uri", "xstilts.dev/group", "xstilts.dev/kind"
QUEUE = "kueue.x-k8s.io/queue-name"
#: Kueue orders a queue by the class of this name; without the label it would go by the value of the
#: pods' own class.
QUEUE_PRIORITY = "kueue.x-k8s.io/priority-class"
#: Seconds that a finished Ray cluster is kept: it holds its GPUs for so long.
KEPT_SECONDS = 30
USER = 1000

#: Ray's and the workers' own settings in every pod. The health check is also the period at which
#: reports are collected.
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
#: A rank that is lost must end the others, so that the group starts again; the rest is the site's
#: business.
_NCCL = {
    "NCCL_DEBUG": "WARN",
    "NCCL_SOCKET_IFNAME": "^lo,docker",
    "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
}
#: What of the step's environment its Ray pods get by value: addresses and the site's network
#: settings, never a secret.
HANDED_ON = ("NCCL_", "TORCH_NCCL_", "FI_", "UCX_", "GLOO_")
_NAMED = (
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "XSTILTS_LEASE_SECONDS",
)
_SECRET_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN")


def name_of(run: str, group: str, kind: str) -> str:
    """The RayJob's name: the same for every try of a step, so that a retry finds it. At most 47
    characters, DNS-1035.
    """
    digest = hashlib.sha256(f"{run}/{group}/{kind}".encode()).hexdigest()[:10]
    said = re.sub(r"[^a-z0-9]+", "-", f"{kind}-{run}-{group}".lower()).strip("-")
    return f"xs-{said[: LONGEST_NAME - 14].rstrip('-')}-{digest}"


def label(value: str) -> str:
    """A text as a label's value: at most 63 of letters, digits, `-`, `_`, `.`, with letters or
    digits at both ends.
    """
    return re.sub(r"[^A-Za-z0-9._-]", "-", value)[:63].strip("._-")


def entrypoint(config: Mapping[str, Any]) -> str:
    """What the job runs on the head of its Ray cluster."""
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
    settings: Mapping[str, Any], environment: Mapping[str, str], config: Mapping[str, Any]
) -> dict[str, Any]:
    """The RayJob of a group.

    settings: of the group's steps (workers, gpus_per_worker, threads, cluster). environment: the
    step's. config: run_uri, group, kind. Raises InfrastructureError when the environment lacks what
    a RayJob needs.
    """
    lacking = [
        key for key in ("XSTILTS_NAMESPACE", "XSTILTS_WORKER_IMAGE") if not environment.get(key)
    ]
    if lacking:
        raise InfrastructureError(
            f"a RayJob cannot be made: {', '.join(lacking)} not set in the step's environment; the pipeline sets them "
            "when it is submitted (or set XSTILTS_LAUNCHER to local)"
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
        "submissionMode": "HTTPMode",  # no submitter pod, and no log stream whose end could be taken for the job's
        "entrypoint": entrypoint(config),
        "activeDeadlineSeconds": math.ceil(cluster.deadline_hours * 3600),
        "preRunningDeadlineSeconds": math.ceil(cluster.start_minutes * 60),
        "backoffLimit": 0,  # the group resumes by itself; another try is this launcher's decision
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
        spec["suspend"] = True  # Kueue starts it when there is room for all of it
    place = {QUEUE: queue, QUEUE_PRIORITY: priority} if queue else {}
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": namespace(environment),
        "labels": {**labels, **{key: value for key, value in place.items() if value}},
        "annotations": annotations,
    }
    if owners := [owner] if (owner := owner_of(environment)) else []:
        metadata["ownerReferences"] = owners
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata, "spec": spec}


def queue_of(settings: Mapping[str, Any], environment: Mapping[str, str]) -> str | None:
    """The Kueue LocalQueue of a group: the plan's, else the installation's; None when its pods
    are scheduled as they come.
    """
    return (settings.get("cluster") or {}).get("queue") or environment.get("XSTILTS_QUEUE") or None


def _priority(cluster: Cluster, environment: Mapping[str, str]) -> str | None:
    return cluster.priority_class or environment.get("XSTILTS_PRIORITY_CLASS") or None


def namespace(environment: Mapping[str, str]) -> str:
    """Where RayJobs go: XSTILTS_RAY_NAMESPACE, else the step's own namespace."""
    return environment.get("XSTILTS_RAY_NAMESPACE") or environment["XSTILTS_NAMESPACE"]


def owner_of(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """The step's pod as owner, so that the RayJob goes with it. None across namespaces: there
    the garbage collector finds no such owner and deletes the RayJob at once.
    """
    pod, uid = environment.get("XSTILTS_POD_NAME"), environment.get("XSTILTS_POD_UID")
    if not pod or not uid or namespace(environment) != environment["XSTILTS_NAMESPACE"]:
        return None
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": pod,
        "uid": uid,
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
        "num-cpus": "0",
        "dashboard-host": "0.0.0.0",
        **_object_store(shm),
    }  # nothing is trained on the head
    return {"rayStartParams": start, "template": pod}


def _workers(
    settings: Mapping[str, Any],
    cluster: Cluster,
    environment: Mapping[str, str],
    labels: Any,
    annotations: Any,
) -> dict[str, Any]:
    each, workers = cluster.workers_per_node, int(settings.get("workers", 1))
    least = math.ceil((cluster.min_workers or workers) / each)
    gpus = math.ceil(float(settings.get("gpus_per_worker") or 0) * each)
    amounts = {
        "cpu": str(cluster.cpus_per_worker * each),
        "memory": _gib(cluster.memory_gib_per_worker * each),
        **({"nvidia.com/gpu": str(gpus)} if gpus else {}),
    }
    more = {**(_NCCL if gpus else {}), "OMP_NUM_THREADS": str(settings.get("threads", 1))}
    pod = _pod("worker", cluster, environment, labels, annotations, amounts, more, cluster.shm_gib)
    pod["spec"]["nodeSelector"] = dict(cluster.node_selector)
    pod["spec"]["tolerations"] = [
        t.model_dump(by_alias=True, exclude_none=True) for t in cluster.tolerations
    ]
    # One pod a node where there is room: soft, since a group that shares a node is slower, and one
    # that waits is lost.
    pod["spec"]["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": dict(pod["metadata"]["labels"])},
        }
    ]
    nodes = workers // each
    return {
        "groupName": "workers", "replicas": nodes, "minReplicas": least, "maxReplicas": nodes,
        "rayStartParams": _object_store(cluster.shm_gib), "template": pod,
    }  # fmt: skip


def _pod(
    role: str, cluster: Cluster, environment: Mapping[str, str], labels: Any, annotations: Any,
    amounts: Mapping[str, str], more: Mapping[str, str], shm: float,
) -> dict[str, Any]:  # fmt: skip
    amounts = {**amounts, "ephemeral-storage": _gib(cluster.disk_gib if role == "worker" else 10)}
    site = {
        k: v
        for k, v in environment.items()
        if v and (k in _NAMED or (more and k.startswith(HANDED_ON)))
    }
    values = {**_RAY, **more, **site}
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
            {
                "name": "cache",
                "mountPath": "/cache",
            },  # shared by the pod's workers: a blob is fetched once a node
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
    """Ray's object store gets half of /dev/shm; the other half is NCCL's and the data loaders'."""
    return {"object-store-memory": str(int(shm * 2**30 / 2))}


def _gib(amount: float) -> str:
    return f"{amount:g}Gi" if amount == int(amount) else f"{round(amount * 1024)}Mi"
