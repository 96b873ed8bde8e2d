"""Checks what `make setup` needs before anything is installed: python prerequisites.py cpu|cuda
FOLDER. Run with the Python that the environment will have, even one that is too old: standard
library only, and syntax of Python 3.6.
"""

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator

#: Versions with locked packages for all of them; pyproject.toml and README.md have the same.
PYTHONS = ((3, 11), (3, 12), (3, 13))
MACHINE = ("Linux", "x86_64")
#: Version of glibc that the oldest of the wheels need (manylinux_2_28).
GLIBC = (2, 28)
#: GiB of an environment and of what pip unpacks. cpu: 2.8 measured. cuda: an estimate, with about
#: 3 GB of CUDA libraries to download.
FREE_GIB = {"cpu": 4, "cuda": 10}
#: Modules that distributions of Linux leave out, and the package of Debian that has them.
MODULES = {"venv": "python3-venv", "ensurepip": "python3-venv"}


def versions() -> str:
    """For example `3.11, 3.12 or 3.13`."""
    names = [".".join(map(str, version)) for version in PYTHONS]
    return ", ".join(names[:-1]) + " or " + names[-1]


def untested(version: "tuple[int, ...]", system: str, machine: str, libc: str) -> "Iterator[str]":
    """What differs from the machines on which xstilts is tested.

    Args:
        version: of Python.
        system: as platform.system() names it.
        machine: as platform.machine() names it.
        libc: version of glibc, empty for another C library.
    """
    if version[:2] not in PYTHONS:
        found = ".".join(map(str, version[:3]))
        yield (
            f"Python {found} ({sys.executable}): xstilts needs Python {versions()}; install one "
            "and name it, for example: make setup PYTHON=python3.12"
        )
    if (system, machine) != MACHINE:
        yield (
            f"{system} on {machine}: the locked packages are for {MACHINE[0]} on {MACHINE[1]}; "
            "use such a machine, a virtual machine or a container"
        )
    elif tuple(map(int, libc.split(".")[:2] if libc else ())) < GLIBC:
        found = f"glibc {libc}" if libc else "no glibc"
        yield (
            f"{found}: the wheels need glibc {GLIBC[0]}.{GLIBC[1]} or newer; use a newer "
            "distribution, such as Debian 12 or Ubuntu 22.04 (not Alpine)"
        )


def missing(modules: "set[str]", free: float, build: str, folder: str) -> "Iterator[str]":
    """What the installation lacks.

    Args:
        modules: those of MODULES that this Python has.
        free: GiB on the disk of the folder.
        build: cpu or cuda.
        folder: in which the environment is made.
    """
    for package in sorted({MODULES[name] for name in MODULES if name not in modules}):
        yield (
            "Python has no module venv with pip; install it (Debian, Ubuntu: apt install "
            f"{package})"
        )
    if free < FREE_GIB[build]:
        yield (
            f"{folder}: {free:.1f} GiB free, and the environment needs {FREE_GIB[build]} GiB; free "
            "some, or put the checkout on another disk"
        )


def main(build: str, folder: str) -> int:
    warnings = list(untested(sys.version_info[:3], platform.system(), platform.machine(), _glibc()))
    errors = []
    if not os.path.exists(os.path.join(folder, ".venv", "bin", "python")):
        found = {name for name in MODULES if importlib.util.find_spec(name)}
        free = shutil.disk_usage(folder).free / 2.0**30
        errors = list(missing(found, free, build, folder))
    tried = os.environ.get("UNTESTED") == "1"
    if warnings and not tried:
        warnings.append("UNTESTED=1 make setup tries it anyway")
    for text in warnings + errors:
        print(f"make: {text}", file=sys.stderr)
    return 1 if errors or (warnings and not tried) else 0


def _glibc() -> str:
    name, version = platform.libc_ver()
    return version if name == "glibc" else ""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
