"""Nodes of a cluster on one machine: network namespaces with addresses of their own, which share
no temporary files.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

RAY = str(Path(sys.executable).parent / "ray")
NETWORK = "10.77.0"
OUTSIDE = f"{NETWORK}.1"  # the machine itself, as the nodes see it
BRIDGE = "xstilts0"
PORT = 6399
#: Each node has a disk of its own here: what one writes, no other finds.
OWN = Path("/tmp/xstilts-node")
#: A node that is cut off is missed within seconds.
RAY_ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled", "XSTILTS_CACHE": f"{OWN}/cache", "RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_timeout_ms": "1000", "RAY_health_check_initial_delay_ms": "1000", "GLOO_SOCKET_IFNAME": "e0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2", "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "60",
}  # fmt: skip


def impossible() -> str | None:
    """Why nodes cannot be made here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None or shutil.which("nsenter") is None:
        return "network namespaces need iproute2 and util-linux"
    made = subprocess.run(
        ["ip", "netns", "add", "xstilts-try"], capture_output=True, text=True, check=False
    )
    if made.returncode:
        return f"network namespaces cannot be made here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", "xstilts-try"], check=True)
    return None


@dataclass
class Node:
    """One node: its namespace and address, and the process that holds its mounts and runs Ray."""

    name: str
    address: str
    ray: subprocess.Popen[bytes]

    def files(self, folder: str) -> list[Path]:
        """What lies below a folder of its own disk."""
        return [
            path
            for path in Path(f"/proc/{self.ray.pid}/root{OWN}/{folder}").rglob("*")
            if path.is_file()
        ]

    def cut_off(self) -> None:
        """Takes its network away. What runs on it goes on and reaches nobody."""
        _ip("-n", self.name, "link", "set", "e0", "down")

    def kill_raylet(self) -> None:
        """SIGKILL to Ray's own process on it. Its workers are left without one."""
        pids = subprocess.run(
            ["ip", "netns", "pids", self.name], capture_output=True, text=True, check=True
        )
        commands = {
            int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids.stdout.split()
        }
        [raylet] = [
            pid
            for pid, line in commands.items()
            if line.split(b"\0")[0].endswith(b"/raylet/raylet")
        ]
        os.kill(raylet, signal.SIGKILL)


@dataclass
class Cluster:
    """Nodes of one CPU each; the first is Ray's head. environment: of all nodes. logs: folder for
    what Ray prints.
    """

    environment: Mapping[str, str]
    logs: Path
    nodes: list[Node] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    @property
    def head(self) -> Node:
        return self.nodes[0]

    @property
    def jobs(self) -> str:
        """The address of Ray's job API."""
        return f"http://{self.head.address}:8265"

    def add(self) -> Node:
        """Starts another node, which joins the cluster."""
        number = len(self.names)
        name, address = f"xstilts-{number}", f"{NETWORK}.{10 + number}"
        self.names.append(name)
        _ip("netns", "add", name)
        _ip("link", "add", f"xs{number}", "type", "veth", "peer", "name", "e0", "netns", name)
        _ip("link", "set", f"xs{number}", "master", BRIDGE, "up")
        _ip("-n", name, "addr", "add", f"{address}/24", "dev", "e0")
        _ip("-n", name, "link", "set", "e0", "up")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "route", "add", "default", "via", OUTSIDE)
        ray = _start_ray(name, address, number == 0, self.environment, self.logs)
        self.nodes.append(Node(name, address, ray))
        return self.nodes[-1]

    def close(self) -> None:
        """Ends everything that runs on the nodes, and removes them."""
        for name in self.names:
            pids = subprocess.run(
                ["ip", "netns", "pids", name], capture_output=True, text=True, check=False
            )
            for pid in pids.stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), 9)
        for node in self.nodes:
            node.ray.wait()
        for number, name in enumerate(self.names):
            subprocess.run(["ip", "link", "del", f"xs{number}"], check=False, capture_output=True)
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@contextlib.contextmanager
def network() -> Iterator[str]:
    """A bridge for nodes; yields the address under which they reach this machine."""
    _ip("link", "add", BRIDGE, "type", "bridge")
    try:
        _ip("addr", "add", f"{OUTSIDE}/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        yield OUTSIDE
    finally:
        _ip("link", "del", BRIDGE)


@contextlib.contextmanager
def cluster(count: int, environment: Mapping[str, str], logs: Path) -> Iterator[Cluster]:
    """A cluster of so many nodes on the network."""
    made = Cluster(environment, logs)
    try:
        for _ in range(count):
            made.add()
        yield made
    finally:
        made.close()


def _start_ray(
    name: str, address: str, head: bool, environment: Mapping[str, str], logs: Path
) -> subprocess.Popen[bytes]:
    start = [
        RAY,
        "start",
        "--block",
        "--num-cpus=1",
        f"--node-ip-address={address}",
        "--disable-usage-stats",
    ]
    if head:
        start += ["--head", f"--port={PORT}", f"--temp-dir={OWN}/ray", "--dashboard-host=0.0.0.0"]
    else:
        start += [f"--address={NETWORK}.10:{PORT}"]
    mounted = f'mount --make-rprivate / && mount -t tmpfs tmpfs {OWN} && exec "$@"'
    OWN.mkdir(exist_ok=True)
    log = logs / f"{name}.log"
    with open(log, "wb") as stream:
        process = subprocess.Popen(
            ["ip", "netns", "exec", name, "unshare", "--mount", "sh", "-c", mounted, "sh", *start],
            env={**os.environ, **RAY_ENVIRONMENT, **environment}, stdout=stream, stderr=stream,
        )  # fmt: skip
    deadline = time.monotonic() + 90
    while b"Ray runtime started" not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise RuntimeError(f"Ray did not start on {name}: {log.read_text()[-2000:]}")
        time.sleep(0.2)
    return process


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
