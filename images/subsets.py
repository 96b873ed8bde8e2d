"""Which packages of the lock each image holds: python -m images.subsets writes
images/packages/<set>.txt.

A list is the closure of what the image's code imports over the requirements of what is installed
here, which is the lock. It names packages only: versions and hashes stay in requirements/cpu.txt
and cuda.txt, so that all images of one build have the same ones.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGES = Path(__file__).parent / "packages"

#: What every step needs: the store, what reads plans and schedules, and what KFP runs it with (see
#: ALONE).
STEP = ("boto3", "kfp", "pydantic", "pyyaml")

#: set → what its code imports. finetune and score share two: a group's workers train and score, and
#: a step watches both.
ROOTS: Mapping[str, Sequence[str]] = {
    "plan": ("huggingface-hub", *STEP),
    "stage": (
        "conllu",
        "datasets",
        "transformers",
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
        "tokenizers",
        "pillow",
        "pyarrow",
        "numpy",
        "huggingface-hub",
        *STEP,
    ),
    "report": ("pandas", "scipy", "matplotlib", "jinja2", "pyarrow", "numpy", *STEP),
}

#: Packages that are installed without what they depend on, and why that is enough.
ALONE = {
    "kfp": "the executor sets _KFP_RUNTIME, under which kfp imports neither its compiler nor its client",
}


def closure(roots: Sequence[str]) -> list[str]:
    """Names (canonical, sorted) of the packages that `roots` need, by the metadata of what is
    installed. Raises PackageNotFoundError for one that is not.
    """
    todo = [Requirement(root) for root in roots]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        need = todo.pop()
        name, extras = canonicalize_name(need.name), frozenset(need.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if name in ALONE:
            continue
        for text in requires(name) or ():
            more = Requirement(text)
            if more.marker is None or any(
                more.marker.evaluate({"extra": extra}) for extra in (*extras, "")
            ):
                todo.append(more)
    return sorted({name for name, _ in seen})


def text_of(name: str) -> str:
    """What the list of a set must say."""
    return "".join(f"{package}\n" for package in closure(ROOTS[name]))


def main() -> None:
    for name in ROOTS:
        try:
            (PACKAGES / f"{name}.txt").write_text(text_of(name))
        except PackageNotFoundError as error:
            sys.exit(f"{error} is not installed here; run `make setup`, then this again")


if __name__ == "__main__":
    main()
