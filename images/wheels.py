"""Downloads the wheels of all images into wheelhouse/: python -m images.wheels cpu|cuda.

Wheels are checked by the lock's hashes. Run it with the Python version of the base image. It finds
torch's CPU build like `make setup` (requirements/from_lock.py). Images then build without an index.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from requirements.from_lock import select, torch_build

ROOT = Path(__file__).resolve().parents[1]
WHEELHOUSE = ROOT / "wheelhouse"
PACKAGES = ROOT / "images" / "packages"


def names(name: str) -> set[str]:
    """The package names of a set."""
    return set((PACKAGES / f"{name}.txt").read_text().split())


def main(build: str) -> None:
    packages = set[str]().union(*(names(path.stem) for path in PACKAGES.glob("*.txt")))
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--find-links",
        str(WHEELHOUSE),
        "--dest",
        str(WHEELHOUSE),
    ]
    if build == "cpu":
        build = torch_build(pip, ROOT / "requirements")
    with tempfile.TemporaryDirectory() as scratch:
        requirements = Path(scratch) / "requirements.txt"
        requirements.write_text(
            select((ROOT / "requirements" / f"{build}.txt").read_text(), packages)
        )
        subprocess.run([*pip, "-r", str(requirements)], check=True)
    wheels = list(WHEELHOUSE.glob("*.whl"))
    megabytes = sum(wheel.stat().st_size for wheel in wheels) / 1e6
    print(f"{len(wheels)} wheels in {WHEELHOUSE}, {megabytes:.0f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
