"""What joins a backbone, its heads and encoded rows: the loss of a micro-batch, and the heads of
a finetune step.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xstilts.data.encoded import EncodedRow, Images
from xstilts.models.backbone import Backbone
from xstilts.models.head_set import Heads, pack_rows
from xstilts.models.heads import embed, lm_loss, rows_of
from xstilts.models.processor import Processor
from xstilts.training.in_batch import InBatch
from xstilts.training.workers import Workers


class Learner:
    """The loss of a micro-batch of one finetune step."""

    def __init__(
        self,
        backbone: Backbone,
        heads: Heads,
        processor: Processor,
        images: Sequence[Images | None],
        recipe: Mapping[str, Any],
        seed: int,
        stage: str,
        device: torch.device,
    ) -> None:
        self.backbone, self.heads, self.processor, self.images = backbone, heads, processor, images
        self.device, self.seed, self.stage = device, seed, stage
        self.pairs = InBatch(float(recipe.get("temperature") or 0.05))
        self.pooling = str(recipe.get("pooling") or "pooled")
        backbone.dropout.hidden = float(recipe.get("dropout") or 0.0)
        backbone.dropout.adapter = float(recipe.get("adapter_dropout") or 0.0)

    def loss_sum(
        self, rows: Sequence[EncodedRow], task: int, update: int, images: Images | None = None
    ) -> Tensor:
        """Sum over rows (`lm`: over supervised tokens) of the loss of one micro-batch; a scalar
        on the graph. images: those of the rows where they are not the task's training rows.
        """
        pictures = images or self.images[task]
        if self.heads.tasks[task]["format"] == "ranking":
            return self.pairs.surrogate(self._embedded(rows, update))
        batch = pack_rows(rows, self.backbone, self.processor, pictures).to(self.device)
        self.backbone.dropout.at(self.seed, update, self.stage)
        states, about = self.backbone(batch), rows_of(rows, self.device)
        if self.heads.tasks[task]["objective"] == "lm":
            return lm_loss(self.backbone, states, about)[0]
        loss: Tensor = self.heads.heads[task].loss(states, about).sum()  # type: ignore[operator]
        return loss

    def prepare(
        self, batches: Sequence[Sequence[EncodedRow]], task: int, update: int, workers: Workers
    ) -> None:
        """Before an update of a dual encoder: the whole update's vectors, since each pair's
        negatives are all others.
        """
        if self.heads.tasks[task]["format"] != "ranking":
            return
        with torch.no_grad():
            own = [self._embedded(rows, update) for rows in batches]
        width = self.backbone.width
        self.pairs.begin(own, width, workers)

    def _embedded(self, rows: Sequence[EncodedRow], update: int) -> Tensor:
        """[R, 2, width] unit vectors of queries and of the candidates that answer them."""
        self.backbone.dropout.at(self.seed, update, self.stage)
        batch = pack_rows(rows, self.backbone, self.processor, None).to(self.device)
        states, about = self.backbone(batch), rows_of(rows, self.device)
        return embed(states, about, self.backbone.pool, self.pooling).view(
            len(rows), 2, self.backbone.width
        )
