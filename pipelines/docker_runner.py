"""A run on this machine with every component in its own image: KFP's DockerRunner against the same
store.

Containers see the host's network, where the embedded store listens, the mirror and a cache of their
own; the root file system is read-only and the user is not root. finetune and score run in their
workers' images and start Ray inside.
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
from pipelines.cluster_settings import plain, told_versions
from pipelines.local_runner import Local
from xstilts.errors import InfrastructureError

#: Marks the containers of a run, so that they are found again and ended with it.
LABEL = "dev.xstilts.run"
#: The user of the images; a person's own on a machine where they are not root, so that the files
#: are theirs.
USER = 1000
#: What containers get of this process's environment.
HANDED_ON = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
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
#: Ray lays its object store out over this share of the memory.
SHARED_MEMORY = 0.35
#: How long the engine may take to remove a container.
GONE_SECONDS = 60.0


def image_of(component: str, hub: bool = False) -> str:
    """The image of a task: the workers' where a component has two, since nothing else is here to
    run them.
    """
    return cluster_settings.image_of(component, "worker", hub)


def in_images(hub: bool) -> cluster_settings.Dress:
    """The function that puts every task in the image that runs it on this machine. hub: whether
    data comes straight from the hub.
    """

    def dress(task: dsl.PipelineTask) -> dsl.PipelineTask:
        return told_versions(
            plain(task).set_container_image(image_of(task.component_spec.name, hub)), hub
        )

    return dress


def environment() -> dict[str, str]:
    """What containers are given: the store's address and keys, wherever they come from here, and
    no setting of this machine.
    """
    import boto3

    found = {key: os.environ[key] for key in HANDED_ON if key in os.environ}
    if (credentials := boto3.session.Session().get_credentials()) is not None:
        keys = credentials.get_frozen_credentials()
        found |= {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
        found |= {"AWS_SESSION_TOKEN": keys.token} if keys.token else {}
    return {**found, "XSTILTS_LAUNCHER": "local"}


def check_images(
    client: Any, components: tuple[str, ...] = ("plan", "stage", "finetune", "score", "report")
) -> None:
    """InfrastructureError when an image is not there, or was built here from other sources than
    these: its results would be told to be this checkout's.
    """
    from docker.errors import ImageNotFound

    for name in dict.fromkeys(image_of(component) for component in components):
        try:
            labels = client.images.get(name).labels or {}
        except ImageNotFound as error:
            raise InfrastructureError(
                f"the image {name} is not on this machine; build it: make images"
            ) from error
        if "@sha256:" not in name and labels.get("dev.xstilts.sources") != sources():
            raise InfrastructureError(
                f"the image {name} was built from other sources than these; build it again: make images"
            )


@contextlib.contextmanager
def containers(client: Any, run: str) -> Iterator[None]:
    """Ends what a run has started: its containers when the body ends, however it ends, and those
    that an earlier run of the same name left when it was killed.
    """

    def remove() -> None:
        from docker.errors import APIError

        deadline = time.monotonic() + GONE_SECONDS
        mine = {"all": True, "filters": {"label": f"{LABEL}={run}"}, "ignore_removed": True}
        while found := client.containers.list(**mine):
            for container in found:
                try:
                    container.remove(force=True, v=True)
                except APIError as error:
                    if error.status_code not in (404, 409):  # gone by itself, or going
                        raise
            if time.monotonic() > deadline:
                raise InfrastructureError(
                    f"containers of {run} cannot be removed: {', '.join(one.name for one in found)}"
                )
            time.sleep(0.1)

    remove()
    try:
        yield
    finally:
        remove()


def runner(run: str, local: Local, mirror: str, folders: Mapping[str, Path], gpus: bool) -> Any:
    """KFP's DockerRunner for a run. folders: what else containers read, at the same path as
    here.
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
    # An anonymous volume for /tmp goes with its container; memory would have to hold what datasets
    # unpacks there.
    mounts = [Mount("/tmp", None, type="volume"), Mount("/cache", str(cache), type="bind")]
    mounts += [Mount(str(path), str(path), type="bind", read_only=True) for path in sorted(read)]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    more = {"device_requests": [DeviceRequest(count=-1, capabilities=[["gpu"]])]} if gpus else {}
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
        **more,
    )


@contextlib.contextmanager
def prepared(run: str, plan: Any, local: Local, mirror: str) -> Iterator[tuple[Any, Any]]:
    """(KFP's runner, the pipeline in its images) of a run, for as long as the body runs."""
    from pipelines.intermediate_to_xtreme_r import pipeline

    client = engine()
    try:
        check_images(client)
        folders = {
            name: Path(backbone.path) for name, backbone in plan.backbones.items() if backbone.path
        }
        with containers(client, run):
            dressed = pipeline(in_images(mirror == "hub"))
            yield runner(run, local, mirror, folders, bool(plan.resources.gpus_per_worker)), dressed
    finally:
        client.close()
