"""Resolves cpu.in into cuda.txt and cpu.txt: python requirements/lock.py [path of torch's CPU wheel].

cpu.txt is cuda.txt without the CUDA packages, with the CPU wheel's hash beside the index's; without a wheel at hand the
hash that stands in cpu.txt is kept.
"""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CUDA_ONLY = re.compile(r"(nvidia-|cuda-|triton)")
HEAD = (
    "# Locked from cpu.in by `make lock`. torch: the hashes of its CPU build and of the index's builds; no CUDA packages.\n"
    "# Installed with --no-deps: pip takes the CPU build where it can find one (a wheel folder, or PyTorch's own CPU index).\n"
)


def main(wheel: Path | None) -> None:
    command = ["uv", "pip", "compile", "--universal", "--generate-hashes", "--no-header", "--no-annotate",
               "--python-version", "3.11", "-o", str(HERE / "cuda.txt"), str(HERE / "cpu.in")]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    locked = (HERE / "cuda.txt").read_text()
    kept = [block.rstrip("\n") for block in re.split(r"\n(?=[A-Za-z0-9])", locked) if not CUDA_ONLY.match(block)]
    known = set(re.findall(r"sha256:(\w+)", next(block for block in kept if block.startswith("torch=="))))
    if wheel:
        cpu = hashlib.sha256(wheel.read_bytes()).hexdigest()
    else:
        before = re.search(r"^torch==(?:.*\\\n)+.*$", (HERE / "cpu.txt").read_text(), re.M)
        cpu = next(iter(set(re.findall(r"sha256:(\w+)", before[0] if before else "")) - known), "")
    if not cpu:
        sys.exit("no hash of torch's CPU build is known; give its wheel: python requirements/lock.py WHEEL")
    kept = [block + f" \\\n    --hash=sha256:{cpu}" if block.startswith("torch==") else block for block in kept]
    (HERE / "cpu.txt").write_text(HEAD + "\n".join(kept) + "\n")
    (HERE / "cuda.txt").write_text("# Locked from cpu.in by `make lock`, with the CUDA packages of torch.\n" + locked)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
