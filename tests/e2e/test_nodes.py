"""Ray Train over several nodes with addresses and disks of their own: the values of one node,
also when one is lost.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
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


def start(
    home: Path, cluster: nodes.Cluster, server: Server, resources: str
) -> subprocess.Popen[bytes]:
    """Runs the small plan with these resources, which change no fingerprint, on a cluster."""
    plan = home / "plan.yaml"
    plan.write_text(SMALL.read_text().replace("workers: 2", resources))
    launched = {
        **os.environ,
        **environment(server),
        "XSTILTS_LAUNCHER": "ray",
        "XSTILTS_RAY_ADDRESS": cluster.jobs,
    }
    return subprocess.Popen([*command(home, plan), "--store", "s3://xstilts/store"], env=launched)


def test_two_nodes_give_the_values_of_one(
    undisturbed: Finished, network: str, tmp_path: Path
) -> None:
    home = untrained(undisturbed, tmp_path)
    with (
        serve(home / "store", host=network) as server,
        nodes.cluster(2, environment(server), tmp_path) as cluster,
    ):
        assert (
            start(home, cluster, server, "workers: 2, cluster: {cpus_per_worker: 1}").wait(240) == 0
        )
        assert all(node.files("cache") for node in cluster.nodes), (
            "a worker ran on each node and pulled data there"
        )
    pd.testing.assert_frame_equal(results(home), undisturbed.results, check_exact=True)


def a_model_is_done(store: Path) -> bool:
    return any(store.glob("steps/finetune/*/manifest.json"))


def a_model_is_being_trained(store: Path) -> bool:
    """A checkpoint is there of a model that is not done."""
    done = {manifest.parent.name for manifest in store.glob("steps/finetune/*/manifest.json")}
    return any(folder.name not in done for folder in store.glob("work/*"))


def sizes(store: Path) -> list[int]:
    """Workers of each attempt at a step, in order of time, without repetitions."""
    attempts = sorted(store.glob("runs/*/attempts/*/*.json"), key=lambda path: path.stem)
    workers = [json.loads(path.read_text())["workers"] for path in attempts]
    return [size for size, _ in itertools.groupby(workers)]


def assert_values(home: Path, undisturbed: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each update is in the history once with its loss, and all scores are the same."""
    disturbed, whole = histories(home, monkeypatch), histories(undisturbed.home, monkeypatch)
    assert disturbed.keys() == whole.keys()
    for fingerprint, history in disturbed.items():
        assert history["update"].tolist() == whole[fingerprint]["update"].tolist()
        np.testing.assert_allclose(history["loss"], whole[fingerprint]["loss"], rtol=1e-5)
    pd.testing.assert_frame_equal(results(home), undisturbed.results, rtol=1e-5)


@pytest.mark.parametrize(
    ("lost", "when"),
    [(nodes.Node.cut_off, a_model_is_done), (nodes.Node.kill_raylet, a_model_is_being_trained)],
    ids=["cut-off", "raylet-killed"],
)
def test_of_three_nodes_one_is_lost_and_two_go_on(
    undisturbed: Finished, network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    lost: Callable[[nodes.Node], None], when: Callable[[Path], bool],
) -> None:  # fmt: skip
    home = untrained(undisturbed, tmp_path)
    store = home / "store/xstilts/store"
    with (
        serve(home / "store", host=network) as server,
        nodes.cluster(3, environment(server), tmp_path) as cluster,
    ):
        run = start(
            home, cluster, server, "workers: 3, cluster: {min_workers: 2, cpus_per_worker: 1}"
        )
        while not when(store):
            assert run.poll() is None, "it ended before a node could be lost"
            time.sleep(0.05)
        lost(cluster.nodes[-1])
        assert run.wait(300) == 0
    assert sizes(store)[-2:] == [3, 2]
    assert_values(home, undisturbed, monkeypatch)


def test_a_node_that_is_added_joins_the_group(
    undisturbed: Finished, network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = untrained(undisturbed, tmp_path)
    store = home / "store/xstilts/store"
    often = {"XSTILTS_RESIZE_SECONDS": "3"}
    with (
        serve(home / "store", host=network) as server,
        nodes.cluster(2, {**environment(server), **often}, tmp_path) as cluster,
    ):
        run = start(
            home, cluster, server, "workers: 3, cluster: {min_workers: 2, cpus_per_worker: 1}"
        )
        while not sizes(store):
            assert run.poll() is None, "it ended before a node could be added"
            time.sleep(0.05)
        cluster.add()
        assert run.wait(300) == 0
    assert sizes(store) == [2, 3]
    assert_values(home, undisturbed, monkeypatch)
