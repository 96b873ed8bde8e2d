"""Builds the images: python -m images.build [IMAGE…] [--torch cpu|cuda] [--base IMAGE] [--push
REGISTRY --tag TAG].

The engine gets only what an image needs, its own wheels out of wheelhouse/ among it, and builds
with its classic builder. A build fails when an image is larger than it may be.
"""

import argparse
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from components.images import lock, name
from images.wheels import ROOT, WHEELHOUSE, names
from requirements.from_lock import CUDA_ONLY, CUDA_TAKEN, held_build
from xstilts import __version__
from xstilts.errors import InfrastructureError, PlanError, XstiltsError


@dataclass(frozen=True)
class Image:
    """One image: a stage of a component's Dockerfile and the packages it holds. sets: those of
    the stages before it as well, which the classic builder goes through. megabytes: how much
    more than its base it may hold (CPU).
    """

    component: str
    stage: str
    sets: tuple[str, ...]
    megabytes: int

    @property
    def name(self) -> str:
        return name(self.component, self.stage)


IMAGES: Mapping[str, Image] = {
    image.name: image
    for image in (
        Image("plan", "python", ("plan",), 120),
        Image("stage", "python", ("stage",), 600),
        Image("report", "python", ("report",), 500),
        Image("finetune", "step", ("step",), 120),
        Image("finetune", "worker", ("step", "worker"), 1700),
        Image("score", "step", ("step",), 120),
        Image("score", "worker", ("step", "worker"), 1700),
    )
}


def base_reference() -> str:
    """The base image: by digest once images.lock has it, by its tag before."""
    entry = lock()["base"]
    tagged = str(entry["reference"])
    return f"{tagged.rpartition(':')[0]}@{entry['digest']}" if entry["digest"] else tagged


def code() -> Iterator[Path]:
    """The project's own files that an image holds, relative to the project."""
    for folder in ("xstilts", "components"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(ROOT)


def files_of(image: Image, build: str) -> Iterator[Path]:
    """What an image is built from, relative to the project; wheels of other images are left out."""
    yield Path("images", image.component, "Dockerfile")
    yield from (
        Path("images", file) for file in ("__init__.py", "install.py", "smoke.py", "images.lock")
    )
    yield from (Path("images", "packages", f"{packages}.txt") for packages in image.sets)
    yield from (Path("requirements", file) for file in ("from_lock.py", "cpu.txt", "cuda.txt"))
    yield from code()
    yield Path("wheelhouse", ".gitkeep")
    held = set[str]().union(*(names(packages) for packages in image.sets))
    wheels = sorted(WHEELHOUSE.glob("*.whl"))
    build = held_build((wheel.name for wheel in wheels), build)
    for wheel in wheels:
        package = re.sub(r"[-_.]+", "-", wheel.name.partition("-")[0]).lower()
        if package in held or (build == "cuda" and "torch" in held and CUDA_ONLY.match(package)):
            yield wheel.relative_to(ROOT)


def context(image: Image, build: str, into: IO[bytes]) -> None:
    """The build context as a tar without owners or times, so that the same files give the same
    cached layers.
    """
    with tarfile.open(fileobj=into, mode="w") as tar:
        for path in files_of(image, build):
            entry = tar.gettarinfo(str(ROOT / path), arcname=path.as_posix())
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mtime, entry.mode = 0, 0o644
            with open(ROOT / path, "rb") as stream:
                tar.addfile(entry, stream)


def engine() -> Any:
    """The Docker engine's client. InfrastructureError when none answers."""
    import docker

    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except docker.errors.DockerException as error:
        raise InfrastructureError(
            f"no Docker engine answers ({error}); start one, or set DOCKER_HOST"
        ) from error
    return client


def build_image(
    client: Any, image: Image, tag: str, build: str, base: str, revision: str, log: IO[str]
) -> int:
    """Builds an image under a tag; returns its size above the base, in bytes.
    InfrastructureError with the end of the build's log when it fails.
    """
    arguments = {"BASE_IMAGE": base, "TORCH": build, "VERSION": __version__, "REVISION": revision}
    arguments["SOURCES"] = sources()
    arguments |= {
        key: os.environ[key]
        for key in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
        if os.environ.get(key)
    }
    with tempfile.TemporaryFile() as tar:
        context(image, build, tar)
        tar.seek(0)
        lines: list[str] = []
        answer = client.api.build(
            fileobj=tar,
            custom_context=True,
            dockerfile=f"images/{image.component}/Dockerfile",
            target=image.stage,
            tag=tag,
            buildargs=arguments,
            network_mode="host",
            rm=True,
            forcerm=True,
            decode=True,
        )
        for message in answer:
            text = message.get("stream") or message.get("error") or ""
            log.write(text)
            lines += text.splitlines()
            if "error" in message:
                end = "\n".join(lines[-25:])
                raise InfrastructureError(f"the image {image.name} cannot be built:\n{end}")
    size = client.images.get(tag).attrs["Size"] - client.images.get(base).attrs["Size"]
    held = held_build((wheel.name for wheel in WHEELHOUSE.glob("*.whl")), build)
    small = held == "cpu" and not any(CUDA_TAKEN in line for line in lines)
    if small and size > image.megabytes * 1_000_000:
        raise InfrastructureError(
            f"the image {image.name} holds {size / 1e6:.0f} MB above its base, more than the {image.megabytes} it may; "
            "look for what a new requirement brought (images/packages)"
        )
    return int(size)


def revision() -> str:
    """The commit that is built from, with `-dirty` when the work tree differs from it."""
    command = [
        "git",
        "-C",
        str(ROOT),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else "unknown"


def sources() -> str:
    """SHA-256 over the names and bytes of the code that images hold: what tells an image of this
    checkout from one of another.
    """
    total = hashlib.sha256()
    for path in code():
        total.update(
            path.as_posix().encode() + b"\0" + hashlib.sha256((ROOT / path).read_bytes()).digest()
        )
    return total.hexdigest()


def refuse_floating_base(base: str) -> None:
    """PlanError when images that are to be published would stand on a base that another could
    take the place of.
    """
    if "@sha256:" not in base:
        raise PlanError(
            f"the base image {base} has no digest in images/images.lock; resolve it (`xstilts lock --resolve`) before "
            "images are published"
        )


def push(client: Any, image: Image, tagged: str) -> None:
    """Pushes an image that is built. InfrastructureError with the registry's words when it
    refuses.
    """
    repository, _, tag = tagged.rpartition(":")
    for message in client.api.push(repository, tag=tag, stream=True, decode=True):
        if "error" in message:
            raise InfrastructureError(
                f"the image {image.name} cannot be pushed to {tagged}: {message['error']}"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m images.build", description="Build the images of the components."
    )
    parser.add_argument(
        "image", nargs="*", metavar="IMAGE", help=f"{', '.join(IMAGES)} (default: all)"
    )
    parser.add_argument("--torch", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--base", help="another base image, e.g. one made on this machine")
    parser.add_argument(
        "--push", metavar="REGISTRY", help="tag for this registry, and push; needs --tag"
    )
    parser.add_argument("--tag", default="dev")
    given = parser.parse_args(arguments)
    if unknown := [one for one in given.image if one not in IMAGES]:
        parser.error(f"no image is called {', '.join(unknown)}; there are {', '.join(IMAGES)}")
    base = given.base or base_reference()
    registry = given.push or "xstilts"
    try:
        if given.push:
            refuse_floating_base(base)
        client = engine()
        for image in [IMAGES[one] for one in given.image or IMAGES]:
            started, log, tag = (
                time.monotonic(),
                io.StringIO(),
                f"{registry}/{image.name}:{given.tag}",
            )
            size = build_image(client, image, tag, given.torch, base, revision(), log)
            if given.push:
                push(client, image, tag)
            print(
                f"{tag}: {size / 1e6:.0f} MB above {base}, {time.monotonic() - started:.0f} s",
                flush=True,
            )
    except XstiltsError as error:
        print(f"images: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
