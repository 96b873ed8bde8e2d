"""Time of fine-tuning beside transformers' Trainer, on the same rows, weights and updates:

    python -m benchmarks.training [nli squad pos captions text …] [--peers tuned …] [--rounds 5]

Each round has a new seed. In it, each alternative trains one epoch right before or after xstilts
does, in one process. `--processes 2` trains with two workers against the Trainer under torchrun.
`--swift-python` and `--llamafactory-python` are interpreters of environments with ms-swift and
LLaMA-Factory. Figures go to docs/benchmarks/training.json; `python -m benchmarks.page` writes the
table.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import measure, peers_trainers, peers_transformers, training_ours
from benchmarks.measure import OURS, Pairs, Record, paired
from benchmarks.training_cases import CASES, Case, photos, rows_of
from xstilts.training.workers import Workers

DEV_ROWS = 128
#: Alternative → seed → metric. A second run of a seed has the same metric.
Metrics = dict[str, dict[int, float]]


def case_of(name: str, updates: int | None) -> Case:
    """A case, with another number of updates if one is set."""
    return replace(CASES[name], updates=updates) if updates else CASES[name]


def data(case: Case) -> tuple[Any, Any, list[bytes]]:
    """Training rows, dev rows and images of a case."""
    rows = rows_of(case, case.batch * case.updates, 1)
    dev = rows_of(case, case.batch if case.objective == "lm" else DEV_ROWS, 2)
    return rows, dev, photos(max(len(rows), len(dev))) if case.images else []


def measured(
    case: Case, peers: Sequence[str], rounds: int, pythons: Mapping[str, str | None]
) -> Record:
    """One case with each of the alternatives: in this process, those of `pythons` in one of the
    interpreter there.
    """
    rows, dev, images = data(case)
    metrics: Metrics = {}
    with tempfile.TemporaryDirectory(prefix="xstilts-benchmark-") as scratch:

        def train(alternative: str, seed: int) -> tuple[float, float]:
            if alternative == OURS:
                return training_ours.train(case, rows, dev, images, seed, Path(scratch))
            if python := pythons.get(alternative):
                return peers_trainers.train(case, alternative, python, rows, dev, seed)
            return peers_transformers.train(case, alternative, rows, dev, images, seed)

        reasons = {peer: _unavailable(case, peer, pythons) for peer in peers}
        able = [peer for peer, reason in reasons.items() if not reason]
        about = {n: peers_trainers.about(n, p) for n, p in pythons.items() if p and n in able}
        train(OURS, 0)  # loads libraries, and fills the cache of prepared images
        pairs = paired(rounds, able, _timed(case.title, metrics, train))
    absent = {peer: reason for peer, reason in reasons.items() if reason}
    return _record(case, case.title, pairs, metrics, absent, rows, about)


def _unavailable(case: Case, peer: str, pythons: Mapping[str, str | None]) -> str | None:
    if peer in peers_trainers.PEERS:
        return peers_trainers.unavailable(case, peer, pythons.get(peer))
    return peers_transformers.unavailable(case, peer)


def _timed(
    title: str, metrics: Metrics, train: Callable[[str, int], tuple[float, float]]
) -> Callable[[str, int], float]:
    """(alternative, seed) → the seconds of `train`, which keeps its metric and prints both."""

    def epoch(alternative: str, seed: int) -> float:
        seconds, metric = train(alternative, seed)
        metrics.setdefault(alternative, {})[seed] = metric
        print(f"{title}: {alternative} {seconds:.2f} s, {metric:.4f}", file=sys.stderr)
        return seconds

    return epoch


def _record(
    case: Case, title: str, pairs: Pairs, metrics: Metrics, absent: Mapping[str, str],
    rows: Sequence[Any], about: Mapping[str, str],
) -> Record:  # fmt: skip
    tokens = sum(len(row.ids) for row in rows)
    values = {name: [*of_seed.values()] for name, of_seed in metrics.items()}
    setting = {
        "rows": len(rows), "tokens": tokens, "updates": case.updates, "examples": case.batch,
        "max_length": case.max_length, "width": case.width, "layers": case.layers,
        "threads": torch.get_num_threads(), "metric": case.metric,
        "metrics": {name: [round(v, 4) for v in each] for name, each in values.items()},
    }  # fmt: skip
    about = {**peers_transformers.PEERS, **about}
    notes = {name: _note(case, values, name, about.get(name, "")) for name in pairs.figures}
    return Record(
        title, "s", pairs.figures, notes, absent, setting, target=case.target, beside=pairs.beside
    )


def _note(case: Case, metrics: Mapping[str, Sequence[float]], name: str, about: str) -> str:
    values = metrics[name]
    text = f"{case.metric} {statistics.mean(values):.3f}"
    if name != OURS:
        same = equal(metrics[OURS], values)
        text += f" ({'equal within' if same else 'different by more than'} the noise of seeds)"
    return "; ".join(filter(None, [about, text]))


def equal(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    """Whether the difference of two means is within two standard errors, from the spread over
    seeds, or within a hundredth of the mean.
    """
    difference = abs(statistics.mean(ours) - statistics.mean(theirs))
    if min(len(ours), len(theirs)) < 2:
        return difference <= 0.01 * abs(statistics.mean(ours))
    error = math.sqrt(
        statistics.variance(ours) / len(ours) + statistics.variance(theirs) / len(theirs)
    )
    return difference <= max(2 * error, 0.01 * abs(statistics.mean(ours)))


def in_processes(name: str, updates: int | None, count: int, rounds: int) -> Record:
    """One case with several workers, against the tuned Trainer under torchrun."""
    case = case_of(name, updates)
    metrics: Metrics = {}

    def train(alternative: str, seed: int) -> tuple[float, float]:
        with tempfile.TemporaryDirectory(prefix="xstilts-benchmark-") as folder:
            out = Path(folder) / "result.json"
            inside = json.dumps([name, updates, alternative, seed, str(out)])
            command = [
                sys.executable, "-m", "torch.distributed.run", "--standalone",
                f"--nproc-per-node={count}", "-m", "benchmarks.training", "--inside", inside,
            ]  # fmt: skip
            threads = max(1, len(os.sched_getaffinity(0)) // count)
            env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
            subprocess.run(command, check=True, env=env, stdout=sys.stderr)
            seconds, metric = json.loads(out.read_text(encoding="utf-8"))
        return seconds, metric

    pairs = paired(rounds, ["tuned"], _timed(f"{case.title} × {count}", metrics, train))
    title = f"{case.title}, {count} processes"
    return _record(case, title, pairs, metrics, {}, data(case)[0], {})


def inside(name: str, updates: int | None, alternative: str, seed: int, out: str) -> None:
    """One of the processes of `in_processes`."""
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    case = case_of(name, updates)
    rows, dev, images = data(case)
    if alternative == OURS:
        cuda = torch.cuda.is_available()
        torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
        with tempfile.TemporaryDirectory() as scratch:
            result = training_ours.train(
                case, rows, dev, images, seed, Path(scratch), Workers(rank, world)
            )
    else:
        result = peers_transformers.train(case, alternative, rows, dev, images, seed, world)
    if rank == 0:
        Path(out).write_text(json.dumps(result), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=[*CASES], metavar="case")
    parser.add_argument(
        "--peers", nargs="+", default=[*peers_transformers.PEERS, *peers_trainers.PEERS]
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--updates", type=int, help="instead of the case's own number")
    for name, peer in peers_trainers.PEERS.items():
        text = f"interpreter where {name} is installed; default: this one, if it is"
        parser.add_argument(f"--{peer.module}-python", metavar="PATH", help=text)
    parser.add_argument("--dry", action="store_true", help="print, and do not record")
    parser.add_argument("--inside", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        inside(*options.inside)
        return
    pythons = {
        name: peers_trainers.python_of(name, getattr(options, f"{peer.module}_python"))
        for name, peer in peers_trainers.PEERS.items()
    }
    for name in options.cases:
        if options.processes > 1:
            record = in_processes(name, options.updates, options.processes, options.rounds)
        else:
            case = case_of(name, options.updates)
            record = measured(case, options.peers, options.rounds, pythons)
        print(measure.table([record]))
        if not options.dry:
            measure.write("training", [record])


if __name__ == "__main__":
    main()
