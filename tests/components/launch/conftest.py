"""Fixtures of the launcher tests: settings of a group, a step's environment, and the strict schema
of a RayJob.
"""

import copy
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from components.launch import submit
from components.launch.rayjob import build, owner_of
from xstilts.runs import actions, folder
from xstilts.runs.folder import split_run_uri
from xstilts.store.server import Server, serve
from xstilts.store.store import Store

CONFIG = {"run_uri": "s3://bench/store/runs/captions-7", "group": "llava", "kind": "finetune"}
SETTINGS: dict[str, Any] = {
    "workers": 16, "gpus_per_worker": 1, "threads": 4,
    "cluster": {
        "workers_per_node": 8, "cpus_per_worker": 12, "memory_gib_per_worker": 96, "shm_gib": 64, "disk_gib": 500,
        "head_cpus": 4, "head_memory_gib": 16, "deadline_hours": 12,
        "node_selector": {"nvidia.com/gpu.product": "NVIDIA-H200"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    },
}  # fmt: skip
ENVIRONMENT = {
    "XSTILTS_NAMESPACE": "xstilts", "XSTILTS_POD_NAME": "step-pod", "XSTILTS_POD_UID": "0b1f",
    "XSTILTS_WORKER_IMAGE": "registry.example/xstilts/finetune-worker:1", "XSTILTS_QUEUE": "xstilts",
    "XSTILTS_PRIORITY_CLASS": "xstilts-batch", "XSTILTS_RAY_SERVICE_ACCOUNT": "xstilts-ray",
    "XSTILTS_STORE": "s3://bench/store", "AWS_ENDPOINT_URL": "http://s3:8333", "AWS_REGION": "eu-1",
    "AWS_ACCESS_KEY_ID": "never-by-value", "AWS_SECRET_ACCESS_KEY": "nor-this",
}  # fmt: skip


#: The pod of a step, owned by its Argo Workflow, as Argo 4.0 writes it.
POD: dict[str, Any] = {
    "metadata": {
        "name": "step-pod", "uid": "0b1f", "ownerReferences": [{
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "intermediate-to-xtreme-r-x",
            "uid": "2c3d", "controller": True, "blockOwnerDeletion": True,
        }],
    },
}  # fmt: skip


@pytest.fixture
def job() -> dict[str, Any]:
    """The RayJob of 2 × 8 GPUs."""
    return build(copy.deepcopy(SETTINGS), ENVIRONMENT, CONFIG, owner_of(POD))


def _strict(schema: Any) -> Any:
    """A CRD's schema in which unknown fields are mistakes, as the API server's strict validation
    has it.
    """
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items()}
    if made.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    closed = made.get("type") == "object" and "properties" in made
    if (
        closed
        and not made.get("x-kubernetes-preserve-unknown-fields")
        and "additionalProperties" not in made
    ):
        made["additionalProperties"] = False
    return made


@pytest.fixture(scope="session")
def matches_crd() -> Callable[[dict[str, Any]], None]:
    """Raises jsonschema.ValidationError where a RayJob is not what the CRD allows; unknown
    fields are mistakes.
    """
    file = Path(__file__).resolve().parents[4] / "shared" / "crds" / "ray.io_rayjobs.yaml"
    if not file.is_file():
        pytest.skip(f"no schema of RayJobs: {file} is absent")
    versions = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)["spec"]["versions"]
    schema = next(v for v in versions if v["name"] == "v1")["schema"]["openAPIV3Schema"]
    # The API server checks metadata itself.
    schema["properties"]["metadata"] = {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
    }
    validator = jsonschema.Draft7Validator(_strict(schema))
    return validator.validate


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(scope="session")
def opened(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One connection for all tests: opening one takes longer than most of them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.env().items():
            patch.setenv(name, value)
        return Store.open("s3://xstilts/tests", cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def store(
    opened: Store, server: Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Store:
    """A store for one test, which `open_run` opens."""
    for name, value in {**server.env(), "XSTILTS_CACHE": str(opened.cache)}.items():
        monkeypatch.setenv(name, value)
    prefix = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    store = Store(opened.client, opened.bucket, prefix, opened.cache)
    for module in (actions, folder, submit):
        monkeypatch.setattr(module, "open_run", lambda uri: (store, split_run_uri(uri)[1]))
    return store
