"""The KFP package: what is compiled, what it is named by, and whether its images are pinned."""

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from pipelines.cluster_settings import Settings
from pipelines.intermediate_to_xtreme_r import for_cluster
from xstilts.errors import PlanError


def compile_to(path: Path, settings: Settings) -> str:
    """Writes the package as a cluster runs it; returns its version, the start of its SHA-256."""
    if path.suffix not in (".yaml", ".yml"):
        raise PlanError(f"{path}: a KFP package is YAML; name it pipeline.yaml")
    compiler.Compiler().compile(for_cluster(settings), str(path))
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def compiled(settings: Settings) -> tuple[str, str]:
    """(text, version) of the package. The same settings and images give the same bytes."""
    with tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
        path = Path(scratch) / "pipeline.yaml"
        version = compile_to(path, settings)
        return path.read_text(), version


def images(package: Mapping[str, Any]) -> dict[str, str]:
    """executor → image of a package's first document; for finetune and score the Ray workers'
    image as well.
    """
    found = {}
    for label, executor in package["deploymentSpec"]["executors"].items():
        container = executor["container"]
        found[label] = str(container["image"])
        for variable in container.get("env", ()):
            if variable["name"] == "XSTILTS_WORKER_IMAGE":
                found[f"{label} (workers)"] = str(variable["value"])
    return found


def refuse_unlocked(text: str) -> None:
    """PlanError when an image of a package is not named by its digest: another image could stand
    behind its tag.
    """
    unlocked = sorted(
        {
            image
            for image in images(next(yaml.safe_load_all(text))).values()
            if "@sha256:" not in image
        }
    )
    if unlocked:
        raise PlanError(
            "these images have no digest in images/images.lock: "
            + ", ".join(unlocked)
            + "; push them and resolve "
            "their digests (`xstilts lock --registry R --tag T --resolve`), or give --allow-unlocked for a test cluster"
        )
