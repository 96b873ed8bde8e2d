"""What joins a backbone, its heads and encoded rows: the loss of a micro-batch, and the heads of a finetune step."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from xstilts.data.encoded import EncodedRow, Images
from xstilts.models.backbone import Backbone
from xstilts.models.batch import PackedBatch, Segment, pack, segment_key
from xstilts.models.heads import embed, initialise, lm_loss, make_head, rows_of
from xstilts.models.processor import Processor
from xstilts.plan.step import training_role
from xstilts.store.manifest import Manifest
from xstilts.store.store import Store
from xstilts.training.in_batch import InBatch
from xstilts.training.workers import Workers


class Heads(nn.Module):
    """The heads of a finetune step, one per task; `lm` tasks have none (an empty module)."""

    def __init__(
        self, tasks: Sequence[Mapping[str, Any]], backbone: Backbone, recipe: Mapping[str, Any], seed: int, stage: str
    ) -> None:
        """New heads, drawn from the stream `head` of seed and stage: equal in all arms of a seed."""
        super().__init__()
        self.tasks = [dict(task) for task in tasks]
        pooling = recipe.get("pooling") or "pooled"
        made = [
            make_head(t["format"], t["objective"], backbone.width, t["classes"], backbone.pool, pooling) for t in tasks
        ]
        for head in made:
            if head is not None:
                initialise(head, seed, stage)
        self.heads = nn.ModuleList(nn.Module() if head is None else head for head in made)

    def save(self, folder: Path, before: str = "") -> dict[str, Path]:
        """<before>head.<task>.safetensors for each task with parameters (a task's translations are another task); name →
        path."""
        files = {}
        for task, head in zip(self.tasks, self.heads, strict=True):
            state = {k: v.detach().contiguous().cpu() for k, v in head.state_dict().items()}
            if state:
                name = f"{before}{_file(task)}"
                save_file(state, folder / name)
                files[name] = folder / name
        return files

    @classmethod
    def load(cls, manifest: Manifest, store: Store, backbone: Backbone, before: str = "") -> "Heads":
        """The heads that a finished finetune step left; before: `last.` for those of the last update."""
        spec = manifest.step["spec"]
        names = [f"{before}{_file(task)}" for task in spec["tasks"]]
        states = [load_file(store.file(manifest, name)) if name in manifest.files else {} for name in names]
        # An open set of tags (CCG) has as many classes as the training rows had: its spec says 0, its weights know.
        tasks = [
            {
                **task,
                "classes": task["classes"] or (len(state["out.bias"]) if task["format"] == "tagging" and state else 0),
            }
            for task, state in zip(spec["tasks"], states, strict=True)
        ]
        heads = cls(tasks, backbone, spec["recipe"], 0, "")
        for head, state in zip(heads.heads, states, strict=True):
            head.load_state_dict(state)
        return heads

    def continue_from(self, manifest: Manifest, store: Store) -> None:
        """Takes over the head of the stage before (SIQA → COPA): same format, one task each."""
        before = manifest.step["spec"]["tasks"]
        if len(before) != 1 or len(self.tasks) != 1 or before[0]["format"] != self.tasks[0]["format"]:
            raise ValueError(f"the head of {before} cannot be continued by {self.tasks}")
        self.heads[0].load_state_dict(load_file(store.file(manifest, _file(before[0]))))


def _file(task: Mapping[str, Any]) -> str:
    return f"head.{training_role(task['name'], task.get('translated'))}.safetensors"


def pack_rows(
    rows: Sequence[EncodedRow], backbone: Backbone, processor: Processor | None, images: Images | None
) -> PackedBatch:
    """All segments of the rows on one flat batch, in order. KeyError for a row with images and nothing to read them."""
    segments = []
    for row in rows:
        if row.images and (images is None or processor is None):
            raise KeyError(f"row {row.row} shows images, and its records have none")
        shown = zip(row.images, row.grids, strict=True)
        pictures = [processor.image_inputs(images[sha], grid) for sha, grid in shown] if processor and images else []
        segments += [Segment(ids, pictures, segment_key(row.row, i)) for i, ids in enumerate(row.segments)]
    return pack(segments, backbone)


class Learner:
    """The loss of a micro-batch of one finetune step."""

    def __init__(
        self, backbone: Backbone, heads: Heads, processor: Processor, images: Sequence[Images | None],
        recipe: Mapping[str, Any], seed: int, stage: str, device: torch.device,
    ) -> None:  # fmt: skip
        self.backbone, self.heads, self.processor, self.images = backbone, heads, processor, images
        self.device, self.seed, self.stage = device, seed, stage
        self.pairs = InBatch(float(recipe.get("temperature") or 0.05))
        self.pooling = str(recipe.get("pooling") or "pooled")
        backbone.dropout.hidden = float(recipe.get("dropout") or 0.0)
        backbone.dropout.adapter = float(recipe.get("adapter_dropout") or 0.0)

    def loss_sum(self, rows: Sequence[EncodedRow], task: int, update: int, images: Images | None = None) -> Tensor:
        """Sum over rows (`lm`: over supervised tokens) of the loss of one micro-batch; a scalar on the graph. images: those
        of the rows where they are not the task's training rows."""
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

    def prepare(self, batches: Sequence[Sequence[EncodedRow]], task: int, update: int, workers: Workers) -> None:
        """Before an update of a dual encoder: the whole update's vectors, since each pair's negatives are all others."""
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
        return embed(states, about, self.backbone.pool, self.pooling).view(len(rows), 2, -1)
