"""Workers of test_process_group.py."""

from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from xstilts.training.loop import _sum_gradients
from xstilts.training.workers import StepFailed, Workers


def work(rank: int, backend: str, folder: Path) -> None:
    """What an update and a report of failure exchange on the CPU; results in <folder>/<rank>.pt."""
    torch.set_num_threads(1)
    file = (folder / "rendezvous").as_uri()
    dist.init_process_group(backend, init_method=file, rank=rank, world_size=2)
    workers = Workers(rank, 2)
    parameter, total = nn.Parameter(torch.zeros(2)), torch.tensor(1.0, dtype=torch.float64)
    if rank == 0:
        parameter.grad = torch.ones(2)
    _sum_gradients([parameter], total, None, 0, workers)
    try:
        _sum_gradients([parameter], total.clone(), "a bad row" if rank else None, 3, workers)
        failure = ""
    except StepFailed as error:
        failure = str(error)
    found = {
        "gradient": parameter.grad,
        "loss": float(total),
        "failure": failure,
        "any": workers.any(rank == 1),
        "first": workers.from_first(["step"] if rank == 0 else None),
        "rows": [part.tolist() for part in workers.gather(torch.full((rank + 1, 1), rank))],
    }
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()
