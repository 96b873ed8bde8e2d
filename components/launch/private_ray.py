"""A Ray that serves this machine only: its ports are on loopback, and each call needs a token."""

import contextlib
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Ray has no option for the address that its servers bind. It binds loopback on systems where it
#: expects no cluster, and this variable says that this is one (ray/_private/services.py,
#: get_node_ip_address; the C++ servers bind the address that they are given when it is loopback).
_LOOPBACK = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "GLOO_SOCKET_IFNAME": "lo",
    "NCCL_SOCKET_IFNAME": "lo",
}
#: Ray's agents write their titles over their environment without it, and nobody could tell which
#: run they belong to (setproctitle, src/spt_status.c).
_KEEP_ENVIRONMENT = {"SPT_NOENV": "1"}


def settings() -> dict[str, str]:
    """Environment variables of a Ray of this machine, with a new token. Its processes and those
    that connect to it need the same ones, so they inherit them.
    """
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        **_LOOPBACK,
        **_KEEP_ENVIRONMENT,
    }


@contextlib.contextmanager
def agent_ports() -> Iterator[None]:
    """Gives the agents of a Ray that the body starts free ports of this machine; ray.init has no
    options for them.

    By default, the agent with the job API takes port 52365 in every Ray. Where another Ray has it,
    the agent tries again for seconds, of the 15 that the raylet waits for it
    (src/ray/raylet/node_manager.cc, WaitForDashboardAgentPorts), and then has no job API.
    """
    from ray._private import parameter

    names = (
        "dashboard_agent_listen_port",
        "metrics_agent_port",
        "metrics_export_port",
        "runtime_env_agent_port",
    )
    original = parameter.RayParams
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    setattr(parameter, "RayParams", lambda **others: original(**{**others, **ports}))  # noqa: B010
    try:
        yield
    finally:
        setattr(parameter, "RayParams", original)  # noqa: B010


@contextlib.contextmanager
def patient(seconds: float) -> Iterator[None]:
    """Gives the raylet that the body starts a number of seconds to register.

    Ray gives it thirty (ray/_private/node.py, Node.__init__), without an option: the function that
    it calls until the raylet is known waits longer here.
    """
    from ray._private import services

    original, deadline = services.get_node, time.monotonic() + seconds

    def get_node(*arguments: Any, **others: Any) -> Any:
        while True:
            try:
                return original(*arguments, **others)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    setattr(services, "get_node", get_node)  # noqa: B010
    try:
        yield
    finally:
        setattr(services, "get_node", original)  # noqa: B010


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def torch_config(folder: str, backend: str) -> Any:
    """A TorchConfig whose workers find each other through a file in a folder of this machine.

    PyTorch's default, a TCPStore, listens on all addresses of the machine. backend: see
    process_group.py.
    """
    import ray
    from ray.train.torch import TorchConfig
    from ray.train.torch.config import (
        _set_torch_distributed_env_vars,
        _setup_torch_process_group,
        _TorchBackend,
    )

    class FileBackend(_TorchBackend):
        def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
            file = Path(folder) / f"rendezvous-{secrets.token_hex(8)}"  # one per start of the group
            worker_group.execute(_set_torch_distributed_env_vars)
            ray.get(
                [
                    worker_group.execute_single_async(
                        rank,
                        _setup_torch_process_group,
                        backend=backend_config.backend,
                        world_rank=rank,
                        world_size=len(worker_group),
                        init_method=file.as_uri(),
                        timeout_s=backend_config.timeout_s,
                    )
                    for rank in range(len(worker_group))
                ]
            )

    class FileConfig(TorchConfig):
        @property
        def backend_cls(self) -> Any:
            return FileBackend

    return FileConfig(backend=backend)
