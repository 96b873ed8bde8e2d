"""Functions that tests run in several processes at once."""

import multiprocessing
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch.multiprocessing as mp

#: What the fork server imports. Importing it in each process takes longer than most of their work.
PRELOAD = ["xstilts.runs.finetune", "xstilts.runs.score", "tests.training.sharded_runs"]


def run_in_processes(work: Callable[..., None], arguments: tuple[Any, ...], count: int) -> None:
    """Runs work(rank, *arguments) in `count` processes with the environment of this one.

    Raises ProcessRaisedException or ProcessExitedException if one fails, after ending the others.
    """
    multiprocessing.set_forkserver_preload(PRELOAD)
    inside = (dict(os.environ), work, arguments)
    mp.start_processes(_run, inside, count, start_method="forkserver")  # type: ignore[attr-defined]


def _run(
    rank: int, environment: Mapping[str, str], work: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    # The fork server's environment is that of its first use.
    os.environ.clear()
    os.environ.update(environment)
    work(rank, *arguments)
