"""Runs a group's worker function on Ray Train: on the Ray that the run started, else on one of
its own.
"""

import importlib
import logging
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.launch import private_ray
from components.launch.capacity import short
from xstilts.errors import InfrastructureError
from xstilts.plan.placement import Cluster

#: Ray's own settings for a group. It gets time to import torch on a busy machine. The health check
#: is also the period at which reports are collected.
ENVIRONMENT = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_DEDUP_LOGS": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
#: Prefixes of what workers get through Ray, which writes it to its logs and gives it to every
#: client: settings, never a secret. Secrets reach workers in the environment that they inherit from
#: Ray's node: a local run's own, or that of the pods and machines of a cluster.
_PASSED_ON = (
    "RAY_TRAIN_",
    "TOKENIZERS_",
    "OMP_",
    "MKL_",
    "GLOO_",
    "NCCL_",
    "PYTHONPATH",
    "XSTILTS_CACHE",
    "XSTILTS_VERSIONS",
)


def call(config: Mapping[str, Any]) -> None:
    """Imports and calls the worker function that `config` names: what every Ray Train worker
    runs.
    """
    module, _, name = config["worker"].partition(":")
    getattr(importlib.import_module(module), name)(config["config"])


def ray_address(seconds: float = 120.0) -> str:
    """The Ray to use: XSTILTS_RAY_ADDRESS, the one that a local run is starting (it is waited
    for), or `local`.
    """
    file = os.environ.get("XSTILTS_RAY_ADDRESS_FILE")
    if file is None:
        return os.environ.get("XSTILTS_RAY_ADDRESS", "local")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if Path(file).is_file():
            return Path(file).read_text()
        time.sleep(0.1)
    raise InfrastructureError(
        f"the local Ray did not start within {seconds:.0f} s; see ray.log beside {file}"
    )


def launch(
    worker: str, config: Mapping[str, Any], resources: Mapping[str, Any], on_cluster: bool = False
) -> None:
    """Runs `worker` (module:function) with `config` on as many workers as the plan's resources say,
    and waits.

    on_cluster: this is the driver on a Ray cluster's head. The cluster's pods have addresses and
    credentials in their own environment; a worker takes its share of a pod's CPUs, so that no pod
    gets more workers than it has room for. Raises InfrastructureError when Ray cannot be had, has
    no room for the workers, or they are lost more often than is allowed.
    """
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    address = "auto" if on_cluster else ray_address()
    if address == "local" and os.environ.get("RAY_AUTH_MODE") != "token":
        os.environ.update(private_ray.settings())  # once: a process keeps its first token
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    passed_on = ("RAY_TRAIN_",) if on_cluster else _PASSED_ON
    environment = {k: v for k, v in os.environ.items() if k.startswith(passed_on)}
    threads, gpus = str(resources.get("threads", 1)), float(resources.get("gpus_per_worker") or 0)
    environment |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    workers = int(resources.get("workers", 1))
    cluster = Cluster.model_validate(resources.get("cluster") or {})
    least = (cluster.min_workers or workers) if on_cluster else workers
    cpus = cluster.cpus_per_worker if on_cluster else 1
    try:
        more = {"include_dashboard": False, "num_cpus": workers + 1} if address == "local" else {}
        ray.init(
            address=address,
            runtime_env={"env_vars": environment},
            log_to_driver=True,
            logging_level=logging.WARNING,
            **more,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise InfrastructureError(
            f"Ray at {address!r} cannot be used ({type(error).__name__}: {error})"
        ) from error
    private = not on_cluster and "XSTILTS_RAY_ADDRESS" not in os.environ
    if private:  # this machine's own Ray, which does not grow
        there = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if problem := short(there, least, cpus, gpus):
            ray.shutdown()
            raise InfrastructureError(f"Ray on this machine: {problem}")
    with tempfile.TemporaryDirectory(prefix="xstilts-ray-") as storage:
        try:
            TorchTrainer(
                call,
                torch_config=private_ray.torch_config(storage) if private else None,
                train_loop_config={"worker": worker, "config": dict(config)},
                scaling_config=ScalingConfig(
                    num_workers=workers if least == workers else (least, workers),
                    use_gpu=gpus > 0,
                    resources_per_worker={"CPU": cpus, **({"GPU": gpus} if gpus else {})},
                ),
                run_config=RunConfig(
                    name="group", storage_path=storage, failure_config=FailureConfig(max_failures=3)
                ),
            ).fit()
        except ray.train.TrainingFailedError as error:
            raise InfrastructureError(f"the worker group was lost: {error}") from error
        finally:
            ray.shutdown()
