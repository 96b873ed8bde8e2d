"""What a plan may ask of a cluster for each worker group. Nothing here can change a result."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from xstilts.plan.part import Part

Count = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(rf"(?:[a-z0-9]([a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_LABEL}")
_VALUE = re.compile(rf"(?:{_LABEL})?")
_OBJECT = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


def _key(value: str) -> str:
    if not _KEY.fullmatch(value):
        raise ValueError(
            f"{value!r} is no label key; allowed: NAME or PREFIX/NAME, letters, digits, '-', '_', '.'"
        )
    return value


def _value(value: str) -> str:
    if not _VALUE.fullmatch(value):
        raise ValueError(
            f"{value!r} is no label value; allowed: up to 63 letters, digits, '-', '_', '.'"
        )
    return value


def _object(value: str) -> str:
    if not _OBJECT.fullmatch(value):
        raise ValueError(f"{value!r} names no object; allowed: small letters, digits, '-', '.'")
    return value


Key = Annotated[str, AfterValidator(_key)]
Value = Annotated[str, AfterValidator(_value)]
ObjectName = Annotated[str, AfterValidator(_object)]


class Toleration(Part):
    """A taint that the group's pods may be put beside, in the cluster's own keys."""

    key: Key | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: Value | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: Annotated[int, Field(ge=0)] | None = Field(None, alias="tolerationSeconds")

    @model_validator(mode="after")
    def _sensible(self) -> "Toleration":
        if self.operator == "Exists" and self.value is not None:
            raise ValueError(
                "operator: Exists has no value; leave value out, or use operator: Equal"
            )
        if self.operator == "Equal" and self.key is None:
            raise ValueError(
                "operator: Equal needs a key; operator: Exists without a key tolerates every taint"
            )
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise ValueError("tolerationSeconds belongs to effect: NoExecute")
        return self


class Cluster(Part):
    """A worker group on a cluster. Sizes are those of one worker unless the name says otherwise;
    a pod holds workers_per_node workers, which share its memory, /dev/shm and cache.
    min_workers: how few the group may go on with when nodes are lost (None: all). queue_hours:
    how long the group may wait in its queue, each time that it does; deadline_hours counts from
    admission, start_minutes until the job runs.
    """

    workers_per_node: Count = 1
    min_workers: Count | None = None
    cpus_per_worker: Count = 2
    memory_gib_per_worker: Amount = 8
    shm_gib: Amount = 2
    disk_gib: Amount = 50
    head_cpus: Count = 2
    head_memory_gib: Annotated[float, Field(ge=2, allow_inf_nan=False)] = 4
    node_selector: Mapping[Key, Value] = {}
    tolerations: tuple[Toleration, ...] = ()
    queue: ObjectName | None = None
    priority_class: ObjectName | None = None
    queue_hours: Annotated[float, Field(gt=0, le=24 * 365, allow_inf_nan=False)] = 48
    deadline_hours: Annotated[float, Field(gt=0, le=24 * 365, allow_inf_nan=False)] = 24
    start_minutes: Annotated[float, Field(gt=0, le=24 * 60, allow_inf_nan=False)] = 60

    @model_validator(mode="after")
    def _room(self) -> "Cluster":
        memory = self.memory_gib_per_worker * self.workers_per_node
        if self.shm_gib >= memory:
            raise ValueError(
                f"shm_gib: {self.shm_gib:g} counts towards the pod's memory, which is {memory:g} GiB; give it less, or "
                "raise memory_gib_per_worker"
            )
        return self


def cluster_problems(cluster: Cluster, workers: int, gpus_per_worker: float) -> list[str]:
    """What does not fit between a cluster and the rest of `resources`, as sentences; empty when
    all fits.
    """
    found = []
    if workers % cluster.workers_per_node:
        found.append(
            f"resources.workers: {workers} is no multiple of resources.cluster.workers_per_node: "
            f"{cluster.workers_per_node}; the last node would be partly idle"
        )
    if cluster.min_workers is not None and cluster.min_workers > workers:
        found.append(
            f"resources.cluster.min_workers: {cluster.min_workers} is more than resources.workers: {workers}"
        )
    if (gpus := gpus_per_worker * cluster.workers_per_node) != int(gpus):
        found.append(
            f"resources.gpus_per_worker: {gpus_per_worker:g} makes {gpus:g} GPUs a node with workers_per_node: "
            f"{cluster.workers_per_node}; a node is asked for whole GPUs"
        )
    return found
