"""The workers of one group: rank, world size, and the collectives that the loop needs. A single
worker needs no process group.
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

    def gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """The tensors of all workers in order of rank. Sizes may differ."""
        if self.world == 1:
            return [tensor]
        tensors: list[torch.Tensor | None] = [None] * self.world
        dist.all_gather_object(tensors, tensor)
        return [gathered for gathered in tensors if gathered is not None]

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
