"""Runs a group's worker function on Ray Train, on the Ray of the run or a new one."""

import contextlib
import importlib
import logging
import os
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.launch import private_ray, process_group
from components.launch.capacity import problem
from xstilts.environment import seconds_setting
from xstilts.errors import InfrastructureError
from xstilts.plan.placement import Cluster

_START = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"


def ray_start_seconds() -> float:
    """How long Ray may take to start on this machine: XSTILTS_RAY_START_SECONDS, or two minutes
    times the processes that compete for each core.
    """
    default = 120.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    return seconds_setting("XSTILTS_RAY_START_SECONDS", default)


#: Ray's settings for a group: time to import torch and Ray's agents on a busy machine. The health
#: check interval is also the interval at which reports are collected.
ENVIRONMENT = {
    "RAY_TRAIN_V2_ENABLED": "1",
    _START: f"{2.5 * ray_start_seconds():.0f}",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_agent_register_timeout_ms": f"{1_000 * ray_start_seconds():.0f}",
    "RAY_DEDUP_LOGS": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
#: Prefixes of the variables that workers get through Ray, which writes them to its logs and gives
#: them to every client: settings, never a secret. Workers inherit secrets with the environment
#: of Ray's node: a local run's own, or that of a cluster's pods and machines.
WORKER_PREFIXES = (
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
#: Ray Train's wait for the placement of a group that can do with fewer workers. Such a group starts
#: where its nodes are known to have room, so a longer wait means that a node is gone: for up to
#: 20 s Ray Train still counts a lost node.
ELASTIC_START_SECONDS = 30.0
#: How long a Ray that runs elsewhere may take to accept a connection.
ANSWER_SECONDS = 15.0
#: How often a group's workers may be lost, besides those that it can do without.
MAX_LOSSES = 3


def resize_seconds() -> float:
    """How often a group with min_workers looks for nodes that were added:
    XSTILTS_RESIZE_SECONDS, or 60.
    """
    return seconds_setting("XSTILTS_RESIZE_SECONDS", 60)


def set_environment() -> None:
    """Sets Ray's variables that are not set; Ray reads some of them when it is imported."""
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)


def start_seconds(minimum: int, workers: int, configured: str) -> str:
    """Ray Train's time-out for the placement of a group, in seconds."""
    return configured if minimum == workers else str(min(float(configured), ELASTIC_START_SECONDS))


def call(config: Mapping[str, Any]) -> None:
    """Imports and calls the worker function named in `config`; runs in every Ray Train worker."""
    module, _, name = config["worker"].partition(":")
    getattr(importlib.import_module(module), name)(config["config"])


def ray_address(seconds: float | None = None) -> str:
    """The address of Ray: XSTILTS_RAY_ADDRESS, that of the Ray which a local run is starting (it
    waits for it), or `local`.
    """
    seconds = seconds or ray_start_seconds()
    file = os.environ.get("XSTILTS_RAY_ADDRESS_FILE")
    if file is None:
        return os.environ.get("XSTILTS_RAY_ADDRESS", "local")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if Path(file).is_file():
            return Path(file).read_text()
        time.sleep(0.1)
    raise InfrastructureError(
        f"the local Ray did not start within {seconds:.0f} s; see ray.log next to {file}. On a "
        "slow machine, set XSTILTS_RAY_START_SECONDS"
    )


def check_answer(address: str, seconds: float = ANSWER_SECONDS) -> None:
    """Raises InfrastructureError if no server accepts connections at `[ray://]HOST:PORT` within
    some seconds. Ray itself retries for four minutes, without a message, and ends the process.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():  # `local` and `auto`; Ray has a message for the rest
        return
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
            return
        except (OSError, OverflowError) as error:
            if time.monotonic() > deadline:
                raise InfrastructureError(
                    f"no Ray answers at {address} ({error}); start it, or correct "
                    "XSTILTS_RAY_ADDRESS"
                ) from error
        time.sleep(0.5)


def launch(
    worker: str, config: Mapping[str, Any], resources: Mapping[str, Any], on_cluster: bool = False
) -> None:
    """Runs `worker` (module:function) with `config` on the workers in `resources`, and waits.

    on_cluster: this process is the driver on the head of a Ray cluster. The cluster's pods have
    addresses and credentials in their own environment, and each worker reserves its share of a
    pod's CPUs. Raises InfrastructureError if Ray cannot be used, is too small, or loses workers too
    often.
    """
    set_environment()
    address = "auto" if on_cluster else ray_address()
    check_answer(address)
    if address == "local" and os.environ.get("RAY_AUTH_MODE") != "token":
        os.environ.update(private_ray.settings())  # once: a process keeps its first token
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    prefixes = ("RAY_TRAIN_",) if on_cluster else WORKER_PREFIXES
    environment = {k: v for k, v in os.environ.items() if k.startswith(prefixes)}
    threads, gpus = str(resources.get("threads", 1)), float(resources.get("gpus_per_worker") or 0)
    environment |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    if ":" in address:  # Ray Train's own actors otherwise search this machine for any Ray
        environment["RAY_ADDRESS"] = address
    workers = int(resources.get("workers", 1))
    cluster = Cluster.model_validate(resources.get("cluster") or {})
    minimum = (cluster.min_workers or workers) if on_cluster else workers
    environment[_START] = start_seconds(minimum, workers, os.environ[_START])
    cpus = cluster.cpus_per_worker if on_cluster else 1
    backend = process_group.backend(gpus > 0)
    try:
        local_only = {}
        if address == "local":
            local_only = {"include_dashboard": False, "num_cpus": workers + 1}
        with private_ray.agent_ports() if local_only else contextlib.nullcontext():
            ray.init(
                address=address,
                runtime_env={"env_vars": environment},
                log_to_driver=True,
                logging_level=logging.WARNING,
                **local_only,
            )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise InfrastructureError(
            f"cannot use Ray at {address!r} ({type(error).__name__}: {error})"
        ) from error
    private = not on_cluster and "XSTILTS_RAY_ADDRESS" not in os.environ
    if private:  # a local Ray does not grow
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if too_small := problem(nodes, minimum, cpus, gpus):
            ray.shutdown()
            raise InfrastructureError(f"Ray on this machine: {too_small}")
    with tempfile.TemporaryDirectory(prefix="xstilts-ray-") as storage:
        try:
            TorchTrainer(
                call,
                torch_config=(
                    private_ray.torch_config(storage, backend)
                    if private
                    else TorchConfig(backend=backend)
                ),
                train_loop_config={"worker": worker, "config": dict(config)},
                scaling_config=ScalingConfig(
                    num_workers=workers if minimum == workers else (minimum, workers),
                    use_gpu=gpus > 0,
                    resources_per_worker={"CPU": cpus, **({"GPU": gpus} if gpus else {})},
                    elastic_resize_monitor_interval_s=resize_seconds(),
                ),
                run_config=RunConfig(
                    name="group",
                    storage_path=storage,
                    failure_config=FailureConfig(max_failures=MAX_LOSSES + workers - minimum),
                ),
            ).fit()
        except ray.train.TrainingFailedError as error:
            raise InfrastructureError(f"the worker group failed: {error}") from error
        finally:
            ray.shutdown()
