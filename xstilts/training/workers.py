"""The workers of one group: rank, number, and the few collectives the loop needs. One worker
needs no process group.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from xstilts.errors import XstiltsError


class StepFailed(XstiltsError):
    """A step cannot be finished; every worker of the group raises it together, so that the group
    goes on in step.
    """


@dataclass(frozen=True)
class Workers:
    rank: int = 0
    world: int = 1

    def sum_(self, tensor: torch.Tensor) -> None:
        """Sums a tensor over the workers, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)

    def agree(self, error: str | None) -> None:
        """Raises StepFailed on every worker when one of them reports an error, else returns on
        all of them.
        """
        errors: list[str | None] = [error]
        if self.world > 1:
            errors = [None] * self.world
            dist.all_gather_object(errors, error)
        if found := [f"worker {rank}: {text}" for rank, text in enumerate(errors) if text]:
            raise StepFailed("\n".join(found) if self.world > 1 else str(error))

    def gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Every worker's tensor, in order of rank. Sizes may differ."""
        if self.world == 1:
            return [tensor]
        found: list[torch.Tensor | None] = [None] * self.world
        dist.all_gather_object(found, tensor)
        return [one for one in found if one is not None]

    def meet(self) -> None:
        """Returns on every worker when the last has come here."""
        self.agree(None)

    def from_first(self, value: Any) -> Any:
        """The first worker's value, on every worker."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]
