"""How long commands take on a large store behind the embedded server:

python -m benchmarks.load [--blobs 50000] [--manifests 20000] [--rounds 3]

The store is generated: blobs of 200 to 8,000 random bytes, and manifests of all kinds that name two
or three of them, in the folders in which this version writes them.
Writes docs/benchmarks/store.json.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.measure import OURS, Record, write
from pipelines.local_runner import store_at
from xstilts.step import Step, canonical_json
from xstilts.store.object_keys import blob_key, manifest_key
from xstilts.store.store import Store

PLAN = Path("pipelines/plans/demo.yaml")
#: Share of the manifests by kind.
KINDS = {"records": 0.1, "encode": 0.15, "finetune": 0.25, "score": 0.5}
#: Age of all objects, so that they count as old.
AGE = 30 * 86_400.0
GETS = 200


def generate(home: Path, blobs: int, manifests: int, seed: int = 0) -> int:
    """Writes a store into HOME/store as the embedded server keeps it; returns its bytes."""
    draw, store = random.Random(seed), home / "store" / "xstilts" / "store"
    written = list(_blobs(store, blobs, draw))
    steps = {}
    position = 0
    for number in range(manifests):
        kind = draw.choices(list(KINDS), list(KINDS.values()))[0]
        step = Step(kind, {"task": f"task {number}", "settings": "x" * 800})
        count = 2 + number % 2
        names = [written[(position + i) % len(written)] for i in range(count)]
        position += count
        files = {f"{i}": {"sha256": sha256, "size": size} for i, (sha256, size) in enumerate(names)}
        manifest = {
            "kind": kind, "fingerprint": step.fingerprint, "files": files, "step": step.to_json(),
            "info": {"seconds": 1.0},
        }  # fmt: skip
        _write(store / manifest_key(kind, step.fingerprint), canonical_json(manifest).encode())
        steps[step.fingerprint] = step.to_json()
    run = store / "runs" / "large"
    _write(run / "expanded.json", json.dumps({"steps": steps}).encode())
    _write(run / "status.json", b'{"exit_code": 0, "missing": []}')
    return sum(size for _, size in written)


def _blobs(store: Path, count: int, draw: random.Random) -> Iterator[tuple[str, int]]:
    for _ in range(count):
        data = draw.randbytes(draw.randint(200, 8_000))
        sha256 = hashlib.sha256(data).hexdigest()
        _write(store / blob_key(sha256), data)
        yield sha256, len(data)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (time.time() - AGE,) * 2)


def seconds_of(home: Path, *arguments: str) -> tuple[float, float]:
    """How long a command of xstilts takes, with its start: seconds, and CPU-seconds with those of
    the server, which other work on the machine changes less.
    """
    command = [sys.executable, "-m", "pipelines.cli", *arguments, "--home", str(home)]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu


def milliseconds_of_gets(home: Path) -> tuple[float, float]:
    """Median time of one GET of a blob, one after the other, at moments when the server has
    forgotten its folders and when it has not.
    """
    folder = home / "store" / "xstilts" / "store"
    keys = [f"blobs/{path.parent.name}/{path.name}" for path in sorted(folder.glob("blobs/*/*"))]
    times = []
    with store_at(None, home) as uri:
        store = Store.open(uri, cache=home / "cache")
        for key in random.Random(1).sample(keys, min(GETS, len(keys))):
            started = time.perf_counter()
            store.get_bytes_at(key)
            times.append(1_000 * (time.perf_counter() - started))
            time.sleep(0.02)
    return statistics.median(times), 0.0


def _cpu(seconds: Sequence[float]) -> str:
    median = statistics.median(seconds)
    return f"{median:.1f} CPU-seconds" if median else ""


def records(home: Path, blobs: int, manifests: int, rounds: int) -> list[Record]:
    size = generate(home, blobs, manifests)
    index = home / "store" / "xstilts" / "store" / "index"
    figures: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    seconds_of(home, "plan", str(PLAN))  # generates the miniature
    for _ in range(rounds):
        for path in index.glob("*"):
            path.unlink()
        for case, (value, cpu_seconds) in (
            ("plan", seconds_of(home, "plan", str(PLAN))),
            ("gc --dry-run", seconds_of(home, "store", "gc", "--dry-run")),
            ("gc --dry-run, again", seconds_of(home, "store", "gc", "--dry-run")),
            ("verify", seconds_of(home, "store", "verify")),
            ("one GET", milliseconds_of_gets(home)),
        ):
            figures.setdefault(case, []).append(value)
            cpu.setdefault(case, []).append(cpu_seconds)
    notes = {
        "plan": "target: below 5 s",
        "gc --dry-run": "without the index; target: below 60 s",
        "gc --dry-run, again": "with the index; target: below 60 s",
        "verify": "reads every byte",
        "one GET": "target: below 20 ms",
    }
    return [
        Record(
            case=f"{case}, {blobs:,} blobs and {manifests:,} manifests",
            unit="ms" if case == "one GET" else "s",
            figures={OURS: values},
            notes={OURS: "; ".join(filter(None, (notes[case], _cpu(cpu[case]))))},
            setting={"blobs": blobs, "manifests": manifests, "blob_bytes": size},
        )
        for case, values in figures.items()
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blobs", type=int, default=50_000)
    parser.add_argument("--manifests", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xstilts-load-") as scratch:
        measured = records(Path(scratch), options.blobs, options.manifests, options.rounds)
    print(write("store", measured))
