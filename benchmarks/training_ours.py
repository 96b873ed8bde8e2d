"""Fine-tuning with xstilts' own loop, for `python -m benchmarks.training`."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.input import write_images
from benchmarks.training_cases import (
    IMAGE_TOKENS,
    TAGS,
    Case,
    Row,
    encoded,
    freeze_vision,
    model_of,
    picture_processor,
)
from xstilts.data.encoded import EncodedRows, Images
from xstilts.models.backbone import wrap
from xstilts.models.head_set import Heads
from xstilts.models.heads import lm_loss
from xstilts.models.picture_cache import PictureCache
from xstilts.models.picture_inputs import FixedPictures
from xstilts.models.precision import keep_masters
from xstilts.models.processor import Processor
from xstilts.training.loop import Progress, TrainingSettings, TrainTask, make_optimiser
from xstilts.training.loop import train as run
from xstilts.training.losses import Learner
from xstilts.training.prefetch import Prefetcher, Prepared, processes_for
from xstilts.training.workers import Workers

ALONE = Workers()
#: Token budget of a micro-batch, as of shipped plans.
BUDGET = 4096


def train(
    case: Case, rows: Sequence[Row], dev: Sequence[Row], photos: Sequence[bytes], seed: int,
    scratch: Path, workers: Workers = ALONE,
) -> tuple[float, float]:  # fmt: skip
    """(seconds of one epoch, metric on the dev rows). Images stay cached in `scratch`, as they do
    between the epochs and the cells of a run.
    """
    model = model_of(case, seed, head=False)
    freeze_vision(model)
    processor, images, names = Processor(case.family, None), None, []
    if photos:
        path = scratch / "photos.parquet"
        names = write_images(path, photos)
        pictures = FixedPictures(picture_processor(), IMAGE_TOKENS)
        cache = PictureCache(scratch / "pictures", free=0.0)
        processor = Processor(case.family, None, pictures, cache=cache)
        images = Images([path], scratch / "arrow")
    learner = _learner(case, model, seed, processor, images)
    device, backbone = learner.device, learner.backbone
    settings = TrainingSettings(
        case.updates, case.batch, case.lr, seed=seed, tokens_per_micro_batch=BUDGET
    )
    trainable = {n: p for n, p in backbone.named_parameters() if p.requires_grad}
    optimiser = make_optimiser(trainable, learner.heads, settings, backbone)
    path = scratch / f"rows-{workers.rank}.parquet"
    import pyarrow.parquet as pq

    pq.write_table(encoded(case, rows, names), path)
    data = EncodedRows(path)
    backbone.train()
    threads = torch.get_num_threads()
    processes = processes_for(None, threads, bool(photos), device)
    prepared = Prepared([data], learner.preparation)
    started = time.perf_counter()
    with Prefetcher(prepared, processes, pin=device.type == "cuda") as prefetcher:
        run(
            [TrainTask("task", data, case.objective)],
            learner.loss_sum,
            optimiser,
            settings,
            Progress(),
            workers,
            prefetch=prefetcher,
        )
    seconds = time.perf_counter() - started
    held_out = EncodedRows(encoded(case, dev, names))
    return seconds, _metric(case, learner, held_out, dev)


def loss_of(case: Case, model: Any, rows: Sequence[Row]) -> float:
    """Mean loss of the supervised tokens of text rows under a causal model of transformers."""
    learner = _learner(case, model, 0, Processor(case.family, None), None)
    return _metric(case, learner, EncodedRows(encoded(case, rows, [])), rows)


def _learner(
    case: Case, model: Any, seed: int, processor: Processor, images: Images | None
) -> Learner:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone = wrap(model, case.family).to(device)
    if device.type == "cuda":
        keep_masters(backbone, torch.bfloat16)
    classes = {"classification": 3, "tagging": TAGS}.get(case.format, 0)
    task = {
        "name": "task",
        "format": case.format,
        "objective": case.objective,
        "classes": classes,
    }
    recipe = {"dropout": 0.1 if case.family == "xlm_r" else 0.0}
    heads = Heads([task], backbone, recipe, seed, "").to(device)
    return Learner(backbone, heads, processor, [images], recipe, seed, "", device)


def _metric(case: Case, learner: Learner, encoded_dev: EncodedRows, dev: Sequence[Row]) -> float:
    learner.backbone.eval()
    right, count = 0.0, 0
    for first in range(0, len(dev), case.batch):
        places = range(first, min(first + case.batch, len(dev)))
        made = learner.preparation(encoded_dev.rows([*places]), 0).to(learner.device)
        with torch.no_grad():
            states = learner.backbone(made.batch)
            if case.objective == "lm":
                loss, tokens = lm_loss(learner.backbone, states, made.inputs)
                right, count = right + float(loss), count + tokens
                continue
            head: Any = learner.heads.heads[0]
            predictions = head.predict(states, made.inputs)
        for place, prediction in zip(places, predictions, strict=True):
            hits = _hits(case, dev[place], prediction)
            right, count = right + sum(hits), count + len(hits)
    return right / count


def _hits(case: Case, row: Row, prediction: Any) -> list[bool]:
    if case.format == "classification":
        return [prediction == row.label]
    if case.format == "span":
        return [(prediction["start"], prediction["end"]) == (row.span[0], row.span[1] + 1)]
    tags = [label for label in row.labels if label >= 0]
    return [prediction[word] == tag for word, tag in enumerate(tags)]
