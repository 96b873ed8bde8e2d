"""The plan key `resources.cluster`: where worker groups run. Cannot change a result."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from xstilts.plan.part import Part
from xstilts.plan.value_types import Processes

Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
#: Allowance for the rounding of quotients and products of fractions: 1 // 0.2 is 4.
ROUNDING = 1e-6

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(rf"(?:[a-z0-9]([a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_LABEL}")
_VALUE = re.compile(rf"(?:{_LABEL})?")
_OBJECT = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


def _key(value: str) -> str:
    if not _KEY.fullmatch(value):
        raise ValueError(
            f"invalid label key {value!r}; allowed: NAME or PREFIX/NAME with letters, digits, '-', "
            "'_' and '.'"
        )
    return value


def _value(value: str) -> str:
    if not _VALUE.fullmatch(value):
        raise ValueError(
            f"invalid label value {value!r}; allowed: up to 63 letters, digits, '-', '_' and '.'"
        )
    return value


def _object(value: str) -> str:
    if not _OBJECT.fullmatch(value):
        raise ValueError(
            f"invalid object name {value!r}; allowed: lowercase letters, digits, '-' and '.'"
        )
    return value


Key = Annotated[str, AfterValidator(_key)]
Value = Annotated[str, AfterValidator(_value)]
ObjectName = Annotated[str, AfterValidator(_object)]


class Toleration(Part):
    """A taint that the group's pods tolerate, with the keys of a Kubernetes toleration."""

    key: Key | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: Value | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: Annotated[int, Field(ge=0, lt=2**63)] | None = Field(
        None, alias="tolerationSeconds"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Toleration":
        if self.operator == "Exists" and self.value is not None:
            raise ValueError(
                "operator: Exists takes no value; remove value, or use operator: Equal"
            )
        if self.operator == "Equal" and self.key is None:
            raise ValueError(
                "operator: Equal needs a key; operator: Exists without a key tolerates every taint"
            )
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise ValueError("tolerationSeconds is only allowed with effect: NoExecute")
        return self


class Cluster(Part):
    """The resources of one worker group on a cluster.

    Sizes are per worker unless the name says otherwise. A pod holds workers_per_node workers,
    which share its memory, /dev/shm and cache.

    Attributes:
        min_workers: With how few workers the group may continue after losing nodes. None: all.
        queue_hours: Limit of each wait in the queue.
        deadline_hours: Limit of the job, counted from its admission.
        start_minutes: Limit until the admitted job runs.
    """

    workers_per_node: Processes = 1
    min_workers: Processes | None = None
    cpus_per_worker: Processes = 2
    memory_gib_per_worker: Amount = 8
    shm_gib: Amount = 2
    disk_gib: Amount = 50
    head_cpus: Processes = 2
    head_memory_gib: Annotated[float, Field(ge=2, allow_inf_nan=False)] = 4
    node_selector: Mapping[Key, Value] = {}
    tolerations: tuple[Toleration, ...] = ()
    queue: ObjectName | None = None
    priority_class: ObjectName | None = None
    queue_hours: Annotated[float, Field(gt=0, le=24 * 365, allow_inf_nan=False)] = 48
    deadline_hours: Annotated[float, Field(gt=0, le=24 * 365, allow_inf_nan=False)] = 24
    start_minutes: Annotated[float, Field(gt=0, le=24 * 60, allow_inf_nan=False)] = 60

    @model_validator(mode="after")
    def _shm_fits_memory(self) -> "Cluster":
        memory = self.memory_gib_per_worker * self.workers_per_node
        if self.shm_gib >= memory:
            raise ValueError(
                f"shm_gib: {self.shm_gib:g} counts towards the pod's memory of {memory:g} GiB; "
                "lower it, or raise memory_gib_per_worker"
            )
        return self


def fitting(room: float, each: float) -> int:
    """How many equal amounts of `each` fit into `room`, of the same unit."""
    return int(room / each + ROUNDING)


def workers_on(gpus: float, gpus_per_worker: float) -> int:
    """How many workers fit on a number of GPUs. As with Ray, a part of a GPU is of one GPU, so that
    three workers of 0.6 GPUs need three.
    """
    if gpus_per_worker < 1:
        return fitting(gpus, 1) * fitting(1, gpus_per_worker)
    return fitting(gpus, gpus_per_worker)


def gpus_needed(workers: int, gpus_per_worker: float) -> int:
    """The fewest GPUs on which a number of workers fit."""
    if 0 < gpus_per_worker < 1:
        return math.ceil(workers / fitting(1, gpus_per_worker))
    return math.ceil(workers * gpus_per_worker - ROUNDING)


def cluster_problems(cluster: Cluster, workers: int, gpus_per_worker: float) -> list[str]:
    """Contradictions between `resources.cluster` and the rest of `resources`."""
    problems = []
    if workers % cluster.workers_per_node:
        problems.append(
            f"resources.workers: {workers} is not a multiple of resources.cluster."
            f"workers_per_node: {cluster.workers_per_node}; the last node would be partly idle"
        )
    if cluster.min_workers is not None and cluster.min_workers > workers:
        problems.append(
            f"resources.cluster.min_workers: {cluster.min_workers} is more than "
            f"resources.workers: {workers}; lower it"
        )
    gpus = gpus_per_worker * cluster.workers_per_node
    needed = gpus_needed(cluster.workers_per_node, gpus_per_worker)
    if abs(gpus - needed) > ROUNDING:
        problems.append(
            f"resources.gpus_per_worker: {gpus_per_worker:g} with workers_per_node: "
            f"{cluster.workers_per_node} makes {gpus:g} GPUs per node, and its workers need "
            f"{needed}; use a combination that fills whole GPUs"
        )
    return problems
