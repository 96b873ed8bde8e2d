"""Checks the licences of all locked packages: python -m requirements.licences.

`make lint` runs it. A licence that is not in ALLOWED fails, and so does a package that states none:
somebody has to read it first. It reads the metadata of installed packages and needs no network.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from requirements.from_lock import blocks

HERE = Path(__file__).parent
LOCKS = ("cpu.txt", "cuda.txt", "docs.txt")
#: SPDX identifiers of licences that allow use and distribution beside Apache-2.0 code. MPL-2.0
#: applies to changed files of a package only, and no package is changed.
ALLOWED = frozenset(
    "0BSD Apache-2.0 BSD-2-Clause BSD-3-Clause BSL-1.0 CC0-1.0 CNRI-Python ISC MIT MIT-0 MIT-CMU "
    "MPL-2.0 PSF-2.0 Unlicense Zlib".split()
)
#: What older metadata says instead of an SPDX identifier.
NAMES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The MIT License (MIT)": "MIT",
}
#: Licences of packages whose metadata is not here, since they are for other systems, or has none.
#: NVIDIA allows to distribute CUDA's libraries with applications (CUDA EULA, attachment A).
ELSEWHERE = {
    "appnope": "BSD-2-Clause",
    "axe-playwright-python": "MIT",
    "httpx2-jsfetch": "BSD-3-Clause",
    "pywin32": "PSF-2.0",
    "triton": "MIT",
    "tzdata": "Apache-2.0",
}
_CUDA = re.compile(r"(nvidia|cuda)-")
NVIDIA = "LicenseRef-NVIDIA-CUDA-EULA"


def locked(text: str) -> set[str]:
    """The packages of a lock file."""
    return {name for name, _ in blocks(text)}


def licence_of(package: str) -> str:
    """The licence of a package as an SPDX expression, else as its metadata names it; empty if it
    states none.
    """
    if _CUDA.match(package):
        return NVIDIA
    try:
        about = metadata(package)
    except PackageNotFoundError:
        return ELSEWHERE.get(package, "")
    if "License-Expression" in about:
        return about["License-Expression"]
    names = [
        text.rpartition(" :: ")[2]
        for text in about.get_all("Classifier") or []
        if text.startswith("License ::") and not text.endswith("OSI Approved")
    ]
    if not names:
        names = [line.strip() for line in "".join(about.get_all("License") or []).splitlines()[:1]]
    return " OR ".join(NAMES.get(name, name) for name in names) or ELSEWHERE.get(package, "")


def identifiers(expression: str) -> list[str]:
    """The licences in an SPDX expression, exceptions (`WITH …`) excepted."""
    plain = re.sub(r"\bWITH\s+\S+", "", expression)
    return [word for word in re.split(r"\s+(?:AND|OR)\s+|[()]", plain) if word.strip()]


def problems(packages: Sequence[str]) -> Iterator[str]:
    """What has to be read by somebody."""
    for package in packages:
        licence = licence_of(package)
        if not licence:
            yield f"{package}: states no licence; read it and add it to ELSEWHERE"
        for name in identifiers(licence):
            if name.strip() not in ALLOWED and licence != NVIDIA:
                yield f"{package}: {name.strip()!r} is not among the allowed licences"


def main() -> None:
    packages = sorted({name for lock in LOCKS for name in locked((HERE / lock).read_text())})
    if lines := list(problems(packages)):
        sys.exit("\n".join(["licences (requirements/licences.py):", *(f"  - {x}" for x in lines)]))


if __name__ == "__main__":
    main()
