"""The softmax over a whole update's candidates, in micro-batches and over workers (GradCache, Gao
et al. 2021).

A dual encoder's loss is no sum over rows: each query's negatives are all other candidates of the
update. So the vectors of the update are made once without a graph, the loss and its gradient at
each vector are computed from all of them, and the micro-batches then run with the graph on the
linear function that has this gradient. The number of negatives is that of the update's examples,
whatever the number of workers and the token budget.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from xstilts.training.workers import Workers


class InBatch:
    """The loss of one update after another. temperature divides the cosines."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature
        self._left: list[tuple[Tensor, Tensor]] = []

    def begin(self, own: Sequence[Tensor], width: int, workers: Workers) -> None:
        """own: [rows, 2, width] of each of this worker's micro-batches, in order."""
        mine = torch.cat([*own]) if own else torch.zeros(0, 2, width)
        shares = workers.gather(mine.float().cpu())
        vectors = torch.cat(shares).requires_grad_()
        losses = pair_losses(vectors, self.temperature)
        (gradient,) = torch.autograd.grad(losses.sum(), vectors)
        first = sum(len(share) for share in shares[: workers.rank])
        sizes = [len(one) for one in own]
        mine_at = slice(first, first + len(mine))
        self._left = list(
            zip(gradient[mine_at].split(sizes), losses.detach()[mine_at].split(sizes), strict=True)
        )

    def surrogate(self, vectors: Tensor) -> Tensor:
        """The next micro-batch's summed loss, with the gradient of the whole update's loss.
        vectors: [rows, 2, width].
        """
        gradient, losses = (part.to(vectors.device) for part in self._left.pop(0))
        linear = (vectors.float() * gradient).sum()
        return linear - linear.detach() + losses.sum()


def pair_losses(vectors: Tensor, temperature: float) -> Tensor:
    """[n]: cross-entropy of each query's own candidate among all n, one direction (xtreme
    bert.py BertForRetrieval). vectors: [n, (query, candidate), width] of unit length.
    """
    logits = vectors[:, 0] @ vectors[:, 1].T / temperature
    return F.cross_entropy(
        logits, torch.arange(len(vectors), device=vectors.device), reduction="none"
    )
