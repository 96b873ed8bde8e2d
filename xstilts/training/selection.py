"""Evaluations on English dev while a step trains. The best weights become the step's result.

The official scripts of XNLI, UD-POS and PAN-X do the same (xtreme third_party/run_classify.py,
run_tag.py: every `save_steps` updates, keep if strictly better). Here the last update is evaluated
too, so that a shorter step has an evaluation. Only the English `select` split is used. The last
weights are kept as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from xstilts.data.encoded import EncodedRows, Images
from xstilts.models.backbone import Backbone
from xstilts.models.heads import AnswerLimit
from xstilts.models.lora import merged, trainable_state
from xstilts.models.sharding import in_step, on_host
from xstilts.scoring.gold import Gold
from xstilts.scoring.metrics import METRICS, task_metrics
from xstilts.scoring.predict import Job, Predictor, join, predict_rows, withheld, written
from xstilts.tasks.task import Task
from xstilts.training.losses import Learner
from xstilts.training.micro_batches import micro_batches
from xstilts.training.workers import Workers


@dataclass
class Best:
    """The best weights so far, on the CPU; empty before the first evaluation. Only the first worker
    keeps them.
    """

    weights: dict[str, Tensor] = field(default_factory=dict)
    heads: dict[str, Tensor] = field(default_factory=dict)

    def keep(self, backbone: Backbone, heads: nn.Module, first: bool = True) -> None:
        """Copies the current weights on the first worker. All workers call this together."""
        for name, tensors in (
            ("weights", trainable_state(backbone)),
            ("heads", heads.state_dict()),
        ):
            copies = {key: value.clone() for key, value in on_host(tensors, first).items()}
            setattr(self, name, copies)


@dataclass(frozen=True)
class Development:
    """English dev of the one task that a step trains. every: updates between evaluations. gold:
    empty for `lm`, which is measured by its loss.
    """

    task: Task
    objective: str
    rows: EncodedRows
    images: Images | None
    gold: Sequence[Gold]
    every: int
    budget: int
    labels: Sequence[str] = ()
    answer_limit: AnswerLimit | None = None

    def due(self, update: int, updates: int) -> bool:
        """Whether English dev is evaluated after this update (counted from 1)."""
        return update % self.every == 0 or update == updates

    def value(self, learner: Learner, workers: Workers, update: int) -> float:
        """Quality of the current weights, higher is better: the task's official metric, 0..100, or
        for `lm` the negative loss per supervised token. Equal on every worker; each computes a
        share of the rows.
        """
        backbone, training = learner.backbone, learner.backbone.training
        backbone.eval()
        try:
            with torch.no_grad():
                if self.objective == "lm":
                    return -self._loss(learner, workers, update)
                return self._metric(learner, workers)
        finally:
            backbone.train(training)

    def _metric(self, learner: Learner, workers: Workers) -> float:
        rows = self.rows.share(workers.rank, workers.world)
        job = Job(
            "select", "en", self.task.format, rows, self.images, answer_limit=self.answer_limit
        )
        predictor = Predictor(
            learner.backbone, learner.heads, learner.processor, self.budget, learner.device
        )
        with in_step(learner.backbone, workers.any), merged(learner.backbone):
            share = predict_rows(predictor, [job])[0]["select", "en"]
        shares: list[Any] = [share]
        if workers.world > 1:
            shares = [None] * workers.world
            dist.all_gather_object(shares, share)
        by_row = [shares[i % workers.world][i // workers.world] for i in range(len(self.rows))]
        joined = join(self.task.format, by_row)
        predictions = written(self.task.format, self.labels, self.gold, joined)
        metric = METRICS[task_metrics(self.task.metrics)[0]]
        if "squad_v2_f1" in self.task.metrics:
            predictions = withheld(predictions, self.gold, joined)
        counts = metric.counts(predictions, [example.gold for example in self.gold], "en")
        return float(metric.value(counts.sum(0)))

    def _loss(self, learner: Learner, workers: Workers, update: int) -> float:
        share = micro_batches(self.rows.lengths, workers.world, self.budget)[workers.rank]
        total = torch.zeros(1, dtype=torch.float64, device=learner.device)
        with in_step(learner.backbone, workers.any):
            for batch in share:
                total += learner.loss_sum(self.rows.rows(batch), 0, update, self.images).double()
        workers.sum_(total)
        return float(total) / max(1, sum(self.rows.supervised))


def best_update(evaluations: Sequence[Mapping[str, float]]) -> int | None:
    """The update whose weights are kept: the first of the best evaluations; None without any."""
    return (
        int(max(evaluations, key=lambda seen: (seen["value"], -seen["update"]))["update"])
        if evaluations
        else None
    )
