"""The loss of a micro-batch: backbone, heads and encoded rows joined."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xstilts.data.encoded import EncodedRow, Images
from xstilts.models.backbone import Backbone
from xstilts.models.head_set import Heads
from xstilts.models.heads import embed, lm_loss
from xstilts.models.processor import Processor
from xstilts.training.in_batch import InBatch
from xstilts.training.prefetch import MicroBatch, Preparation
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
        """Sets the backbone's dropout rates to those of the recipe.

        Args:
            backbone: The backbone that trains.
            heads: Heads of the step's tasks.
            processor: The backbone's processor.
            images: Images of each task, or None.
            recipe: The step's recipe.
            seed: The step's seed.
            stage: Name of the stage in random streams.
            device: Where the backbone is.
        """
        self.backbone, self.heads, self.processor = backbone, heads, processor
        self.preparation = Preparation(backbone.placement, processor, images)
        self.device, self.seed, self.stage = device, seed, stage
        self.pairs = InBatch(float(recipe.get("temperature") or 0.05))
        self.pooling = str(recipe.get("pooling") or "pooled")
        backbone.dropout.hidden = float(recipe.get("dropout") or 0.0)
        backbone.dropout.adapter = float(recipe.get("adapter_dropout") or 0.0)

    def loss_sum(
        self,
        rows: Sequence[EncodedRow] | MicroBatch,
        task: int,
        update: int,
        images: Images | None = None,
    ) -> Tensor:
        """Sum over rows (`lm`: over supervised tokens) of the loss of one micro-batch: a scalar
        with its graph.

        Args:
            rows: The micro-batch.
            task: Index of its task.
            update: The update.
            images: Those of the rows, if these are not the task's training rows.
        """
        micro_batch = self._on_device(rows, task, images)
        if self.heads.tasks[task]["format"] == "ranking":
            return self.pairs.surrogate(self._embedded(micro_batch, update))
        self.backbone.dropout.at(self.seed, update, self.stage)
        states, inputs = self.backbone(micro_batch.batch), micro_batch.inputs
        if self.heads.tasks[task]["objective"] == "lm":
            return lm_loss(self.backbone, states, inputs)[0]
        loss: Tensor = self.heads.heads[task].loss(states, inputs).sum()  # type: ignore[operator]
        return loss

    def prepare(
        self,
        batches: Sequence[Sequence[EncodedRow] | MicroBatch],
        task: int,
        update: int,
        workers: Workers,
        fillers: int = 0,
    ) -> None:
        """Computes all vectors of an update of a dual encoder, since the negatives of each pair are
        all others. fillers: how many of the batches, at the end, do not count.
        """
        if self.heads.tasks[task]["format"] != "ranking":
            return
        with torch.no_grad():
            vectors = [self._embedded(self._on_device(rows, task), update) for rows in batches]
        counted = vectors[: len(vectors) - fillers]
        self.pairs.begin(counted, self.backbone.width, workers, self.device)

    def _on_device(
        self, rows: Sequence[EncodedRow] | MicroBatch, task: int, images: Images | None = None
    ) -> MicroBatch:
        made = rows if isinstance(rows, MicroBatch) else self.preparation(rows, task, images)
        return made.to(self.device)

    def _embedded(self, micro_batch: MicroBatch, update: int) -> Tensor:
        """[R, 2, width] unit vectors of queries and of their candidates."""
        self.backbone.dropout.at(self.seed, update, self.stage)
        states = self.backbone(micro_batch.batch)
        return embed(states, micro_batch.inputs, self.backbone.pool, self.pooling).view(
            micro_batch.rows, 2, self.backbone.width
        )
