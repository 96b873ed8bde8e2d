"""A dual encoder's loss over a whole update: micro-batches and workers change neither loss nor
gradient.
"""

import torch
import torch.nn.functional as F
from torch import nn

from xstilts.training.in_batch import InBatch, pair_losses
from xstilts.training.workers import Workers


def vectors(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return F.normalize(model(x), dim=-1)


def test_micro_batches_have_the_gradient_of_the_whole() -> None:
    torch.manual_seed(0)
    x, model = torch.randn(6, 2, 5), nn.Linear(5, 4)
    whole = pair_losses(vectors(model, x), 0.1).sum()
    whole.backward()
    expected = model.weight.grad.clone()  # type: ignore[union-attr]
    model.zero_grad()
    parts, pairs = x.split([1, 3, 2]), InBatch(0.1)
    with torch.no_grad():
        own = [vectors(model, part) for part in parts]
    pairs.begin(own, 4, Workers())
    losses = [pairs.surrogate(vectors(model, part)) for part in parts]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(model.weight.grad, expected)
    torch.testing.assert_close(sum(losses).detach(), whole.detach())  # type: ignore[union-attr]


def test_a_query_equal_to_its_candidate_has_no_loss() -> None:
    eye = torch.eye(3)
    losses = pair_losses(torch.stack([eye, eye], 1), 0.05)
    assert losses.max() < 1e-6


def test_every_other_candidate_is_a_negative() -> None:
    same = torch.ones(4, 2, 1)
    torch.testing.assert_close(pair_losses(same, 1.0), torch.full((4,), 4.0).log())
