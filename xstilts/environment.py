"""What results depend on besides the plan: library versions and the kind of arithmetic.

Imports none of these libraries.
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
    """Returns library → version, plus image_backend, dtype and attention.

    Local version parts such as `+cpu` are dropped: they name a device, which is not part of a
    result. Versions of libraries that are not installed come from the JSON file that
    XSTILTS_VERSIONS names: the image of the plan component has none of these libraries, and its
    build writes the versions from the lock file that the workers' images are installed from.
    Raises InfrastructureError if a version is in neither place.
    """
    file = os.environ.get("XSTILTS_VERSIONS")
    versions = {**(json.loads(Path(file).read_text()) if file else {}), **_installed()}
    if missing := [library for library in LIBRARIES if library not in versions]:
        raise InfrastructureError(
            f"not installed: {', '.join(missing)}; install xstilts with its dependencies"
        )
    return {**versions, "image_backend": image_backend, "dtype": dtype, "attention": attention}


def _installed() -> dict[str, str]:
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = version(library).partition("+")[0]
        except PackageNotFoundError:
            continue
    return versions


def require(environment: Mapping[str, str] | None) -> None:
    """Raises InfrastructureError if an installed library has another version than the step's.

    The result would be stored under the fingerprint of another environment. None means that the
    step does not depend on the environment.
    """
    mismatches = [
        f"{library} {installed} instead of {environment[library]}"
        for library, installed in _installed().items()
        if environment is not None and environment.get(library, installed) != installed
    ]
    if mismatches:
        raise InfrastructureError(
            f"library versions differ from the plan's: {', '.join(mismatches)}; "
            "build all images from one lock file"
        )
