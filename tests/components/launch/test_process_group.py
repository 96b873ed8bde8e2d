"""The process group of GPU workers also serves CPU tensors: flags, failures and Python objects.

There is no NCCL here, so Gloo stands in for it on CUDA tensors. As with NCCL, a backend of CUDA
tensors alone has none for CPU tensors.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.multiprocessing import ProcessRaisedException

from components.launch import local, process_group
from tests.components.launch.group_of_two import work
from tests.processes import run_in_processes

pytestmark = pytest.mark.slow


def chosen(monkeypatch: pytest.MonkeyPatch, gpus: float, private: bool) -> str:
    """The backend with which Ray would start the workers of a launch."""
    import ray
    import ray.train.torch

    configs: list[Any] = []

    def trainer(*_: Any, torch_config: Any, **__: Any) -> Any:
        configs.append(torch_config)
        return SimpleNamespace(fit=lambda: None)

    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "nodes", list)
    monkeypatch.setattr(local, "problem", lambda *_: None)
    monkeypatch.setattr(local, "check_answer", lambda _: None)
    monkeypatch.setattr(ray.train.torch, "TorchTrainer", trainer)
    monkeypatch.delenv("XSTILTS_RAY_ADDRESS_FILE", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    if private:
        monkeypatch.delenv("XSTILTS_RAY_ADDRESS", raising=False)
    else:
        monkeypatch.setenv("XSTILTS_RAY_ADDRESS", "ray://elsewhere:1")
    local.launch("module:function", {}, {"workers": 2, "gpus_per_worker": gpus})
    # As ray/train/torch/config.py chooses without one.
    backend = (configs[0] and configs[0].backend) or ("nccl" if gpus else "gloo")
    return str(backend)


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize(("gpus", "backend"), [(0, "gloo"), (1, "cpu:gloo,cuda:nccl")])
def test_each_device_has_its_backend(
    monkeypatch: pytest.MonkeyPatch, gpus: float, backend: str, private: bool
) -> None:
    assert chosen(monkeypatch, gpus, private) == backend


def run(backend: str, folder: Path) -> list[dict[str, Any]]:
    run_in_processes(work, (backend, folder), 2)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


def test_gpu_workers_exchange_flags_and_objects(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    backend = chosen(monkeypatch, 1, private=True)
    backend = "cuda:gloo" if backend == "nccl" else backend.replace("nccl", "gloo")
    assert backend == process_group.backend(gpus=True, cuda="gloo")
    for found in run(backend, tmp_path):
        assert found["gradient"].tolist() == [1.0, 1.0]
        assert found["loss"] == 2.0
        assert found["failure"] == "worker 1: update 3: a bad row"
        assert found["any"] is True
        assert found["first"] == ["step"]
        assert found["rows"] == [[[0]], [[1], [1]]]


def test_a_backend_of_cuda_tensors_alone_fails(tmp_path: Path) -> None:
    with pytest.raises(ProcessRaisedException, match="No backend type associated with device"):
        run("cuda:gloo", tmp_path)
