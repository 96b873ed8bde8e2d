"""What the numbers depend on besides the plan: library versions and the kind of arithmetic.
Imports none of them.
"""

import json
import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from xstilts.errors import InfrastructureError

#: Distributions whose version can change a token, a pixel or a floating-point sum.
LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "pillow")


def numeric_environment(
    dtype: str = "float32", attention: str = "packed", image_backend: str = "pil"
) -> dict[str, str]:
    """library → version (local parts such as `+cpu` left out: they name a device, which is no
    setting of a result), and image_backend, dtype, attention.

    What is not installed is read from the JSON file XSTILTS_VERSIONS: the plan component's image
    has none of these libraries, and its build wrote the versions of the lock that the workers'
    images are installed from. Raises InfrastructureError naming the libraries of which neither
    tells.
    """
    file = os.environ.get("XSTILTS_VERSIONS")
    found = {**(json.loads(Path(file).read_text()) if file else {}), **_installed()}
    if absent := [library for library in LIBRARIES if library not in found]:
        raise InfrastructureError(
            f"not installed: {', '.join(absent)}; install xstilts with its dependencies"
        )
    return {**found, "image_backend": image_backend, "dtype": dtype, "attention": attention}


def _installed() -> dict[str, str]:
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = version(library).partition("+")[0]
        except PackageNotFoundError:
            continue
    return found


def require(environment: Mapping[str, str] | None) -> None:
    """Raises InfrastructureError when a library installed here is not of the version that a step
    is named by: its result would stand under another environment's fingerprint. None: the step
    does not depend on it.
    """
    wrong = [
        f"{library} {found} and not {environment[library]}"
        for library, found in _installed().items()
        if environment is not None and environment.get(library, found) != found
    ]
    if wrong:
        raise InfrastructureError(
            f"the plan was made for other versions: here is {', '.join(wrong)}; build all images from one lock"
        )
