"""The check at the end of each image's build: python3 -m images.smoke SET cpu|cuda [--imports].

Everything that the image's code imports, lazily or not, must be importable, and the image must not
contain what it should not. --imports runs the first part only: the build stage uses it to compile
the bytecode of exactly these modules.
"""

import importlib
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path

_STORE = (
    "xstilts.runs.actions",
    "xstilts.store.store",
    "boto3",
    "boto3.s3.transfer",
    "botocore.config",
    "components.orphan",
    "components.step_log",
)
_PLAN = (
    "xstilts.plan.expand", "xstilts.plan.schema", "xstilts.plan.model_identity",
    "xstilts.environment", "xstilts.sources.loader", "xstilts.runs.recurring", "huggingface_hub",
)  # fmt: skip

#: Package set (images/packages) → the modules that its code imports.
MODULES: Mapping[str, Sequence[str]] = {
    "plan": (*_STORE, *_PLAN),
    "stage": (
        *_STORE,
        *_PLAN,
        "xstilts.runs.stage",
        "xstilts.data.records",
        "xstilts.data.encode",
        "xstilts.models.picture_inputs",
        "xstilts.models.processor",
        "conllu",
        "datasets",
        "datasets.load",
        "transformers",
        "transformers.models.clip.image_processing_pil_clip",
        "transformers.models.qwen2_vl.image_processing_pil_qwen2_vl",
    ),
    "step": (
        *_STORE,
        "components.launch.choose",
        "components.launch.gc",
        "kubernetes",
        "kubernetes.config",
    ),
    "worker": (
        *_STORE,
        "xstilts.runs.finetune",
        "xstilts.runs.score",
        "xstilts.miniature.backbones",
        "xstilts.miniature.pretraining",
        "xstilts.models.backbone",
        "xstilts.models.families",
        "xstilts.models.picture_inputs",
        "xstilts.models.lora",
        "xstilts.runs.stage",
        "components.launch.choose",
        "components.launch.driver",
        "components.launch.local",
        "ray.train.torch",
        "peft",
        "transformers",
        "huggingface_hub",
    ),
    "report": (
        *_STORE,
        "components.report.artifacts",
        "xstilts.runs.collect",
        "xstilts.analysis.report",
        "xstilts.analysis.page.render",
        "jinja2",
    ),
}
COMPILERS = ("cc", "gcc", "c++", "g++", "clang", "tcc", "nvcc")


def unwanted(name: str, build: str) -> list[str]:
    """What an image contains but must not."""
    installed = {
        distribution.metadata["Name"].lower().replace("_", "-") for distribution in distributions()
    }
    unexpected = [f"the compiler {compiler}" for compiler in COMPILERS if shutil.which(compiler)]
    if build == "cpu":
        unexpected += [
            f"the CUDA package {package}"
            for package in sorted(installed)
            if package.startswith("nvidia-")
        ]
    if name != "worker":
        unexpected += [
            f"the package {package}" for package in ("torch", "ray") if package in installed
        ]
    if os.geteuid() == 0:
        unexpected.append("root as its user")
    return unexpected


def main(name: str, build: str, *options: str) -> None:
    for module in ("kfp.dsl.executor_main", *MODULES[name]):
        importlib.import_module(module)
    if "--imports" in options:
        return
    marker = Path("/opt/xstilts/torch-build")  # written by images/install.py
    build = marker.read_text().strip() if marker.is_file() else build
    if unexpected := unwanted(name, build):
        sys.exit(f"image ({name}, {build}) must not contain {', '.join(unexpected)}")
    print(f"{name} ({build}): {len(MODULES[name])} modules imported")


if __name__ == "__main__":
    os.environ["_KFP_RUNTIME"] = "true"  # like KFP's command
    main(*sys.argv[1:])
