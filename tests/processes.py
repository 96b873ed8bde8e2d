"""Functions that tests run in several processes at once."""

import os
from collections.abc import Callable, Mapping
from multiprocessing import forkserver
from typing import Any

import torch.multiprocessing as mp

#: What the fork server imports. Importing it in each process takes longer than most of their work.
PRELOAD = ["xstilts.runs.finetune", "xstilts.runs.score", "tests.training.sharded_runs"]


def start_fork_server() -> None:
    """Starts it, unless it runs. What it imports is decided at its start."""
    forkserver.set_forkserver_preload(PRELOAD)
    forkserver.ensure_running()


def run_in_processes(work: Callable[..., None], arguments: tuple[Any, ...], count: int) -> None:
    """Runs work(rank, *arguments) in `count` processes with the environment of this one.

    Raises ProcessRaisedException or ProcessExitedException if one fails, after ending the others.
    """
    start_fork_server()
    inside = (dict(os.environ), work, arguments)
    mp.start_processes(_run, inside, count, start_method="forkserver")  # type: ignore[attr-defined]


def _run(
    rank: int, environment: Mapping[str, str], work: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    # The fork server's environment is that of its first use.
    os.environ.clear()
    os.environ.update(environment)
    work(rank, *arguments)
