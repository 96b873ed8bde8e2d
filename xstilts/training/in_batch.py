"""Softmax over all candidates of an update, across micro-batches and workers (GradCache, Gao et
al. 2021).

The loss of a dual encoder is not a sum over rows: the negatives of a query are all other candidates
of the update. So the vectors of the update are first computed without a graph, then the loss and
its gradient at each vector from all of them. The micro-batches then run with the graph on the
linear function that has this gradient. The number of negatives depends only on the update's number
of examples, not on workers or token budget.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from xstilts.training.workers import Workers


class InBatch:
    """The loss of successive updates. temperature divides the cosines."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature
        self._left: list[tuple[Tensor, Tensor]] = []

    def begin(
        self,
        batches: Sequence[Tensor],
        width: int,
        workers: Workers,
        device: torch.device | str = "cpu",
    ) -> None:
        """Starts an update. batches: [rows, 2, width] of each micro-batch of this worker."""
        mine = torch.cat([*batches]) if batches else torch.zeros(0, 2, width, device=device)
        shares = workers.gather(mine.float())
        vectors = torch.cat(shares).requires_grad_()
        losses = pair_losses(vectors, self.temperature)
        (gradient,) = torch.autograd.grad(losses.sum(), vectors)
        first = sum(len(share) for share in shares[: workers.rank])
        sizes = [len(vectors_of_batch) for vectors_of_batch in batches]
        mine_at = slice(first, first + len(mine))
        self._left = list(
            zip(gradient[mine_at].split(sizes), losses.detach()[mine_at].split(sizes), strict=True)
        )

    def surrogate(self, vectors: Tensor) -> Tensor:
        """Summed loss of the next micro-batch, with the gradient of the whole update's loss; 0
        after the last one (see `train` on fillers). vectors: [rows, 2, width].
        """
        if not self._left:
            return 0.0 * vectors.sum()
        gradient, losses = self._left.pop(0)
        linear = (vectors.float() * gradient).sum()
        return linear - linear.detach() + losses.sum()


def pair_losses(vectors: Tensor, temperature: float) -> Tensor:
    """[n]: cross-entropy of each query's candidate among all n, in one direction (xtreme bert.py
    BertForRetrieval). vectors: [n, (query, candidate), width] of unit length.
    """
    logits = vectors[:, 0] @ vectors[:, 1].T / temperature
    return F.cross_entropy(
        logits, torch.arange(len(vectors), device=vectors.device), reduction="none"
    )
