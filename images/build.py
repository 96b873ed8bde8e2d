"""Builds the images: python -m images.build [IMAGE…] [--torch cpu|cuda] [--base IMAGE] [--push
REGISTRY --tag TAG].

The build context has only the files of the image, with its wheels from wheelhouse/. Images are
built with the classic builder. A build fails if the image exceeds its size limit.
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
    """One image: a stage of a component's Dockerfile. sets: package sets of this stage and those
    before it, which the classic builder also builds. megabytes: size limit above the base (CPU).
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
    """The base image: by digest if images.lock has one, else by tag."""
    entry = lock()["base"]
    tagged = str(entry["reference"])
    return f"{tagged.rpartition(':')[0]}@{entry['digest']}" if entry["digest"] else tagged


def code() -> Iterator[Path]:
    """The project's code in an image, relative to the project."""
    for folder in ("xstilts", "components"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(ROOT)


def files_of(image: Image, build: str) -> Iterator[Path]:
    """The build context of an image, relative to the project, without wheels of other images."""
    yield Path("images", image.component, "Dockerfile")
    yield from (
        Path("images", file) for file in ("__init__.py", "install.py", "smoke.py", "images.lock")
    )
    yield from (Path("images", "packages", f"{name}.txt") for name in image.sets)
    yield from (Path("requirements", file) for file in ("from_lock.py", "cpu.txt", "cuda.txt"))
    yield from code()
    yield Path("wheelhouse", ".gitkeep")
    packages = set[str]().union(*(names(name) for name in image.sets))
    wheels = sorted(WHEELHOUSE.glob("*.whl"))
    build = held_build((wheel.name for wheel in wheels), build)
    for wheel in wheels:
        package = re.sub(r"[-_.]+", "-", wheel.name.partition("-")[0]).lower()
        if package in packages or (
            build == "cuda" and "torch" in packages and CUDA_ONLY.match(package)
        ):
            yield wheel.relative_to(ROOT)


def context(image: Image, build: str, into: IO[bytes]) -> None:
    """Writes the build context as a tar without owners and times, so that equal files hit the
    layer cache.
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
    """The client of the Docker engine. Raises InfrastructureError if none is running."""
    import docker

    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except docker.errors.DockerException as error:
        raise InfrastructureError(
            f"no Docker engine ({error}); start one, or set DOCKER_HOST"
        ) from error
    return client


def build_image(
    client: Any, image: Image, tag: str, build: str, base: str, revision: str, log: IO[str]
) -> int:
    """Builds an image and returns its size above the base, in bytes.

    Args:
        client: the Docker engine.
        image: the image to build.
        tag: its tag.
        build: cpu or cuda.
        base: reference of the base image.
        revision: the commit, for a label.
        log: receives the engine's output.

    Raises:
        InfrastructureError: the build failed (with the end of its log), or the image is too large.
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
        messages = client.api.build(
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
        for message in messages:
            text = message.get("stream") or message.get("error") or ""
            log.write(text)
            lines += text.splitlines()
            if "error" in message:
                end = "\n".join(lines[-25:])
                raise InfrastructureError(f"image {image.name}: build failed:\n{end}")
    size = client.images.get(tag).attrs["Size"] - client.images.get(base).attrs["Size"]
    available = held_build((wheel.name for wheel in WHEELHOUSE.glob("*.whl")), build)
    has_cpu_torch = available == "cpu" and not any(CUDA_TAKEN in line for line in lines)
    if has_cpu_torch and size > image.megabytes * 1_000_000:
        raise InfrastructureError(
            f"image {image.name}: {size / 1e6:.0f} MB above its base, limit {image.megabytes} MB; "
            "check what a new requirement added (images/packages)"
        )
    return int(size)


def revision() -> str:
    """The current commit, with `-dirty` if the work tree differs from it."""
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
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else "unknown"


def sources() -> str:
    """SHA-256 over the names and bytes of the code in images, which identifies a checkout."""
    total = hashlib.sha256()
    for path in code():
        total.update(
            path.as_posix().encode() + b"\0" + hashlib.sha256((ROOT / path).read_bytes()).digest()
        )
    return total.hexdigest()


def refuse_floating_base(base: str) -> None:
    """Raises PlanError if the base image of published images has no digest: its tag can move."""
    if "@sha256:" not in base:
        raise PlanError(
            f"base image {base}: no digest in images/images.lock; run "
            "`xstilts lock base --resolve` before publishing images"
        )


def push(client: Any, image: Image, tagged: str) -> None:
    """Pushes a built image. Raises InfrastructureError with the registry's message."""
    repository, _, tag = tagged.rpartition(":")
    for message in client.api.push(repository, tag=tag, stream=True, decode=True):
        if "error" in message:
            raise InfrastructureError(
                f"image {image.name}: cannot push to {tagged}: {message['error']}"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m images.build", description="Build the images of the components."
    )
    parser.add_argument(
        "image", nargs="*", metavar="IMAGE", help=f"{', '.join(IMAGES)} (default: all)"
    )
    parser.add_argument("--torch", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--base", help="another base image, for example one built on this machine")
    parser.add_argument("--push", metavar="REGISTRY", help="push to this registry, under --tag")
    parser.add_argument("--tag", default="dev")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.image if name not in IMAGES]:
        parser.error(f"unknown image {', '.join(unknown)}; images: {', '.join(IMAGES)}")
    base = options.base or base_reference()
    registry = options.push or "xstilts"
    try:
        if options.push:
            refuse_floating_base(base)
        client = engine()
        for image in [IMAGES[name] for name in options.image or IMAGES]:
            started, log = time.monotonic(), io.StringIO()
            tag = f"{registry}/{image.name}:{options.tag}"
            size = build_image(client, image, tag, options.torch, base, revision(), log)
            if options.push:
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
