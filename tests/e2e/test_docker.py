"""Every component in its own image gives what subprocesses give: the same steps, the same numbers.

Takes the small plan, or the one that XSTILTS_DOCKER_PLAN names. XSTILTS_DOCKER_RESULTS:
results.parquet of that plan's run in subprocesses, when there is one. XSTILTS_DOCKER=required: an
engine or an image that is not there is a failure.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from images.build import engine
from pipelines.docker_runner import LABEL, check_images
from tests.e2e.runs import SMALL, Finished, command, left_behind
from xstilts.errors import InfrastructureError

pytestmark = [pytest.mark.slow, pytest.mark.docker]

PLAN = Path(os.environ.get("XSTILTS_DOCKER_PLAN", SMALL))
RESULTS = os.environ.get("XSTILTS_DOCKER_RESULTS")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the plan was run in containers."""
    try:
        client = engine()
        check_images(client)
    except InfrastructureError as error:
        if os.environ.get("XSTILTS_DOCKER") == "required":
            raise
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("docker")
    done = subprocess.run([*command(folder, PLAN), "--runner", "docker"], check=False)
    log = folder / "out" / "logs" / "pipeline.log"
    assert done.returncode == 0, log.read_text()[-3000:] if log.is_file() else ""
    return folder


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


def test_nothing_of_it_is_left(home: Path) -> None:
    name = json.loads((home / "out" / "run.json").read_text())["run"]
    assert engine().containers.list(all=True, filters={"label": f"{LABEL}={name}"}) == []
    assert left_behind(home) == []


def test_the_files_in_the_shared_cache_are_not_roots(home: Path) -> None:
    owners = {path.stat().st_uid for path in (home / "cache-docker").rglob("*") if path.is_file()}
    assert 0 not in owners
    assert len(owners) == 1
