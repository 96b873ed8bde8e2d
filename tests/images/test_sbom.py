"""SBOMs of the images."""

import json
from pathlib import Path
from typing import Any

import pytest

from images.build import IMAGES
from images.sbom import pins, sbom, write
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def cpu() -> dict[str, dict[str, Any]]:
    return {name: sbom(image, "cpu") for name, image in IMAGES.items()}


@pytest.mark.parametrize("name", IMAGES)
def test_an_sbom_has_every_package_of_the_image_with_version_digest_and_licence(
    name: str, cpu: dict[str, dict[str, Any]]
) -> None:
    listed = (ROOT / "images/packages" / f"{IMAGES[name].sets[-1]}.txt").read_text().split()
    parts = cpu[name]["components"]
    assert [part["name"] for part in parts] == sorted(listed)
    for part in parts:
        assert part["version"]
        assert part["licenses"], part["name"]
        assert part["externalReferences"][0]["hashes"]


def test_equal_locks_give_equal_bytes(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name) for name in ("a", "b"))
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def test_only_the_worker_of_the_cuda_build_has_nvidia_s_libraries() -> None:
    having = {
        name
        for name, image in IMAGES.items()
        if any(part["name"].startswith("nvidia-") for part in sbom(image, "cuda")["components"])
    }
    assert having == {"finetune-worker", "score-worker"}


def test_linux_has_torch_s_cpu_build() -> None:
    version, digests = pins((ROOT / "requirements/cpu.txt").read_text())["torch"]
    assert version.endswith("+cpu")
    assert len(digests) == 1


def test_sboms_are_valid_cyclonedx(cpu: dict[str, dict[str, Any]]) -> None:
    validation = pytest.importorskip(
        "cyclonedx.validation.json", reason="cyclonedx-python-lib is not installed"
    )
    schema = pytest.importorskip("cyclonedx.schema")
    validator = validation.JsonStrictValidator(schema.SchemaVersion.V1_6)
    for name, document in cpu.items():
        assert validator.validate_str(json.dumps(document)) is None, name
