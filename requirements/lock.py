"""Resolves cpu.in into cuda.txt and cpu.txt, and docs.in into docs.txt: python -m requirements.lock
[path of torch's CPU wheel].

docs.txt is resolved under the versions of cuda.txt, so one environment can hold both. cpu.txt is
cuda.txt without the CUDA packages, with the CPU wheel's hash beside the index's; without a wheel at
hand the hash in the present cpu.txt is kept.
"""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

from requirements.from_lock import CUDA_ONLY

HERE = Path(__file__).parent
HEAD = (
    "# Locked from cpu.in by `make lock`, without CUDA packages; installed by "
    "requirements/from_lock.py, which looks for\n"
    "# torch's CPU build.\n"
)


def _two_builds(block: str, cpu: str) -> str:
    """Splits torch's pin by platform. Linux gets the CPU build by its own version: pip would prefer
    the CUDA build, whose hash the index lists. Builds for other systems have no CUDA.
    """
    head, _, hashes = block.partition(" \\\n")
    version = head.split(";")[0].strip()
    linux = f"{version}+cpu ; sys_platform == 'linux' \\\n    --hash=sha256:{cpu}"
    return f"{linux}\n{version} ; sys_platform != 'linux' \\\n{hashes}"


def _compile(requirements: str, lock: str, *more: str) -> None:
    options = (
        "--universal --generate-hashes --no-header --no-annotate --python-version 3.11".split()
    )
    files = ["-o", str(HERE / lock), str(HERE / requirements)]
    subprocess.run(
        ["uv", "pip", "compile", *options, *more, *files], check=True, stdout=subprocess.DEVNULL
    )


def main(wheel: Path | None) -> None:
    _compile("cpu.in", "cuda.txt")
    _compile("docs.in", "docs.txt", "-c", str(HERE / "cuda.txt"))
    locked = (HERE / "cuda.txt").read_text()
    blocks = [
        block.rstrip("\n")
        for block in re.split(r"\n(?=[A-Za-z0-9])", locked)
        if not CUDA_ONLY.match(block)
    ]
    if wheel:
        cpu = hashlib.sha256(wheel.read_bytes()).hexdigest()
    else:
        previous = re.search(
            r"^torch==\S+\+cpu .*\n.*sha256:(\w+)", (HERE / "cpu.txt").read_text(), re.M
        )
        cpu = previous[1] if previous else ""
    if not cpu:
        sys.exit(
            "cpu.txt has no hash of torch's CPU build; run `python -m requirements.lock WHEEL` "
            "with its wheel"
        )
    blocks = [_two_builds(block, cpu) if block.startswith("torch==") else block for block in blocks]
    (HERE / "cpu.txt").write_text(HEAD + "\n".join(blocks) + "\n")
    (HERE / "cuda.txt").write_text(
        "# Locked from cpu.in by `make lock`, with the CUDA packages of torch.\n" + locked
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
