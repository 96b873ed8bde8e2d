"""Runs the parts, each in a process of its own and within its time, and writes one JSON file.

    PYTHONPATH=. python -m benchmarks.gpu [--json FILE] [--parts NAME …]

XSTILTS_GPU_CHECK_DEVICE=cpu runs every part with tiny models on the CPU: a test of the programs,
not of a GPU. The exit code is 1 if a part fails.
"""

import argparse
import importlib
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.plan import PARTS


def run_part(name: str, file: Path) -> None:
    """Runs a part in this process, and writes its result."""
    module, function = PARTS[name].function.split(":")
    result = getattr(importlib.import_module(module), function)()
    file.write_text(json.dumps(result))


def part(name: str) -> dict[str, Any]:
    """Runs a part in a process of its own."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result.json"
        command = [sys.executable, "-m", "benchmarks.gpu", "--run", name, "--json", str(file)]
        try:
            done = subprocess.run(
                command, timeout=PARTS[name].seconds, capture_output=True, text=True, check=False
            )
        except subprocess.TimeoutExpired:
            result = {"passed": False, "error": f"did not end within {PARTS[name].seconds} s"}
        else:
            if done.returncode:
                result = {"passed": False, "error": done.stderr[-4000:]}
            else:
                result = json.loads(file.read_text())
    return {**result, "seconds_of_part": round(time.perf_counter() - started, 1)}


def shown(name: str, result: Mapping[str, Any]) -> str:
    """A line for people."""
    outcome = "passed" if result["passed"] else "FAILED"
    line = f"{name}: {outcome} in {result['seconds_of_part']:.0f} s"
    for row in result.get("results", ()):
        line += (
            f"\n  {row['rows']}: {100 * row['mfu']:.1f}% of the peak (wanted "
            f"{100 * row['wanted']:.0f}%), {row['tokens_per_second']:,.0f} tokens/s, memory "
            f"{row['memory'] / 2**30:.1f} GiB, by arithmetic "
            f"{row['memory_by_arithmetic'] / 2**30:.1f} GiB"
        )
    if "gain" in result:
        line += f"\n  two processes: {result['gain']:.2f} times the tokens of one"
    if "error" in result:
        line += f"\n  {result['error'].strip().splitlines()[-1]}"
    failed = [row for row in result.get("models", ()) if not row["passed"]]
    return line + "".join(f"\n  {row['family']}, {row['size']}: differs" for row in failed)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--run", choices=PARTS, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.run:
        run_part(chosen.run, chosen.json)
        return 0
    import torch

    from benchmarks.gpu.models import DEVICE

    if DEVICE.type == "cuda" and not torch.cuda.is_available():
        print("no GPU; XSTILTS_GPU_CHECK_DEVICE=cpu tries the programs with tiny models")
        return 2
    device = torch.cuda.get_device_name() if DEVICE.type == "cuda" else platform.processor()
    results: dict[str, Any] = {"device": device, "torch": torch.__version__, "parts": {}}
    for name in chosen.parts:
        results["parts"][name] = part(name)
        print(shown(name, results["parts"][name]), flush=True)
        chosen.json.write_text(json.dumps(results, indent=1))
    return 0 if all(result["passed"] for result in results["parts"].values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
