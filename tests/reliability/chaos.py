"""Runs the small plan under faults and writes docs/reliability/faults.json:

python -m tests.reliability.chaos [--only NAME …]

A run that nothing disturbs is the reference. Every fault happens in a new run that has the reference's
data and tiny backbone, and trains and scores. If it does not end with exit code 0, the same command
runs again without a fault. `python -m tests.reliability.page` makes the table of
docs/reliability.md.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from tests.e2e.runs import SMALL, command, left_behind, results, wait_until_gone

OUT = Path(__file__).resolve().parents[2] / "docs" / "reliability" / "faults.json"
#: Longest time of one run in seconds.
LONGEST = 1_800.0
#: Steps that a fault's run computes itself.
COMPUTED = ("finetune", "score")


@dataclass(frozen=True)
class FaultyRun:
    """A run with a fault: its folder, and its process once it has started."""

    home: Path
    process: "subprocess.Popen[str] | None" = None

    @property
    def store(self) -> Path:
        return self.home / "store" / "xstilts" / "store"

    def steps(self, kind: str) -> list[Path]:
        """The manifests of a kind."""
        return sorted(self.store.glob(f"steps/{kind}/*/manifest.json"))

    def processes(self, pattern: str) -> list[int]:
        """Those of the run whose command line matches."""
        lines = (line.partition(" ") for line in left_behind(self.home))
        return [int(pid) for pid, _, text in lines if re.search(pattern, text)]


@dataclass(frozen=True)
class Fault:
    """A fault and what it may lead to.

    Args:
        name: unique, for `--only` and the table.
        moment: when it happens, in words.
        ready: whether that moment has come.
        act: the fault.
        exits: exit codes that are right.
        within: seconds after which the run must have ended; None if it goes on.
        message: what its output must contain.
    """

    name: str
    moment: str
    ready: Callable[[FaultyRun], bool]
    act: Callable[[FaultyRun], None]
    exits: Sequence[int]
    within: float | None = None
    message: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a fault led to. seconds: from the fault to the end of the run. recovery: of the second
    run, None if none was needed. equal: results after it. failed: which expectations did not hold.
    """

    fault: str
    moment: str
    exit: int
    seconds: float
    message: str
    orphans: Sequence[str]
    recovery: float | None
    equal: bool
    failed: Sequence[str]


def training(run: FaultyRun) -> bool:
    return bool(run.processes("ray::RayTrain|ray::_RayTrain|ray::.*[Tt]rain")) and bool(
        list(run.store.glob("work/*/*/*/state.json")) or run.steps("finetune")
    )


def scoring(run: FaultyRun) -> bool:
    return bool(run.steps("score"))


def ray_starting(run: FaultyRun) -> bool:
    return bool(run.processes(HEAD))


def kill(pattern: str) -> Callable[[FaultyRun], None]:
    """SIGKILL to all processes of the run that match."""

    def act(run: FaultyRun) -> None:
        pids = run.processes(pattern)
        assert pids, f"no process matches {pattern!r}"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    return act


def send(number: signal.Signals) -> Callable[[FaultyRun], None]:
    """The signal to the run's process."""

    def act(run: FaultyRun) -> None:
        assert run.process is not None
        run.process.send_signal(number)

    return act


def _encoded_blob(run: FaultyRun) -> Path:
    """A blob of an encode step, which training reads."""
    manifest = json.loads(run.steps("encode")[0].read_text())
    sha256 = str(max(manifest["files"].values(), key=lambda file: file["size"])["sha256"])
    shutil.rmtree(run.home / "cache")
    return run.store / "blobs" / sha256[:2] / sha256


def corrupt_blob(run: FaultyRun) -> None:
    path = _encoded_blob(run)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def lose_blob(run: FaultyRun) -> None:
    _encoded_blob(run).unlink()


HEAD = r"components\.launch\.head"
TASK = r"pipelines\.task_processes once|kfp\.dsl\.executor_main.*\b(finetune|score)\b"
INTERRUPTED = "xstilts: interrupted; run the same command to resume"
FAULTS = (
    Fault("Ctrl-C", "training", training, send(signal.SIGINT), [130], 15, INTERRUPTED),
    Fault("SIGTERM", "training", training, send(signal.SIGTERM), [130], 15, INTERRUPTED),
    Fault("SIGTERM", "scoring", scoring, send(signal.SIGTERM), [130], 15, INTERRUPTED),
    Fault("SIGTERM", "start of Ray", ray_starting, send(signal.SIGTERM), [130], 15, INTERRUPTED),
    Fault("SIGKILL of the run", "training", training, send(signal.SIGKILL), [-9], 5),
    Fault("SIGKILL of the run", "scoring", scoring, send(signal.SIGKILL), [-9], 5),
    Fault(
        "S3 server killed", "training", training, kill("rclone serve"), [0],
        message="the embedded S3 server died (SIGKILL) and is started again",
    ),
    Fault("S3 server killed", "scoring", scoring, kill("rclone serve"), [0], message="S3 server"),
    Fault("Ray's head killed", "training", training, kill(HEAD), [3], 60, "Ray was lost"),
    Fault("raylet killed", "training", training, kill(r"/raylet/raylet "), [3], 60, "Ray was lost"),
    Fault("GCS killed", "training", training, kill("gcs_server"), [3], 60, "Ray was lost"),
    Fault("Ray's worker killed", "training", training, kill("ray::.*TrainWorker"), [0, 4]),
    Fault("task killed", "training", training, kill(TASK), [0, 3, 4]),
    Fault("blob corrupt", "start", lambda run: True, corrupt_blob, [3, 4], message="verify --repair"),
    Fault("blob lost", "start", lambda run: True, lose_blob, [3, 4], message="verify --repair"),
)  # fmt: skip


def outcome_of(
    fault: Fault, reference: Path, expected: pd.DataFrame, home: Path, plan: Path = SMALL
) -> Outcome:
    """Runs the plan in a copy of the reference's folder, with the fault, and lets it recover."""
    _copy(reference, home)
    if fault.moment == "start":
        fault.act(FaultyRun(home))
        process = _started(home, plan)
    else:
        process = _started(home, plan)
        run, deadline = FaultyRun(home, process), time.monotonic() + LONGEST
        while not fault.ready(run):
            assert process.poll() is None, f"{fault.name}: the run ended before its moment"
            assert time.monotonic() < deadline, f"{fault.name}: its moment did not come"
            time.sleep(0.1)
        fault.act(run)
    at = time.monotonic()
    output, _ = process.communicate(timeout=LONGEST)
    seconds, code = time.monotonic() - at, process.returncode
    orphans = wait_until_gone(home, 10)
    recovery = None
    if code != 0:
        if "verify --repair" in output:
            verify = [sys.executable, "-m", "pipelines.cli", "store", "verify", "--repair"]
            subprocess.run([*verify, "--home", str(home)], check=False, capture_output=True)
        at = time.monotonic()
        subprocess.run(command(home, plan), check=False, capture_output=True, timeout=LONGEST)
        recovery = time.monotonic() - at
    equal = _equal(home, expected)
    failed = [
        text
        for text, holds in {
            f"exit code {code}": code in fault.exits,
            f"{seconds:.0f} s to the end": fault.within is None or seconds <= fault.within,
            "message": fault.message in output,
            "orphans": not orphans,
            "other results": equal,
        }.items()
        if not holds
    ]
    lines = output.splitlines()
    said = [line for line in lines if fault.message and fault.message in line]
    errors = [line for line in lines if line.startswith("xstilts: ")]
    message = (said or errors or lines or [""])[-1].strip().replace(str(home), "HOME")
    return Outcome(
        fault.name, fault.moment, code, round(seconds, 1), message, orphans,
        None if recovery is None else round(recovery, 1), equal, failed,
    )  # fmt: skip


def _started(home: Path, plan: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command(home, plan), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _copy(reference: Path, home: Path) -> None:
    """Copies a run's folder without its outcome, and without what a fault's run computes."""
    shutil.copytree(reference, home, ignore=shutil.ignore_patterns("out", "runs"))
    for kind in COMPUTED:
        shutil.rmtree(home / "store" / "xstilts" / "store" / "steps" / kind)


def _equal(home: Path, expected: pd.DataFrame) -> bool:
    try:
        pd.testing.assert_frame_equal(results(home), expected, check_exact=True)
    except (AssertionError, FileNotFoundError):
        return False
    return True


def main(only: Sequence[str]) -> int:
    # A shell's background job ignores SIGINT, and so would the runs that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    chosen = [fault for fault in FAULTS if not only or fault.name in only]
    known = {(row["fault"], row["moment"]): row for row in _written()}
    with tempfile.TemporaryDirectory(prefix="xstilts-chaos-") as scratch:
        reference = Path(scratch) / "reference"
        subprocess.run(command(reference), check=True, stdout=subprocess.DEVNULL)
        expected = results(reference)
        for number, fault in enumerate(chosen):
            outcome = outcome_of(fault, reference, expected, Path(scratch) / str(number))
            print(json.dumps(asdict(outcome)), flush=True)
            known[fault.name, fault.moment] = asdict(outcome)
            order = [(each.name, each.moment) for each in FAULTS]
            rows = [known[key] for key in order if key in known]
            OUT.parent.mkdir(parents=True, exist_ok=True)
            OUT.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            shutil.rmtree(Path(scratch) / str(number), ignore_errors=True)
    return int(any(row["failed"] for row in known.values()))


def _written() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(OUT.read_text()) if OUT.is_file() else []
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="names of faults")
    sys.exit(main(parser.parse_args().only))
