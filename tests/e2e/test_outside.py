"""Other machines and users reach nothing of a run's own Ray. Without its settings they run code
there, which shows that the probe would notice.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.launch import private_ray
from tests.e2e.exposure import Exposure, Listener, ask_gcs, look
from tests.e2e.outside import impossible, namespace, outside, probe

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.e2e]

OPEN = {"RAY_AUTH_MODE": "disabled"}


@dataclass(frozen=True)
class Seen:
    """A Ray in a namespace of its own: its sockets, its agent's port, what a client found there from inside and from
    outside, and exit codes of clients of the GCS without a token and with it.
    """

    listeners: set[Listener]
    agent: int
    inside: dict[int, str]
    outside: dict[int, str]
    gcs: dict[str, int]


def watched(settings: dict[str, str], folder: Path) -> Seen:
    with namespace() as machine, outside(machine) as other:
        address, log = folder / "address", (folder / "ray.log").open("w")
        process = subprocess.Popen(
            ["ip", "netns", "exec", machine, sys.executable, "-m", "components.launch.head", "1", str(address)],
            env={
                **os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "XSTILTS_LOCAL": str(os.getpid()),
                "RAY_TMPDIR": str(folder), **settings,
            },
            stdout=log, stderr=log, cwd=folder,
        )  # fmt: skip
        try:
            listeners, agent = until_agent_listens(process, folder)
            ports = [one.port for one in listeners]
            host = address.read_text().partition(":")[0]
            token = settings.get("RAY_AUTH_TOKEN", "of nobody")
            gcs = {
                name: ask_gcs(address.read_text(), value, machine)[0]
                for name, value in (("none", None), ("another", "0" * 64), ("its own", token))
            }
            return Seen(listeners, agent, probe(host, ports, machine), other.probe(ports), gcs)
        finally:
            process.terminate()
            process.wait(60)


def until_agent_listens(
    process: subprocess.Popen[bytes], folder: Path
) -> tuple[set[Listener], int]:
    """Waits for the agent, which serves the job API. Returns all sockets, and its port."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, (folder / "ray.log").read_text()
        listeners = look([process.pid], Exposure(folder))
        [agent, *_] = [
            int(path.read_text())
            for path in folder.glob("ray/session_2*/dashboard_agent_listen_port_*")
        ] or [0]
        if (folder / "address").exists() and agent in {one.port for one in listeners}:
            return listeners, agent
        time.sleep(0.2)
    raise AssertionError("Ray's agent does not listen")


@pytest.fixture(scope="module")
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for Ray's sockets."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="xs", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="module", autouse=True)
def namespaces() -> None:
    if reason := impossible():
        pytest.skip(f"NO SECOND NAMESPACE: {reason}")


@pytest.fixture(scope="module")
def private(short_folder: Path) -> Seen:
    (short_folder / "p").mkdir()
    return watched(private_ray.settings(), short_folder / "p")


def test_a_ray_with_default_settings_runs_the_jobs_of_other_machines(short_folder: Path) -> None:
    (short_folder / "o").mkdir()
    seen = watched(OPEN, short_folder / "o")
    assert seen.outside[seen.agent] == "HTTP 200"
    assert seen.gcs == {"none": 0, "another": 0, "its own": 0}


def test_other_machines_connect_to_no_port_of_a_run_s_own_ray(private: Seen) -> None:
    assert len(private.listeners) >= 8
    assert set(private.outside.values()) == {"refused"}


def test_other_users_of_the_machine_start_no_job_without_its_token(private: Seen) -> None:
    assert private.inside[private.agent] == "HTTP 401"
    assert "HTTP 200" not in private.inside.values()


def test_the_gcs_answers_only_clients_with_its_token(private: Seen) -> None:
    assert private.gcs == {"none": 3, "another": 3, "its own": 0}
