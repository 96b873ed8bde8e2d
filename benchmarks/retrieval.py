"""Measures the search of nearest candidates and the mining of translations against faiss.

Each alternative runs in a process of its own, so that its memory can be seen and its OpenMP is
alone. The time includes building the index. The vectors are random around a common direction, as
those of language models are; queries are noisy copies of candidates, and one candidate in fifty
occurs twice.

Mining with faiss is the method of LASER (ratio margin over the neighbors in both directions, `max`
retrieval), with exact search by faiss and everything else vectorized in numpy.

    PYTHONPATH=. python -m benchmarks.retrieval [--rounds 3] [--threads 2]

faiss is not a dependency; install `faiss-cpu` to measure it.
"""

import argparse
import ctypes
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measure import OURS, Record, interleaved, table, write

Matrix = npt.NDArray[np.float32]
#: Neighbors of mining, and candidates of retrieval.
NEIGHBORS, DEPTH = 4, 20
#: Cosines in single precision differ by less.
PRECISION = 2e-6
PEER = "faiss"


def vectors(queries: int, pool: int, width: int) -> tuple[Matrix, Matrix]:
    """Unit vectors (queries, pool)."""
    random = np.random.default_rng(0)
    candidates = random.standard_normal((pool, width), dtype=np.float32) + 0.5
    twice = pool // 50
    candidates[-twice:] = candidates[:twice]
    chosen = candidates[random.permutation(pool)[:queries]]
    noisy = chosen + 0.7 * random.standard_normal(chosen.shape, dtype=np.float32)
    return tuple(x / np.linalg.norm(x, axis=1, keepdims=True) for x in (noisy, candidates))


def search(queries: Matrix, pool: Matrix) -> tuple[Any, Any]:
    """(candidates, cosines) by this project."""
    import torch

    from xstilts.scoring.nearest import nearest_candidates

    x, y = torch.from_numpy(queries), torch.from_numpy(pool)
    places, cosines = nearest_candidates(x, lambda: y.split(32_768), y.__getitem__, DEPTH)
    return places.numpy(), cosines.numpy()


def search_faiss(queries: Matrix, pool: Matrix, depth: int = DEPTH) -> tuple[Any, Any]:
    """(candidates, cosines) by faiss's exact index."""
    import faiss

    index = faiss.IndexFlatIP(pool.shape[1])
    index.add(pool)
    cosines, places = index.search(queries, depth)
    return places, cosines


def mine(sources: Matrix, targets: Matrix) -> tuple[Any, Any]:
    """(pairs, margins) by this project."""
    import torch

    from xstilts.scoring.mining import candidates

    pairs, margins = candidates(torch.from_numpy(sources), torch.from_numpy(targets), NEIGHBORS)
    return np.array(pairs), np.array(margins)


def mine_faiss(sources: Matrix, targets: Matrix) -> tuple[Any, Any]:
    """(pairs, margins) by faiss and numpy."""
    to_target, forward = search_faiss(sources, targets, NEIGHBORS)
    to_source, backward = search_faiss(targets, sources, NEIGHBORS)
    mean_x, mean_y = forward.mean(1), backward.mean(1)
    x, y = np.arange(len(sources)), np.arange(len(targets))
    of_x = forward / ((mean_x[:, None] + mean_y[to_target]) / 2)
    of_y = backward / ((mean_y[:, None] + mean_x[to_source]) / 2)
    best_x, best_y = of_x.argmax(1), of_y.argmax(1)
    pairs = np.concatenate(
        [
            np.stack([x, to_target[x, best_x]], 1),
            np.stack([to_source[y, best_y], y], 1),
        ]
    )
    margins = np.concatenate([of_x[x, best_x], of_y[y, best_y]])
    used: tuple[set[int], set[int]] = (set(), set())
    kept = []
    for k in np.argsort(-margins, kind="stable"):
        i, j = map(int, pairs[k])
        if i not in used[0] and j not in used[1]:
            used[0].add(i)
            used[1].add(j)
            kept.append(int(k))
    return pairs[kept], margins[kept]


CASES: Mapping[str, Mapping[str, Callable[[Matrix, Matrix], tuple[Any, Any]]]] = {
    "retrieval": {OURS: search, PEER: search_faiss},
    "mining": {OURS: mine, PEER: mine_faiss},
}


def _peak(reset: bool = False) -> float:
    """The largest resident memory of this process, in MB, since the last reset."""
    if reset:
        # Freed memory that the process keeps would hide what the next run needs.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _serve(
    connection: Connection, case: str, name: str, sizes: tuple[int, ...], threads: int
) -> None:
    """A process of one alternative: for each message a run, answered by (seconds, MB, results)."""
    if name == PEER:
        # The OpenBLAS of faiss's wheel takes some new CPUs for old ones, and is then up to twice
        # slower.
        if "avx512f" in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
            os.environ.setdefault("OPENBLAS_CORETYPE", "SkylakeX")
        import faiss

        faiss.omp_set_num_threads(threads)
    else:
        import torch

        torch.set_num_threads(threads)
    run, inputs = CASES[case][name], vectors(*sizes)
    run(inputs[0][:64], inputs[1][:512])  # imports, threads
    with suppress(EOFError):
        while True:
            connection.recv()
            before = _peak(reset=True)
            start = time.perf_counter()
            results = run(*inputs)
            connection.send((time.perf_counter() - start, _peak() - before, results))


def compare(case: str, sizes: tuple[int, int, int], rounds: int, threads: int) -> list[Record]:
    """Time and memory of one case. AssertionError if the results differ."""
    context = multiprocessing.get_context("spawn")
    times: dict[str, Callable[[], float]] = {}
    memory: dict[str, list[float]] = {name: [] for name in CASES[case]}
    results: dict[str, tuple[Any, Any]] = {}
    processes, ends = [], []
    for name in CASES[case]:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, case, name, sizes, threads))
        process.start()
        theirs.close()
        processes.append(process)
        ends.append(ours)

        def run(name: str = name, connection: Connection = ours) -> float:
            connection.send("run")
            seconds, megabytes, results[name] = connection.recv()
            memory[name].append(megabytes)
            return float(seconds)

        times[name] = run
    try:
        figures = interleaved(rounds, times)
    finally:
        for end in ends:
            end.close()
        for process in processes:
            process.join()
    equal = agreement(case, results[OURS], results[PEER], vectors(*sizes))
    queries, pool, width = sizes
    setting = {"queries": queries, "pool": pool, "width": width, "threads": threads}
    label = f"{case}, {queries:,} × {pool:,}, width {width}, {threads} threads"
    note = {PEER: f"{equal:.2%} of the results equal, the others are ties in single precision"}
    target = {PEER: 1.0}
    return [
        Record(label, "s", figures, note, setting=setting, target=target),
        Record(f"{label}, memory in addition to the vectors", "MB", memory, setting=setting),
    ]


def agreement(
    case: str, ours: tuple[Any, Any], theirs: tuple[Any, Any], inputs: tuple[Matrix, Matrix]
) -> float:
    """The share of equal results. AssertionError if results differ that are not ties in single
    precision.
    """
    if case == "mining":
        mine_, peers = ({tuple(map(int, pair)) for pair in r[0]} for r in (ours, theirs))
        share = len(mine_ & peers) / max(len(mine_), len(peers))
        # A tie decides which of two duplicates is mined, and so their partners.
        assert share > 0.95, f"{case}: {share:.2%} of the pairs are equal"
        return share
    different = ours[0] != theirs[0]
    rows, columns = different.nonzero()
    queries, pool = inputs
    exact = [
        (queries[rows].astype(np.float64) * pool[places[rows, columns]]).sum(1)
        for places in (ours[0], theirs[0])
    ]
    gap = np.abs(exact[0] - exact[1]).max(initial=0)
    assert gap < PRECISION, f"{case}: cosines of different results differ by {gap}"
    return float(1 - different.mean())


def main() -> None:
    """Measures both cases and writes docs/benchmarks/retrieval.json."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--queries", type=int, default=11_000)
    parser.add_argument("--pool", type=int, default=100_000)
    parser.add_argument("--sentences", type=int, default=12_000, help="of each side of mining")
    parser.add_argument("--case", choices=list(CASES), action="append")
    arguments = parser.parse_args()
    sizes = {
        "retrieval": (arguments.queries, arguments.pool, arguments.width),
        "mining": (arguments.sentences, arguments.sentences, arguments.width),
    }
    for case in arguments.case or CASES:
        records = compare(case, sizes[case], arguments.rounds, arguments.threads)
        write("retrieval", records)
        print(table(records), flush=True)


if __name__ == "__main__":
    main()
