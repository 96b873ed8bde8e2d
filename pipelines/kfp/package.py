"""The KFP package: compilation, version, and whether its images are pinned."""

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from pipelines.cluster_settings import ClusterSettings
from pipelines.intermediate_to_xtreme_r import for_cluster
from xstilts.errors import PlanError


def compile_to(path: Path, settings: ClusterSettings) -> str:
    """Writes the package for a cluster and returns its version, a prefix of its SHA-256."""
    if path.suffix not in (".yaml", ".yml"):
        raise PlanError(f"{path}: a KFP package is a YAML file; use a name such as pipeline.yaml")
    if not path.parent.is_dir():
        raise PlanError(f"{path.parent}: no such folder; create it, or choose another path")
    compiler.Compiler().compile(for_cluster(settings), str(path))
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def compiled(settings: ClusterSettings) -> tuple[str, str]:
    """(text, version) of the package. Equal settings and images give equal bytes."""
    with tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
        path = Path(scratch) / "pipeline.yaml"
        version = compile_to(path, settings)
        return path.read_text(), version


def images(package: Mapping[str, Any]) -> dict[str, str]:
    """Executor → image in a package's first document; worker images of finetune and score too."""
    references = {}
    for label, executor in package["deploymentSpec"]["executors"].items():
        container = executor["container"]
        references[label] = str(container["image"])
        for variable in container.get("env", ()):
            if variable["name"] == "XSTILTS_WORKER_IMAGE":
                references[f"{label} (workers)"] = str(variable["value"])
    return references


def images_of(text: str) -> dict[str, str]:
    """Component → image of a package's text, for the provenance of a run."""
    return {
        label.removeprefix("exec-"): image
        for label, image in images(next(yaml.safe_load_all(text))).items()
    }


def refuse_unlocked(text: str) -> None:
    """Raises PlanError if an image of a package has no digest: a tag can move to another image."""
    references = images(next(yaml.safe_load_all(text))).values()
    if unlocked := sorted({image for image in references if "@sha256:" not in image}):
        raise PlanError(
            f"images without a digest in images/images.lock: {', '.join(unlocked)}; push them and "
            "resolve the digests (`xstilts lock --registry R --tag T --resolve`), or set "
            "--allow-unlocked on a test cluster"
        )
