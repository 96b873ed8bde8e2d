"""Installs an image's packages into /opt/venv, in the build stage: python3 install.py cpu|cuda.

Needs only the standard library, pip and uv. Installs the packages in /src/packages.txt from the
lock, by hash, from the wheelhouse if it has wheels, else from pip's index, and writes the lock's
versions for the plan step.
"""

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from requirements.from_lock import held_build, select, torch_build, versions

SOURCE = Path("/src")
TARGET = Path("/opt/venv")
LOCKS = SOURCE / "requirements"
VERSIONS = Path("/opt/xstilts/versions.json")
#: The torch build in the image: cuda if no CPU build was found.
BUILD = Path("/opt/xstilts/torch-build")
#: Folders of packages that are not needed at run time: tests, and headers for compilers.
UNUSED = ("tests", "include")


def trim(packages: Path) -> None:
    """Deletes the folders of UNUSED."""
    for name in UNUSED:
        for folder in [path for path in packages.rglob(name) if path.is_dir()]:
            shutil.rmtree(folder, ignore_errors=True)  # nested ones may be gone


def main(build: str) -> None:
    names = set((SOURCE / "packages.txt").read_text().split())
    pip_home = Path("/tmp/pip")
    venv.create(pip_home, with_pip=True)
    venv.create(TARGET, with_pip=False, symlinks=True)
    wheels = sorted(path.name for path in (SOURCE / "wheelhouse").glob("*.whl"))
    source = ["--no-index", "--find-links", str(SOURCE / "wheelhouse")] if wheels else []
    # No bytecode: the smoke check that follows compiles the modules that the component imports.
    pip = [
        str(pip_home / "bin" / "python"),
        "-m",
        "pip",
        "--python",
        str(TARGET / "bin" / "python"),
        "install",
        "--no-deps",
        "--require-hashes",
        "--no-compile",
        "--only-binary",
        ":all:",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--progress-bar",
        "off",
        *source,
    ]
    if wheels:
        build = held_build(wheels, build)
    elif build == "cpu" and "torch" in names:
        build = torch_build(pip, LOCKS, python=str(pip_home / "bin" / "python"))
    lock = (LOCKS / f"{build}.txt").read_text()
    requirements = Path("/tmp/requirements.txt")
    requirements.write_text(select(lock, names))
    subprocess.run([*pip, "-r", str(requirements)], check=True)
    trim(TARGET)
    VERSIONS.parent.mkdir(parents=True, exist_ok=True)
    VERSIONS.write_text(json.dumps(versions(lock), sort_keys=True) + "\n")
    BUILD.write_text(f"{build}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
