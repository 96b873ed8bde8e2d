"""Another machine, as a network namespace with one cable to this one: what it can connect to."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.e2e.nodes import _ip, impossible

__all__ = ["Outside", "impossible", "outside", "probe"]

#: What a port did: refused, no answer, connected (it speaks no HTTP), or HTTP and the status with
#: which it took a job.
PROBE = """
import http.client, json, socket, sys
host, ports = sys.argv[1], [int(port) for port in sys.argv[2:]]
seen = {}
for port in ports:
    try:
        socket.create_connection((host, port), timeout=3).close()
    except ConnectionRefusedError:
        seen[port] = "refused"
        continue
    except OSError:
        seen[port] = "no answer"
        continue
    seen[port] = "connected"
    for path in ("/api/jobs/", "/api/job_agent/jobs/"):  # of the dashboard, of a node's agent
        connection = http.client.HTTPConnection(host, port, timeout=20)
        try:
            connection.request("POST", path, '{"entrypoint": "true"}', {"Content-Type": "application/json"})
            seen[port] = f"HTTP {connection.getresponse().status}"
        except (OSError, http.client.HTTPException):
            break
        if seen[port] == "HTTP 200":
            break
print(json.dumps(seen))
"""


def probe(host: str, ports: Iterable[int], namespace: str | None = None) -> dict[int, str]:
    """Connects to each port and posts a job to Ray's job API, without a token."""
    inside = ["ip", "netns", "exec", namespace] if namespace else []
    answer = subprocess.run(
        [*inside, sys.executable, "-c", PROBE, host, *map(str, sorted(set(ports)))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {int(port): outcome for port, outcome in json.loads(answer.stdout).items()}


@dataclass(frozen=True)
class Outside:
    """name: the namespace. host: the address of the other end of its cable."""

    name: str
    host: str

    def probe(self, ports: Iterable[int]) -> dict[int, str]:
        return probe(self.host, ports, self.name)


@contextlib.contextmanager
def outside(machine: str | None = None) -> Iterator[Outside]:
    """A namespace with a cable to this machine's network, or to that of the namespace `machine`."""
    number = os.getpid() % 16384  # test processes that run side by side take different networks
    here = f"10.78.{number // 64}.{4 * (number % 64) + 1}"
    there = f"10.78.{number // 64}.{4 * (number % 64) + 2}"
    name, cable = f"xs-out-{number}", f"xso{number}"
    of_machine = ["-n", machine] if machine else []
    _ip("netns", "add", name)
    try:
        peer = ["netns", machine] if machine else []
        _ip("-n", name, "link", "add", "e0", "type", "veth", "peer", "name", cable, *peer)
        if not machine:
            _ip("-n", name, "link", "set", cable, "netns", "1")
        _ip(*of_machine, "addr", "add", f"{here}/30", "dev", cable)
        _ip(*of_machine, "link", "set", cable, "up")
        if machine:  # Ray takes the address of the way to other machines
            _ip(*of_machine, "link", "set", "lo", "up")
            _ip(*of_machine, "route", "add", "default", "via", there)
        _ip("-n", name, "addr", "add", f"{there}/30", "dev", "e0")
        _ip("-n", name, "link", "set", "e0", "up")
        yield Outside(name, here)
    finally:
        _ip("netns", "del", name)  # and both ends of its cable


@contextlib.contextmanager
def namespace() -> Iterator[str]:
    name = f"xs-in-{os.getpid()}"
    _ip("netns", "add", name)
    try:
        yield name
    finally:
        _ip("netns", "del", name)
