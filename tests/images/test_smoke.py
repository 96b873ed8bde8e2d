"""The check at the end of an image's build."""

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from images import smoke
from images.smoke import main, unwanted

Holding = Callable[..., None]


@pytest.fixture
def holding(monkeypatch: pytest.MonkeyPatch) -> Holding:
    """An image with these packages, commands and user."""

    def hold(packages: Iterable[str] = (), commands: Iterable[str] = (), user: int = 1000) -> None:
        held = [SimpleNamespace(metadata={"Name": name}) for name in packages]
        monkeypatch.setattr(smoke, "distributions", lambda: held)
        monkeypatch.setattr(
            smoke.shutil, "which", lambda name: f"/usr/bin/{name}" if name in commands else None
        )
        monkeypatch.setattr(smoke.os, "geteuid", lambda: user)

    return hold


def test_an_image_with_its_own_packages_is_accepted(holding: Holding) -> None:
    holding(["boto3", "torch", "ray"])
    assert unwanted("worker", "cpu") == []


@pytest.mark.parametrize("name", ["nvidia_cublas", "nvidia-nccl-cu13", "NVIDIA_cudnn_cu13"])
def test_a_cpu_image_with_a_cuda_package_is_refused(holding: Holding, name: str) -> None:
    holding(["torch", name])
    assert unwanted("worker", "cpu") == [f"the CUDA package {name.lower().replace('_', '-')}"]
    assert unwanted("worker", "cuda") == []


@pytest.mark.parametrize("name", ["plan", "stage", "step", "report"])
def test_torch_and_ray_outside_the_workers_are_refused(holding: Holding, name: str) -> None:
    holding(["torch", "ray"])
    assert unwanted(name, "cpu") == ["the package torch", "the package ray"]


def test_a_compiler_and_root_are_refused(holding: Holding) -> None:
    holding(commands=["gcc"], user=0)
    assert unwanted("plan", "cpu") == ["the compiler gcc", "root as its user"]


def test_a_module_that_cannot_be_imported_ends_the_build(
    monkeypatch: pytest.MonkeyPatch, holding: Holding
) -> None:
    holding()
    monkeypatch.setattr(smoke, "MODULES", {"plan": ("xstilts.no_such_module",)})
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        main("plan", "cpu")


def test_an_unexpected_package_fails_the_build(
    monkeypatch: pytest.MonkeyPatch, holding: Holding
) -> None:
    def nothing(_: str) -> Any:
        return None

    monkeypatch.setattr(smoke.importlib, "import_module", nothing)
    holding(["nvidia_cublas"])
    with pytest.raises(
        SystemExit, match=r"\(plan, cpu\) must not contain the CUDA package nvidia-cublas"
    ):
        main("plan", "cpu")
