"""Writes a CycloneDX SBOM per image: python -m images.sbom FOLDER [cpu|cuda].

An SBOM lists the Python packages of an image with version, licence and the SHA-256 digests of the
lock file. The packages are those of its sets (images/packages), their versions those of
requirements/<build>.txt. Nothing is installed or fetched, and equal inputs give equal bytes. The
packages of the base image are not listed.
"""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from images.build import IMAGES, Image, base_reference
from requirements.from_lock import CUDA_ONLY, blocks
from requirements.licences import ALLOWED, NVIDIA, licence_of
from xstilts import __version__

ROOT = Path(__file__).resolve().parents[1]
_VERSION, _DIGEST = re.compile(r"==([^ ;\\\n]+)"), re.compile(r"sha256:(\w+)")


def pins(text: str) -> dict[str, tuple[str, Sequence[str]]]:
    """Package → (version, SHA-256 digests of its files) of a lock file on Linux."""
    versions: dict[str, tuple[str, Sequence[str]]] = {}
    for name, pin in blocks(text):
        version = _VERSION.search(pin)
        assert version is not None  # every pin has one
        if "!= 'linux'" not in pin and "== 'win32'" not in pin:
            versions.setdefault(name, (version[1], _DIGEST.findall(pin)))
    return versions


def packages_of(image: Image, build: str, locked: Sequence[str]) -> list[str]:
    """The packages of an image, sorted. Its last set is what it has installed."""
    names = set((ROOT / "images" / "packages" / f"{image.sets[-1]}.txt").read_text().split())
    cuda = {name for name in locked if CUDA_ONLY.match(name)}
    with_cuda = build == "cuda" and "torch" in names
    return sorted((names | cuda if with_cuda else names - cuda) & set(locked))


def _licences(package: str) -> list[dict[str, Any]]:
    licence = licence_of(package)
    if licence in ALLOWED:
        return [{"license": {"id": licence}}]
    if licence == NVIDIA:
        return [{"license": {"name": "NVIDIA CUDA EULA"}}]
    return [{"expression": licence}] if licence else []


def component(package: str, version: str, digests: Sequence[str]) -> dict[str, Any]:
    """A package in CycloneDX. Digests are those of all files that the lock accepts; the image has
    one of these files.
    """
    purl = f"pkg:pypi/{package}@{version.replace('+', '%2B')}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": package,
        "version": version,
        "purl": purl,
        "licenses": _licences(package),
        "externalReferences": [
            {
                "type": "distribution",
                "url": f"pkg:pypi/{package}",
                "hashes": [{"alg": "SHA-256", "content": digest} for digest in sorted(digests)],
            }
        ],
    }


def sbom(image: Image, build: str) -> dict[str, Any]:
    """The CycloneDX document of an image."""
    locked = pins((ROOT / "requirements" / f"{build}.txt").read_text())
    parts = [component(name, *locked[name]) for name in packages_of(image, build, list(locked))]
    of = f"xstilts/{image.name}"
    content = json.dumps([of, __version__, build, parts])
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "bom-ref": of,
                "name": of,
                "version": __version__,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            },
            "properties": [
                {"name": "xstilts:base", "value": base_reference()},
                {"name": "xstilts:build", "value": build},
            ],
        },
        "components": parts,
        "dependencies": [{"ref": of, "dependsOn": [part["bom-ref"] for part in parts]}],
    }


def write(folder: Path, build: str = "cpu") -> list[Path]:
    """Writes `<image>.cdx.json` for every image; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for image in IMAGES.values():
        file = folder / f"{image.name}.cdx.json"
        file.write_text(json.dumps(sbom(image, build), indent=2) + "\n", encoding="utf-8")
        files.append(file)
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path)
    parser.add_argument("build", nargs="?", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    for file in write(options.folder, options.build):
        print(file)


if __name__ == "__main__":
    main()
