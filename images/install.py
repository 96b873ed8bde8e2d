"""Fills an image's virtual environment; runs in the build stage, with the standard library and pip only.

python3 install.py cpu|cuda: takes the packages that /src/packages.txt names from the lock, by hash, out of the
wheelhouse when it holds wheels, else from pip's index; writes the lock's versions for the plan step.
"""

import json
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

SOURCE = Path("/src")
TARGET = Path("/opt/venv")
VERSIONS = Path("/opt/xstilts/versions.json")
#: What torch's CUDA build needs besides what its CPU build does.
CUDA_ONLY = re.compile(r"(nvidia-|cuda-|triton)")
#: Folders of packages that nothing imports: their tests, and headers for compilers that no image has.
UNUSED = ("tests", "include")
#: xstilts.plan.environment.LIBRARIES: what the plan step fingerprints, though its image holds none of them.
NUMERIC = ("torch", "transformers", "tokenizers", "peft", "pillow")


def blocks(lock: str) -> list[tuple[str, str]]:
    """(name, text) of every pin of a lock, hashes included; a name comes twice where builds differ by platform."""
    found = re.findall(r"^([a-z0-9][a-z0-9._-]*)((?:\[[^\]]*\])?==(?:[^\n]*\\\n)*[^\n]*\n)", lock, re.M)
    return [(name, name + rest) for name, rest in found]


def select(lock: str, names: set[str]) -> str:
    """The pins of some packages; torch takes its CUDA packages with it where the lock has them. Raises KeyError for a
    package that the lock lacks."""
    pins = blocks(lock)
    if absent := names - {name for name, _ in pins}:
        raise KeyError(f"not in the lock: {', '.join(sorted(absent))}")
    return "".join(text for name, text in pins if name in names or ("torch" in names and CUDA_ONLY.match(name)))


def versions(lock: str) -> dict[str, str]:
    """library → version of the lock, for what the results depend on; without local parts such as `+cpu`."""
    return {name: text.split("==")[1].split()[0].partition("+")[0] for name, text in blocks(lock) if name in NUMERIC}


def trim(packages: Path) -> None:
    """Deletes the folders of UNUSED."""
    for name in UNUSED:
        for folder in [path for path in packages.rglob(name) if path.is_dir()]:
            shutil.rmtree(folder, ignore_errors=True)  # one inside another is gone already


def main(build: str) -> None:
    lock = (SOURCE / f"{build}.txt").read_text()
    wanted = Path("/tmp/requirements.txt")
    wanted.write_text(select(lock, set((SOURCE / "packages.txt").read_text().split())))
    pip = Path("/tmp/pip")
    venv.create(pip, with_pip=True)
    venv.create(TARGET, with_pip=False, symlinks=True)
    wheels = sorted((SOURCE / "wheelhouse").glob("*.whl"))
    where = ["--no-index", "--find-links", str(SOURCE / "wheelhouse")] if wheels else []
    # No bytecode here: the smoke check that follows leaves that of the modules which the component imports.
    command = [
        str(pip / "bin" / "python"), "-m", "pip", "--python", str(TARGET / "bin" / "python"), "install", "--no-deps",
        "--require-hashes", "--no-compile", "--only-binary", ":all:", "--no-cache-dir",
        "--disable-pip-version-check", "--progress-bar", "off", *where, "-r", str(wanted),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    trim(TARGET)
    VERSIONS.parent.mkdir(parents=True, exist_ok=True)
    VERSIONS.write_text(json.dumps(versions(lock), sort_keys=True) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
