"""The schema of a plan's resources."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from xstilts.plan.part import Part
from xstilts.plan.placement import Cluster, cluster_problems
from xstilts.plan.value_types import MOST_PROCESSES, Positive, Processes

#: Most worker groups of a backbone.
MOST_GROUPS = 32
#: Smallest part of a GPU that Ray counts.
SMALLEST_PART = 0.0001


def _switch(value: Any) -> Any:
    """YAML reads `on` and `off` as booleans."""
    return ("on" if value else "off") if isinstance(value, bool) else value


def _token_budget(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError(f"invalid value {value!r}; allowed: auto, or a number of at least 1")


def _gpus(value: float) -> float:
    if not value.is_integer() and not SMALLEST_PART <= value < 1:  # Ray refuses it
        raise ValueError(
            f"invalid value {value:g}; allowed: a whole number, or a part of one GPU, from "
            f"{SMALLEST_PART:g} to 1"
        )
    return value


class Resources(Part):
    """Resources of a run. They cannot change a result and are not fingerprinted. Those that are
    `auto` are chosen from free memory.

    data_processes: how many processes of each worker prepare rows and pictures in the background;
    chosen by the worker if not set. sharding: whether a group's workers share the weights of the
    text stack (models/sharding.py). groups: worker groups per backbone. cluster: resources of each
    group on Kubernetes; other launchers ignore it.
    """

    workers: Processes = 1
    threads: Processes = 1
    data_processes: Annotated[int, Field(ge=0, le=MOST_PROCESSES)] | None = None
    tokens_per_micro_batch: Annotated[Any, AfterValidator(_token_budget)] = "auto"
    activation_checkpointing: Annotated[Literal["auto", "on", "off"], BeforeValidator(_switch)] = (
        "auto"
    )
    checkpoint_every: Annotated[int, Field(ge=0, lt=2**63)] = 0
    gpus_per_worker: Annotated[float, Field(ge=0), AfterValidator(_gpus)] = 0
    sharding: Literal["none", "full", "auto"] = "auto"
    groups: Annotated[int, Field(ge=1, le=MOST_GROUPS)] = 1
    gpu_memory_gib: Positive | None = None
    cluster: Cluster | None = None

    @model_validator(mode="after")
    def _cluster_fits(self) -> "Resources":
        if self.cluster and (
            problems := cluster_problems(self.cluster, self.workers, self.gpus_per_worker)
        ):
            raise ValueError("; ".join(problems))
        return self
