"""A local run with every component in its own image, by KFP's DockerRunner and the same store.

Containers use the host's network, where the embedded store listens, and mount the mirror and a
cache of their own. The root file system is read-only and the user is not root. finetune and score
run in their worker images and start Ray inside.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kfp import dsl

from images.build import engine, sources
from pipelines import cluster_settings
from pipelines.cluster_settings import with_versions, without_cache
from pipelines.local_runner import LocalFolders
from xstilts.errors import InfrastructureError

#: Label of a run's containers, by which they are found and removed.
LABEL = "dev.xstilts.run"
#: The user of the images. A caller who is not root runs containers as themselves.
USER = 1000
#: Variables of this process that containers get.
CONTAINER_ENVIRONMENT = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_MAX_ATTEMPTS",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_REQUEST_CHECKSUM_CALCULATION",
    "AWS_RESPONSE_CHECKSUM_VALIDATION",
    "HF_ENDPOINT",
    "HF_TOKEN",
    "HF_HUB_OFFLINE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)
#: /dev/shm as a share of the memory; Ray's object store is in it.
SHARED_MEMORY = 0.35
#: Timeout for removing containers.
REMOVE_SECONDS = 60.0


def image_of(component: str, hub: bool = False) -> str:
    """The image of a task: the worker image if there are two, since the step does the work."""
    return cluster_settings.image_of(component, "worker", hub)


def docker_setup(hub: bool) -> cluster_settings.TaskSetup:
    """The function that sets the image of a task. hub: whether data comes directly from the hub."""

    def setup(task: dsl.PipelineTask) -> dsl.PipelineTask:
        image = image_of(task.component_spec.name, hub)
        return with_versions(without_cache(task).set_container_image(image), hub)

    return setup


def environment() -> dict[str, str]:
    """The environment of containers: the store's address, and the credentials that boto3 finds on
    this machine.
    """
    import boto3

    variables = {key: os.environ[key] for key in CONTAINER_ENVIRONMENT if key in os.environ}
    if (credentials := boto3.session.Session().get_credentials()) is not None:
        keys = credentials.get_frozen_credentials()
        variables |= {
            "AWS_ACCESS_KEY_ID": keys.access_key,
            "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        }
        if keys.token:
            variables["AWS_SESSION_TOKEN"] = keys.token
    return {**variables, "XSTILTS_LAUNCHER": "local"}


def check_images(
    client: Any, components: tuple[str, ...] = ("plan", "stage", "finetune", "score", "report")
) -> None:
    """Raises InfrastructureError if an image is missing, or was built on this machine from other
    sources than this checkout.
    """
    from docker.errors import ImageNotFound

    for name in dict.fromkeys(image_of(component) for component in components):
        try:
            labels = client.images.get(name).labels or {}
        except ImageNotFound as error:
            raise InfrastructureError(
                f"image {name} not found; build it with `make images`"
            ) from error
        if "@sha256:" not in name and labels.get("dev.xstilts.sources") != sources():
            raise InfrastructureError(
                f"image {name} was built from other sources; rebuild it with `make images`"
            )


@contextlib.contextmanager
def containers(client: Any, run: str) -> Iterator[None]:
    """Removes a run's containers when the body ends, and first those that a killed run of the same
    name left.
    """

    def remove() -> None:
        from docker.errors import APIError

        deadline = time.monotonic() + REMOVE_SECONDS
        query = {"all": True, "filters": {"label": f"{LABEL}={run}"}, "ignore_removed": True}
        while remaining := client.containers.list(**query):
            for container in remaining:
                try:
                    container.remove(force=True, v=True)
                except APIError as error:
                    if error.status_code not in (404, 409):  # removed, or being removed
                        raise
            if time.monotonic() > deadline:
                names = ", ".join(container.name for container in remaining)
                raise InfrastructureError(f"cannot remove the containers of {run}: {names}")
            time.sleep(0.1)

    remove()
    try:
        yield
    finally:
        remove()


def runner(
    run: str, local: LocalFolders, mirror: str, folders: Mapping[str, Path], gpus: bool
) -> Any:
    """KFP's DockerRunner for a run. folders: further folders that containers read, mounted at the
    same path.
    """
    from docker.types import DeviceRequest, Mount
    from kfp import local as kfp_local

    uid, gid = (os.getuid(), os.getgid()) if os.getuid() else (USER, USER)
    cache = local.home / "cache-docker"
    for folder in (cache, local.out / "pipeline"):
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, uid, gid)
    read = {Path(mirror)} if mirror.startswith("/") else set()
    read |= set(folders.values())
    # An anonymous volume for /tmp is removed with its container; a tmpfs would hold what datasets
    # unpacks there in memory.
    mounts = [Mount("/tmp", None, type="volume"), Mount("/cache", str(cache), type="bind")]
    mounts += [Mount(str(path), str(path), type="bind", read_only=True) for path in sorted(read)]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    devices = {"device_requests": [DeviceRequest(count=-1, capabilities=[["gpu"]])]} if gpus else {}
    return kfp_local.DockerRunner(
        network_mode="host",
        environment={**environment(), "XSTILTS_CACHE": "/cache"},
        mounts=mounts,
        user=f"{uid}:{gid}",
        shm_size=int(memory * SHARED_MEMORY),
        read_only=True,
        init=True,
        security_opt=["no-new-privileges"],
        cap_drop=["ALL"],
        labels={LABEL: run},
        **devices,
    )


@contextlib.contextmanager
def prepared(run: str, plan: Any, local: LocalFolders, mirror: str) -> Iterator[tuple[Any, Any]]:
    """Yields (KFP's runner, the pipeline with its images) of a run."""
    from pipelines.intermediate_to_xtreme_r import pipeline

    client = engine()
    try:
        check_images(client)
        folders = {
            name: Path(backbone.path) for name, backbone in plan.backbones.items() if backbone.path
        }
        with containers(client, run):
            gpus = bool(plan.resources.gpus_per_worker)
            in_images = pipeline(docker_setup(mirror == "hub"))
            yield runner(run, local, mirror, folders, gpus), in_images
    finally:
        client.close()
