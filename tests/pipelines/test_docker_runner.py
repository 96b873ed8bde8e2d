"""The settings of a run's containers, and checks before one starts, without an engine."""

import contextlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError, ImageNotFound

from images.build import sources
from pipelines import cluster_settings, docker_runner
from pipelines.cluster_settings import VERSIONS
from pipelines.docker_runner import (
    LABEL,
    check_images,
    containers,
    docker_setup,
    environment,
    image_of,
    runner,
)
from pipelines.intermediate_to_xtreme_r import pipeline
from pipelines.local_runner import LocalFolders
from xstilts.errors import InfrastructureError


class Images:
    """The images of an engine: name → labels."""

    def __init__(self, held: dict[str, dict[str, str]]) -> None:
        self.held = held

    def get(self, name: str) -> Any:
        if name not in self.held:
            raise ImageNotFound(name)
        return SimpleNamespace(labels=self.held[name])


class Container:
    """status: the engine's response to its removal."""

    def __init__(self, run: str, status: int | None = None) -> None:
        self.run, self.removed, self.status, self.name = run, False, status, "c"

    def remove(self, force: bool, v: bool) -> None:
        assert force
        assert v
        self.removed = self.status in (None, 404, 409)
        if self.status:
            raise APIError("conflict", response=SimpleNamespace(status_code=self.status))


class Containers:
    def __init__(self) -> None:
        self.held: list[Container] = []

    def list(self, all: bool, filters: dict[str, str], ignore_removed: bool) -> list[Container]:
        assert all
        assert ignore_removed
        return [
            one
            for one in self.held
            if filters == {"label": f"{LABEL}={one.run}"} and not one.removed
        ]


@pytest.mark.parametrize(
    ("component", "image"),
    [
        ("plan", "plan-python"), ("stage", "stage-python"), ("build", "finetune-worker"),
        ("finetune", "finetune-worker"), ("score", "score-worker"), ("report", "report-python"),
    ],
)  # fmt: skip
def test_a_component_that_needs_torch_runs_in_its_workers_image(component: str, image: str) -> None:
    assert image in image_of(component)


def tasks(hub: bool) -> dict[str, dict[str, Any]]:
    """Component → its container in the compiled pipeline."""
    executors = pipeline(docker_setup(hub)).pipeline_spec.deployment_spec["executors"]
    return {
        label.removeprefix("exec-").rstrip("-0123456789"): e["container"]
        for label, e in executors.items()
    }


def test_every_task_of_the_pipeline_is_in_its_own_image() -> None:
    for component, container in tasks(hub=False).items():
        assert container["image"] == image_of(component)
        assert "env" not in container


def test_straight_from_the_hub_the_plan_step_runs_in_the_image_that_knows_its_layouts() -> None:
    """As on a cluster; in that image XSTILTS_VERSIONS must be set."""
    found, others = tasks(hub=True), tasks(hub=False)
    plan = found.pop("plan")
    assert plan["image"] == image_of("stage") == cluster_settings.image_of("plan", "step", hub=True)
    assert {one["name"]: one["value"] for one in plan["env"]} == {"XSTILTS_VERSIONS": VERSIONS}
    others.pop("plan")
    assert found == others


def all_images(labels: dict[str, str]) -> dict[str, dict[str, str]]:
    return {
        image_of(component): labels
        for component in ("plan", "stage", "finetune", "score", "report")
    }


def test_images_of_these_sources_are_taken() -> None:
    check_images(SimpleNamespace(images=Images(all_images({"dev.xstilts.sources": sources()}))))


def test_a_missing_image_is_named() -> None:
    held = all_images({"dev.xstilts.sources": sources()})
    del held[image_of("stage")]
    with pytest.raises(InfrastructureError, match=r"stage-python.*make images"):
        check_images(SimpleNamespace(images=Images(held)))


def test_an_image_of_other_sources_is_refused() -> None:
    with pytest.raises(InfrastructureError, match=r"plan-python.* built from other sources"):
        check_images(SimpleNamespace(images=Images(all_images({"dev.xstilts.sources": "0" * 64}))))


def test_the_containers_of_a_run_end_with_it_and_those_of_others_do_not() -> None:
    held = Containers()
    held.held = [before, other] = [Container("mine"), Container("other")]
    started = Container("mine")

    def interrupted() -> None:
        with containers(SimpleNamespace(containers=held), "mine"):
            assert before.removed
            held.held.append(started)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert started.removed
    assert not other.removed


@pytest.mark.parametrize(("status", "ends"), [(404, True), (409, True), (500, False)])
def test_a_container_that_is_going_by_itself_is_waited_for(status: int, ends: bool) -> None:
    held = Containers()
    held.held = [Container("mine", status)]
    expected = contextlib.nullcontext() if ends else pytest.raises(APIError)
    with expected, containers(SimpleNamespace(containers=held), "mine"):
        assert held.held[0].removed


def test_containers_get_the_stores_address_and_credentials_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for key, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret",
        "PYTHONPATH": "/here", "XSTILTS_LOCAL": "1", "XSTILTS_RAY_ADDRESS_FILE": "/there", "AWS_CA_BUNDLE": "/ca",
    }.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    found = environment()
    assert found["AWS_ENDPOINT_URL"] == "http://127.0.0.1:9"
    assert (found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"]) == ("id", "secret")
    assert found["XSTILTS_LAUNCHER"] == "local"
    assert not {"PYTHONPATH", "XSTILTS_LOCAL", "XSTILTS_RAY_ADDRESS_FILE", "AWS_CA_BUNDLE"} & set(
        found
    )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalFolders:
    monkeypatch.setattr(docker_runner, "environment", dict)
    return LocalFolders(tmp_path / "home", tmp_path / "out")


def test_a_container_may_write_its_outputs_its_cache_and_tmp_only(
    place: LocalFolders, tmp_path: Path
) -> None:
    backbone = tmp_path / "backbone"
    arguments = runner(
        "r", place, str(tmp_path / "mirror"), {"b": backbone}, False
    ).container_run_args
    assert arguments["read_only"] is True
    assert arguments["cap_drop"] == ["ALL"]
    assert "device_requests" not in arguments
    writable = {mount["Target"] for mount in arguments["mounts"] if not mount["ReadOnly"]}
    read = {mount["Target"]: mount["Source"] for mount in arguments["mounts"] if mount["ReadOnly"]}
    assert writable == {"/tmp", "/cache"}
    assert read == {
        str(tmp_path / "mirror"): str(tmp_path / "mirror"),
        str(backbone): str(backbone),
    }


def test_a_container_does_not_run_as_root_and_owns_its_outputs(place: LocalFolders) -> None:
    arguments = runner("r", place, "hub", {}, False).container_run_args
    uid = int(arguments["user"].partition(":")[0])
    assert uid == (os.getuid() or 1000)
    for folder in (place.out / "pipeline", place.home / "cache-docker"):
        assert folder.stat().st_uid == uid


def test_a_plan_with_gpus_gets_them(place: LocalFolders) -> None:
    (request,) = runner("r", place, "hub", {}, True).container_run_args["device_requests"]
    assert request["Capabilities"] == [["gpu"]]
