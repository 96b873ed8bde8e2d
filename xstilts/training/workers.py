"""The workers of one group: rank, world size, and the collectives that the loop needs. A single
worker needs no process group.

Tensors on a GPU are reduced there. Flags and Python objects are exchanged on the CPU, so that no
worker waits for its GPU (components/launch/process_group.py).
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from xstilts.errors import XstiltsError


class StepFailed(XstiltsError):
    """A step cannot be finished. All workers of the group raise it together and stay in sync."""


@dataclass(frozen=True)
class Workers:
    """This worker's rank, and the number of workers."""

    rank: int = 0
    world: int = 1

    def sum_(self, tensor: torch.Tensor) -> None:
        """Sums a tensor over the workers, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)

    def agree(self, error: str | None) -> None:
        """Raises StepFailed on every worker if one of them reports an error."""
        errors: list[str | None] = [error]
        if self.world > 1:
            errors = [None] * self.world
            dist.all_gather_object(errors, error)
        if lines := [f"worker {rank}: {text}" for rank, text in enumerate(errors) if text]:
            raise StepFailed("\n".join(lines) if self.world > 1 else str(error))

    def any(self, flag: bool) -> bool:
        """Whether any worker has the flag."""
        if self.world == 1:
            return flag
        flags = torch.tensor(int(flag))
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        return bool(flags)

    def gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """The tensors of all workers in order of rank. Their first sizes may differ."""
        if self.world == 1:
            return [tensor]
        sizes = torch.zeros(self.world, dtype=torch.int64)
        sizes[self.rank] = len(tensor)
        dist.all_reduce(sizes)
        padded = tensor.new_zeros((int(sizes.max()), *tensor.shape[1:]))
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        dist.all_gather(parts, padded)
        return [part[:size] for part, size in zip(parts, sizes.tolist(), strict=True)]

    def everyone(self, value: Any) -> list[Any]:
        """The values of all workers in order of rank, on every worker."""
        values: list[Any] = [value]
        if self.world > 1:
            values = [None] * self.world
            dist.all_gather_object(values, value)
        return values

    def send(self, value: Any, to: int) -> list[Any]:
        """The values of all workers in order of rank on one worker; an empty list on the others."""
        if self.world == 1:
            return [value]
        values: list[Any] | None = [None] * self.world if self.rank == to else None
        dist.gather_object(value, values, dst=to)
        return values or []

    def meet(self) -> None:
        """Waits until every worker has called this."""
        self.agree(None)

    def from_first(self, value: Any) -> Any:
        """The first worker's value, on every worker."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]
