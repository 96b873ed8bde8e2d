"""Ray Train over several nodes with addresses and disks of their own: the values of one node, also when one is cut off."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.e2e import nodes
from tests.e2e.runs import SMALL, Finished, command, histories, results
from xstilts.store.server import Server, serve

pytestmark = [pytest.mark.slow, pytest.mark.nodes, pytest.mark.ray]


@pytest.fixture(scope="module")
def network() -> Iterator[str]:
    if reason := nodes.impossible():
        pytest.skip(f"NO NODES: {reason}")
    with nodes.network() as outside:
        yield outside


def untrained(undisturbed: Finished, home: Path) -> Path:
    """A home whose store has what is staged and no model."""
    shutil.copytree(undisturbed.home / "store", home / "store")
    for kind in ("finetune", "score"):
        shutil.rmtree(home / "store/xstilts/store/steps" / kind)
    return home


def environment(server: Server) -> dict[str, str]:
    """What a node's image would hold: the code, its Python, and the way to the store."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**server.env(), "PATH": path, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}


def start(home: Path, cluster: nodes.Cluster, server: Server, resources: str) -> subprocess.Popen[bytes]:
    """Runs the small plan with these resources, which change no fingerprint, on a cluster."""
    plan = home / "plan.yaml"
    plan.write_text(SMALL.read_text().replace("workers: 2", resources))
    launched = {**os.environ, **environment(server), "XSTILTS_LAUNCHER": "ray", "XSTILTS_RAY_ADDRESS": cluster.jobs}
    return subprocess.Popen([*command(home, plan), "--store", "s3://xstilts/store"], env=launched)


def test_two_nodes_give_the_values_of_one(undisturbed: Finished, network: str, tmp_path: Path) -> None:
    home = untrained(undisturbed, tmp_path)
    with (
        serve(home / "store", host=network) as server,
        nodes.cluster(2, environment(server), tmp_path) as cluster,
    ):
        assert start(home, cluster, server, "workers: 2, cluster: {cpus_per_worker: 1}").wait(240) == 0
        assert all(node.files("cache") for node in cluster.nodes), "a worker ran on each node and pulled data there"
    pd.testing.assert_frame_equal(results(home), undisturbed.results, check_exact=True)


def test_of_three_nodes_one_is_cut_off_and_two_go_on(
    undisturbed: Finished, network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = untrained(undisturbed, tmp_path)
    models = home / "store/xstilts/store/steps/finetune"
    with (
        serve(home / "store", host=network) as server,
        nodes.cluster(3, environment(server), tmp_path) as cluster,
    ):
        run = start(home, cluster, server, "workers: 3, cluster: {min_workers: 2, cpus_per_worker: 1}")
        while not list(models.glob("*/manifest.json")):
            assert run.poll() is None, "it ended before a node could be cut off"
            time.sleep(0.1)
        cluster.nodes[-1].cut_off()
        assert run.wait(300) == 0
    cut_off, whole = histories(home, monkeypatch), histories(undisturbed.home, monkeypatch)
    assert cut_off.keys() == whole.keys()
    for fingerprint, history in cut_off.items():
        np.testing.assert_allclose(history["loss"], whole[fingerprint]["loss"], rtol=1e-5)
