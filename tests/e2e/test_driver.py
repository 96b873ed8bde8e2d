"""The driver on a real Ray: what it starts ends with it."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.launch import lease
from components.launch.log import stored_logs
from components.launch.state import LEASE_LOST
from xstilts.errors import InfrastructureError
from xstilts.step import Step
from xstilts.store.server import Server, serve
from xstilts.store.store import Store

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.ray]
SETTINGS = {"workers": 2, "cluster": {"cpus_per_worker": 1, "min_workers": 1}}
CODE = """
    import logging
    logging.basicConfig(level=logging.INFO)
    from xstilts.runs import actions
    actions.WORKERS["finetune"] = "tests.components.launch.workers:%s"
    from components.launch import driver
    driver.main("%s", "llava", "finetune")
"""


@pytest.fixture(scope="module")
def ray_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Ray of the tests, in other processes."""
    file = tmp_path_factory.mktemp("ray") / "address"
    environment = {**os.environ, "XSTILTS_LOCAL": str(os.getpid()), "PYTHONPATH": str(ROOT)}
    head = subprocess.Popen(
        [sys.executable, "-m", "components.launch.head", "3", str(file)], env=environment, cwd=ROOT
    )
    try:
        end = time.monotonic() + 120
        while not file.is_file():
            assert time.monotonic() < end
            assert head.poll() is None
            time.sleep(0.2)
        yield file.read_text()
    finally:
        head.send_signal(signal.SIGTERM)
        head.wait(60)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def store(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store for one test, which the processes that it starts open too."""
    for name, value in {**server.env(), "XSTILTS_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    return Store.open(f"s3://xstilts/{tmp_path.name}", cache=tmp_path / "cache")


def put_step(store: Store) -> None:
    """A run with one group of one step."""
    step = Step("finetune", {"n": 1}, {}, SETTINGS)
    body = {
        "spec": {"finetune": [step.fingerprint], "score": []},
        "steps": {step.fingerprint: step.to_json()},
    }
    store.put_json("runs/r/specs/llava.json", body)


def driver(
    worker: str, store: Store, folder: Path, ray: str, lifetime: float
) -> subprocess.Popen[bytes]:
    put_step(store)
    environment = {
        **os.environ, "RAY_ADDRESS": ray, "PYTHONPATH": str(ROOT), "XSTILTS_LEASE_SECONDS": str(lifetime),
        "RAY_TRAIN_TEST_FOLDER": str(folder),
    }  # fmt: skip
    code = textwrap.dedent(CODE % (worker, f"{store.uri}/runs/r"))
    with open(folder / "log", "ab") as log:  # as Ray's job supervisor starts it
        return subprocess.Popen(
            [sys.executable, "-c", code], env=environment, cwd=ROOT, stdout=log, stderr=log
        )


def stored(store: Store) -> str:
    """The end of the job's log in the store."""
    [(_, _, found)] = stored_logs(store, "runs/r")
    return found.text


def test_it_runs_the_group_s_worker_function(
    store: Store, tmp_path: Path, ray_address: str
) -> None:
    with lease.Keeper(store, "runs/r", "finetune-llava", "test", 60):
        process = driver("quick", store, tmp_path, ray_address, 60)
        assert process.wait(180) == 0
    assert (tmp_path / "config").read_text() == "finetune llava"
    assert f"finetune of llava, for {store.uri}/runs/r" in stored(store)


def test_the_stored_log_has_the_reason_of_the_exit(
    store: Store, tmp_path: Path, ray_address: str
) -> None:
    with lease.Keeper(store, "runs/r", "finetune-llava", "test", 60):
        assert (
            driver("no_such_function", store, tmp_path, ray_address, 60).wait(180)
            == InfrastructureError.exit_code
        )
    assert "has no attribute 'no_such_function'" in stored(store)
    assert "xstilts: the worker group failed" in stored(store)


def test_the_local_launcher_runs_it_on_the_ray_that_the_run_started(
    store: Store, tmp_path: Path, ray_address: str
) -> None:
    put_step(store)
    code = """
        from components.launch.choose import launcher
        config = {"run_uri": "%s", "group": "llava", "kind": "finetune"}
        launcher()("tests.components.launch.workers:quick", config, {"workers": 2, "threads": 1})
    """
    environment = {
        **os.environ, "XSTILTS_RAY_ADDRESS": ray_address, "PYTHONPATH": str(ROOT), "RAY_TRAIN_TEST_FOLDER": str(tmp_path),
    }  # fmt: skip
    code = textwrap.dedent(code % f"{store.uri}/runs/r")
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, check=True)
    assert (tmp_path / "config").read_text() == "finetune llava"


def test_a_group_that_this_machine_can_never_place_is_refused_at_once(
    store: Store, tmp_path: Path
) -> None:
    code = """
        from components.launch.choose import launcher
        config = {"run_uri": "%s", "group": "llava", "kind": "finetune"}
        launcher()("tests.components.launch.workers:quick", config, {"workers": 1, "gpus_per_worker": 64})
    """
    put_step(store)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_TRAIN_TEST_FOLDER": str(tmp_path)}
    code = textwrap.dedent(code % f"{store.uri}/runs/r")
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, text=True, capture_output=True
    )
    assert (
        "Ray on this machine: the group needs 1 workers of 1 CPUs and 64 GPUs, but none fits on a node"
        in done.stderr
    )


def test_a_driver_that_cannot_guard_its_gpus_works_on_none(store: Store, tmp_path: Path) -> None:
    put_step(store)
    code = """
        import time
        import components.launch.local as local
        from components.launch import driver
        def broken(*_): raise OSError("no descriptors left")
        driver.watch, local.launch = broken, lambda *_, **__: time.sleep(600)
        driver.main("%s", "llava", "finetune")
    """
    code, environment = (
        textwrap.dedent(code % f"{store.uri}/runs/r"),
        {**os.environ, "PYTHONPATH": str(ROOT)},
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, text=True, capture_output=True
    )
    assert done.returncode == LEASE_LOST
    assert "cannot watch the lease (OSError: no descriptors left)" in done.stderr


def test_its_workers_end_when_the_run_is_cancelled(
    store: Store, tmp_path: Path, ray_address: str
) -> None:
    with lease.Keeper(store, "runs/r", "finetune-llava", "test", 60):
        process = driver("endless", store, tmp_path, ray_address, 12)
        end = time.monotonic() + 180
        while len(found := list(tmp_path.glob("*.pid"))) < 2:
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.1)
        pids = [int(file.read_text()) for file in found]
        lease.cancel(store, "runs/r")
        assert process.wait(60) == LEASE_LOST
    assert "exiting: the run was cancelled" in stored(store)
    end = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.1)
