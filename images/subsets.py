"""The packages of each image: python -m images.subsets writes images/packages/<set>.txt.

A list has everything that the image's imports require, according to the metadata of the installed
packages. It has names only; versions and hashes are in requirements/cpu.txt and cuda.txt, so that
all images of one build have the same versions.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGES = Path(__file__).parent / "packages"

#: What every step needs: the store, plans and schedules, and KFP's executor (see ALONE).
STEP = ("boto3", "kfp", "pydantic", "pyyaml")

#: Set → the packages that its code imports. finetune and score share the sets `step` and `worker`.
ROOTS: Mapping[str, Sequence[str]] = {
    "plan": ("huggingface-hub", *STEP),
    "stage": (
        "conllu",
        "datasets",
        "transformers",
        "sentencepiece",
        "tokenizers",
        "pillow",
        "pyarrow",
        "numpy",
        *STEP,
    ),
    "step": ("kubernetes", *STEP),
    "worker": (
        "torch",
        "ray[default,train]",
        "transformers",
        "peft",
        "safetensors",
        "sentencepiece",
        "tokenizers",
        "pillow",
        "pyarrow",
        "numpy",
        "huggingface-hub",
        *STEP,
    ),
    "report": ("pandas", "scipy", "vl-convert-python", "jinja2", "pyarrow", "numpy", *STEP),
}

#: Packages that are installed without their dependencies, and why that is enough.
ALONE = {
    "kfp": "with the executor's _KFP_RUNTIME, kfp imports neither its compiler nor its client",
}


def closure(roots: Sequence[str]) -> list[str]:
    """Canonical names of `roots` and all their dependencies, sorted. Raises PackageNotFoundError
    for a package that is not installed.
    """
    todo = [Requirement(root) for root in roots]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        requirement = todo.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if name in ALONE:
            continue
        for text in requires(name) or ():
            dependency = Requirement(text)
            if dependency.marker is None or any(
                dependency.marker.evaluate({"extra": extra}) for extra in (*extras, "")
            ):
                todo.append(dependency)
    return sorted({name for name, _ in seen})


def text_of(name: str) -> str:
    """The content of a set's list."""
    return "".join(f"{package}\n" for package in closure(ROOTS[name]))


def main() -> None:
    for name in ROOTS:
        try:
            (PACKAGES / f"{name}.txt").write_text(text_of(name))
        except PackageNotFoundError as error:
            sys.exit(f"{error} is not installed; run `make setup` first")


if __name__ == "__main__":
    main()
