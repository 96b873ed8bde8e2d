"""The numeric environment: library versions and kind of arithmetic, which results depend on besides
the plan; and environment variables. Imports none of these libraries.
"""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

from xstilts.errors import InfrastructureError, PlanError
from xstilts.input_files import read_object

#: Distributions whose version can change a token, a pixel or a floating-point sum.
LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "pillow")
#: Longest time in seconds that a setting may have: 11 days, whose milliseconds fit into the
#: 32 bits that Ray reads.
LONGEST_SECONDS = 1_000_000


def numeric_environment(
    dtype: str = "float32", attention: str = "packed", image_backend: str = "pil"
) -> dict[str, str]:
    """library → version, and `image_backend`, `dtype` (of what trains), `attention`.

    Local version parts such as `+cpu` are dropped: the device is not part of a result's identity.
    The JSON file XSTILTS_VERSIONS has the versions of libraries that are not installed: the plan
    component's image has none of them, so its build records the versions of the workers' lock file.

    Raises:
        InfrastructureError: a library is neither installed nor in the file.
    """
    file = os.environ.get("XSTILTS_VERSIONS")
    versions = {**(read_object(file) if file else {}), **_installed()}
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
    """Refuses a step whose fingerprint has other library versions than those installed here.

    `environment` is the step's; None if the step does not depend on it.

    Raises:
        InfrastructureError: a version differs.
    """
    mismatches = [
        f"{library} {installed} is installed, the plan has {environment[library]}"
        for library, installed in _installed().items()
        if environment is not None and environment.get(library, installed) != installed
    ]
    if mismatches:
        raise InfrastructureError(
            f"library versions differ from the plan's: {'; '.join(mismatches)}; build all images "
            "from one lock file"
        )


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables for this process and those that the body starts, and restores
    the former ones.
    """
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def seconds_setting(name: str, default: float) -> float:
    """The seconds above 0 in an environment variable, or the default if it is unset or empty.

    Raises:
        PlanError: it has another value.
    """
    text = os.environ.get(name) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= LONGEST_SECONDS:
        raise PlanError(
            f"{name}={text!r}: not a number of seconds above 0 and at most {LONGEST_SECONDS:,}; "
            f"unset it, or write for example {default:.0f}"
        )
    return seconds
