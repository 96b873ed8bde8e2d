"""Fine-tuning with transformers' Trainer, as its users do: the alternatives of
`python -m benchmarks.training`.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

import torch
import torch.nn.functional as F
import transformers as tf
from PIL import Image
from torch import Tensor

from benchmarks.training_cases import PAD, Case, Row, freeze_vision, model_of, picture_processor
from xstilts.training.loop import TrainingSettings

#: Alternative → what it is.
PEERS: Mapping[str, str] = {
    "padding": "example recipes: padded to max_length",
    "default": "Trainer, padded to the longest row of a batch",
    "tuned": "Trainer, group_by_length, fused AdamW, data workers; bf16 on a GPU",
    "flattening": "Trainer with DataCollatorWithFlattening",
}


def unavailable(case: Case, peer: str) -> str | None:
    """Why an alternative cannot run a case; None if it can."""
    if peer != "flattening":
        return None
    if case.images:
        return "the collator drops pixel values"
    if case.format in ("classification", "span"):
        return "the collator and transformers' head take one label per batch row"
    if case.family == "xlm_r":
        return "bidirectional models need FlashAttention-2 for it"
    return None


class _Rows(torch.utils.data.Dataset[dict[str, Any]]):
    def __init__(self, case: Case, rows: Sequence[Row]) -> None:
        self._items = [_features(case, row) for row in rows]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return dict(self._items[index])


def _features(case: Case, row: Row) -> dict[str, Any]:
    if case.format == "classification":
        return {"input_ids": row.ids, "labels": row.label}
    if case.format == "span":
        return {"input_ids": row.ids, "start_positions": row.span[0], "end_positions": row.span[1]}
    image = {"image": row.image} if case.images else {}
    return {"input_ids": row.ids, "labels": row.labels, **image}


class Padding:
    """Pads to the longest row of a batch, or to one length; prepares images as a processor does."""

    def __init__(self, length: int | None, photos: Sequence[bytes]) -> None:
        self._length, self._photos = length, photos
        self._pictures = picture_processor() if photos else None

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        length = self._length or max(len(item["input_ids"]) for item in items)
        ids = torch.full((len(items), length), PAD)
        mask = torch.zeros_like(ids)
        for at, item in enumerate(items):
            ids[at, : len(item["input_ids"])] = torch.tensor(item["input_ids"])
            mask[at, : len(item["input_ids"])] = 1
        batch = {"input_ids": ids, "attention_mask": mask}
        for name in items[0].keys() - {"input_ids", "image"}:
            values = [item[name] for item in items]
            if isinstance(values[0], list):
                values = [[*value, *[-100] * (length - len(value))] for value in values]
            batch[name] = torch.tensor(values)
        if self._pictures:
            files = [Image.open(BytesIO(self._photos[item["image"]])) for item in items]
            batch["pixel_values"] = self._pictures(images=files, return_tensors="pt")[
                "pixel_values"
            ]
        return batch


def collator(case: Case, peer: str, photos: Sequence[bytes]) -> Callable[[Any], Any]:
    """How an alternative makes batches."""
    if peer == "flattening":
        flattening: Callable[[Any], Any] = tf.DataCollatorWithFlattening()
        return flattening
    return Padding(case.max_length if peer == "padding" else None, photos)


def arguments(case: Case, peer: str, seed: int, world: int, folder: str) -> tf.TrainingArguments:
    """Settings of the Trainer: nothing is logged or saved."""
    cuda = torch.cuda.is_available()
    # As many steps as xstilts has: Trainer rounds a share up, and the first update has no effect.
    warmup = int(TrainingSettings.warmup * case.updates)
    tuned: dict[str, Any] = {}
    if peer in ("tuned", "flattening"):
        # Text is prepared in less time than a worker process needs to start and to send it.
        workers = 2 if case.images or cuda else 0
        tuned = {"optim": "adamw_torch_fused", "bf16": cuda, "dataloader_num_workers": workers}
    if peer == "tuned":
        tuned["train_sampling_strategy"] = "group_by_length"
    return tf.TrainingArguments(
        folder, per_device_train_batch_size=case.batch // world, num_train_epochs=1,
        learning_rate=case.lr, warmup_steps=warmup, weight_decay=0.0, max_grad_norm=1.0, seed=seed,
        report_to=[], logging_strategy="no", save_strategy="no", disable_tqdm=True,
        remove_unused_columns=False, use_cpu=not cuda, dataloader_pin_memory=cuda, **tuned,
    )  # fmt: skip


def train(
    case: Case, peer: str, rows: Sequence[Row], dev: Sequence[Row], photos: Sequence[bytes],
    seed: int, world: int = 1,
) -> tuple[float, float]:  # fmt: skip
    """(seconds of one epoch, metric on the dev rows)."""
    model = model_of(case, seed, head=True)
    freeze_vision(model)
    with tempfile.TemporaryDirectory() as folder:
        trainer = tf.Trainer(
            model=model,
            args=arguments(case, peer, seed, world, folder),
            train_dataset=_Rows(case, rows),
            data_collator=collator(case, peer, photos),
        )
        trainer.remove_callback(tf.PrinterCallback)
        started = time.perf_counter()
        trainer.train()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    return seconds, metric(case, model.eval(), dev, photos)


def metric(case: Case, model: Any, dev: Sequence[Row], photos: Sequence[bytes]) -> float:
    """The case's metric of a model of transformers on the dev rows."""
    collate = Padding(None, photos)
    right, count = 0.0, 0
    for first in range(0, len(dev), case.batch):
        batch, out = _outputs(case, model, dev[first : first + case.batch], collate)
        if case.format == "classification":
            hits = out.logits.argmax(-1) == batch["labels"]
        elif case.format == "span":
            hits = (out.start_logits.argmax(-1) == batch["start_positions"]) & (
                out.end_logits.argmax(-1) == batch["end_positions"]
            )
        elif case.format == "tagging":
            hits = (out.logits.argmax(-1) == batch["labels"])[batch["labels"] >= 0]
        else:
            labels = batch["labels"][:, 1:]
            logits = out.logits[:, :-1].flatten(0, 1).float()
            hits = F.cross_entropy(logits, labels.flatten(), reduction="none")[
                labels.flatten() >= 0
            ]
        right += float(hits.sum())
        count += len(hits)
    return right / count


def loss_of(case: Case, model: Any, rows: Sequence[Row]) -> float:
    """The loss that a model of transformers has for text rows in one batch, without dropout."""
    return float(_outputs(case, model.eval(), rows, Padding(None, []))[1].loss)


def _outputs(
    case: Case, model: Any, rows: Sequence[Row], collate: Padding
) -> tuple[dict[str, Tensor], Any]:
    """(a batch, the model's outputs)."""
    batch = collate([_features(case, row) for row in rows])
    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    with torch.no_grad():
        return batch, model(**batch)
