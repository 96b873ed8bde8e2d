"""Every component in its own image gives what subprocesses give: the same steps, the same numbers.

Takes the small plan, or the one that XSTILTS_DOCKER_PLAN names. XSTILTS_DOCKER_RESULTS:
results.parquet of that plan's run in subprocesses, when there is one. XSTILTS_DOCKER=required: an
engine or an image that is not there is a failure.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from images.build import engine
from pipelines.docker_runner import LABEL, check_images
from tests.e2e.exposure import MARKED, Exposure, appearances, keep, knock, look
from tests.e2e.runs import SMALL, Finished, command, left_behind
from xstilts.errors import InfrastructureError

pytestmark = [pytest.mark.slow, pytest.mark.docker]

PLAN = Path(os.environ.get("XSTILTS_DOCKER_PLAN", SMALL))
RESULTS = os.environ.get("XSTILTS_DOCKER_RESULTS")


@dataclass(frozen=True)
class InContainers:
    """A finished run: its home, and what it showed to others while it worked."""

    home: Path
    exposure: Exposure


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> InContainers:
    """The plan, run in containers, with marked secrets in the user's environment."""
    try:
        client = engine()
        check_images(client)
    except InfrastructureError as error:
        if os.environ.get("XSTILTS_DOCKER") == "required":
            raise
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("docker")
    seen = Exposure(tmp_path_factory.mktemp("kept"))
    with subprocess.Popen(
        [*command(folder, PLAN), "--runner", "docker"], env={**os.environ, **MARKED}
    ) as process:
        while process.poll() is None:
            inside = processes_in_containers(client, folder)
            now = look([process.pid, *inside], seen)
            for container in inside:
                with contextlib.suppress(OSError):  # it ended meanwhile, or is not ours to read
                    keep(Path(f"/proc/{container}/root/tmp"), seen)
            if not seen.from_here and any(one.program.startswith("ray::RayTrain") for one in now):
                knock(now, seen)
            time.sleep(0.5)
    log = folder / "out" / "logs" / "pipeline.log"
    assert process.returncode == 0, log.read_text()[-3000:] if log.is_file() else ""
    return InContainers(folder, seen)


def processes_in_containers(client: Any, folder: Path) -> list[int]:
    """The first process of each container of a run, as this machine numbers it."""
    marker = folder / "out" / "run.json"
    if not marker.is_file():
        return []
    label = f"{LABEL}={json.loads(marker.read_text())['run']}"
    containers = client.containers.list(filters={"label": label}, ignore_removed=True)
    return [pid for one in containers if (pid := one.attrs["State"]["Pid"])]


@pytest.fixture(scope="module")
def home(finished: InContainers) -> Path:
    return finished.home


def ordered(frame: pd.DataFrame) -> pd.DataFrame:
    keys = ["backbone", "arm", "seed", "evaluation", "split", "language", "metric"]
    return frame.sort_values(keys).reset_index(drop=True)


def test_the_results_are_those_of_the_subprocess_runner(
    home: Path, request: pytest.FixtureRequest
) -> None:
    if RESULTS:
        expected = pd.read_parquet(RESULTS)
    else:
        undisturbed: Finished = request.getfixturevalue("undisturbed")
        expected = undisturbed.results
    found = pd.read_parquet(home / "out" / "report" / "results.parquet")
    pd.testing.assert_frame_equal(ordered(found), ordered(expected), check_exact=True)


def test_the_steps_are_those_that_this_machine_would_do(home: Path) -> None:
    """The plan component's image has none of the libraries that a fingerprint names, and names
    the same ones.
    """
    planned = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "plan", str(PLAN), "--home", str(home), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = {row["kind"]: row for row in json.loads(planned.stdout)["steps"]}
    assert {"records", "build", "encode", "finetune", "score"} <= set(rows)
    assert {kind: row["to_do"] for kind, row in rows.items()} == dict.fromkeys(rows, 0)


def test_every_port_of_a_container_is_on_loopback(finished: InContainers) -> None:
    """Containers share this machine's network."""
    listeners = finished.exposure.listeners
    assert "gcs_server" in {one.program for one in listeners}
    assert finished.exposure.reachable == []


def test_other_machines_connect_to_no_port_of_a_container(finished: InContainers) -> None:
    exposure = finished.exposure
    if exposure.no_namespace:
        pytest.skip(f"NO SECOND NAMESPACE: {exposure.no_namespace}")
    assert exposure.control == "connected", "the probe reaches an open port of this machine"
    assert set(exposure.from_outside.values()) == {"refused"}


def test_a_process_without_the_token_starts_no_job_in_a_container(finished: InContainers) -> None:
    assert finished.exposure.from_here
    assert "HTTP 200" not in finished.exposure.from_here.values()


def test_containers_show_no_secret(finished: InContainers) -> None:
    """No command line, log, file of the store or temporary file of a container holds one, and no
    container inherits one that it has no use for.
    """
    exposure = finished.exposure
    secrets = {*MARKED.values(), *exposure.secrets}
    assert {len(secret) for secret in exposure.secrets} == {32, 64}
    assert exposure.inherited == set()
    assert [c for c in exposure.commands for s in secrets if s in c] == []
    folders = (finished.home, exposure.files)
    assert [place for secret in secrets for place in appearances(secret, *folders)] == []


def test_nothing_of_it_is_left(home: Path) -> None:
    name = json.loads((home / "out" / "run.json").read_text())["run"]
    assert engine().containers.list(all=True, filters={"label": f"{LABEL}={name}"}) == []
    assert left_behind(home) == []


def test_the_files_in_the_shared_cache_are_not_roots(home: Path) -> None:
    owners = {path.stat().st_uid for path in (home / "cache-docker").rglob("*") if path.is_file()}
    assert 0 not in owners
    assert len(owners) == 1
