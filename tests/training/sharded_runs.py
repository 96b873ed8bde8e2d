"""Trains tiny backbones in groups of one, two and four processes, for test_sharded.py."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
import torch.distributed as dist

from tests.models.conftest import png
from xstilts.data.encoded import EncodedRow, EncodedRows
from xstilts.models import sharding
from xstilts.models.backbone import Backbone
from xstilts.models.head_set import Heads, pack_rows
from xstilts.models.lora import initial_state, load_trainable, trainable_state
from xstilts.models.precision import load_tunable
from xstilts.models.processor import load_processor
from xstilts.training.checkpoint import load_state, save_state
from xstilts.training.loop import Progress, TrainingSettings, TrainTask, make_optimiser, train
from xstilts.training.losses import Learner
from xstilts.training.selection import Best
from xstilts.training.workers import Workers

CPU = torch.device("cpu")
LORA = {"mode": "lora", "r": 4, "alpha": 8}
FULL = {"mode": "full"}
PICTURES: Any = {"square": png(16, 16, 1), "wide": png(40, 24, 2)}


@dataclass(frozen=True)
class Case:
    """What is trained."""

    family: str
    tuning: Mapping[str, Any]
    format: str = "classification"
    objective: str = "head"
    dtype: str = "float32"
    examples: int = 6


CASES = {
    "encoder, full": Case("xlm_r", FULL),
    "encoder, full, bfloat16": Case("xlm_r", FULL, dtype="bfloat16"),
    "encoder, full, dual encoder": Case("xlm_r", FULL, format="ranking"),
    "encoder, LoRA, fewer rows than workers": Case("xlm_r", LORA, examples=3),
    "pictures, LoRA": Case("llava", LORA, format="generation", objective="lm"),
    "pictures, full": Case("llava", FULL, format="generation", objective="lm"),
}
#: (workers, sharded)
GROUPS = ((1, False), (2, False), (2, True), (4, False), (4, True))
RESUMED = ((1, False), (2, True))
MOVED = (2, True)
UPDATES, CUT = 4, 2


@dataclass
class Run:
    """What a worker saw. rows: those of each update on this worker, without fillers."""

    losses: list[float]
    norms: list[float]
    rows: list[list[int]]
    weights: dict[str, torch.Tensor]


def rows(case: Case, processor: Any, vocabulary: int) -> EncodedRows:
    """Rows of 3 to 19 tokens; every third one has a picture if the family takes some."""
    stream = torch.Generator().manual_seed(0)
    made = []
    for number in range(15):
        draw = torch.randint(vocabulary // 2, vocabulary - 8, (3 + number % 9,), generator=stream)
        body, images, grids = draw.tolist(), [], []
        if processor.pictures is not None and number % 3 == 0:
            image = processor.image_inputs(PICTURES["square"])
            images, grids = ["square"], [list(image.grid)]
            body = [*processor.image_placeholder(PICTURES["square"]), *body]
        segments = [body] if case.format != "ranking" else [body, body[::-1]]
        lm = [-100] * (len(body) - 2) + body[-2:]
        made.append(
            {
                "row": number, "language": "en", "segments": segments, "images": images,
                "length": sum(map(len, segments)), "grids": grids, "label": number % 3,
                "labels": lm if case.objective == "lm" else [], "span": [], "offsets": [],
                "words": [], "supervised": 2 if case.objective == "lm" else 1, "starts": [],
            }
        )  # fmt: skip
    return EncodedRows(pa.Table.from_pylist(made))


class Training:
    """A finetune step in this process, as xstilts.runs.finetune has it."""

    def __init__(self, case: Case, folder: Path, workers: Workers, sharded: bool) -> None:
        self.case, self.workers = case, workers
        torch.manual_seed(0)
        self.backbone: Backbone = load_tunable(
            folder, case.family, case.tuning, "causal", case.dtype
        )
        self.processor = load_processor(folder, case.family)
        if sharded:
            sharding.shard(self.backbone, CPU)
        if case.tuning["mode"] == "lora":
            load_trainable(self.backbone, initial_state(self.backbone, case.tuning, 1))
        task = {"name": "toy", "format": case.format, "objective": case.objective, "classes": 3}
        recipe = {"dropout": 0.1, "adapter_dropout": 0.1}
        self.heads = Heads([task], self.backbone, recipe, 1, "toy")
        self.settings = TrainingSettings(
            UPDATES, case.examples, lr=1e-3, weight_decay=0.1, seed=1, stage="toy", warmup=0.0,
            tokens_per_micro_batch=40, checkpoint_every=CUT, sharded=sharded,
        )  # fmt: skip
        self.learner = Learner(
            self.backbone, self.heads, self.processor, [PICTURES], recipe, 1, "toy", CPU
        )
        vocabulary = int(self.backbone.config.get_text_config().vocab_size)
        self.task = TrainTask("toy", rows(case, self.processor, vocabulary), case.objective)
        sharding.reshard(self.backbone)
        trainable = {n: p for n, p in self.backbone.named_parameters() if p.requires_grad}
        self.optimiser = make_optimiser(trainable, self.heads, self.settings)
        self.seen: list[list[int]] = []
        self.backbone.train()

    def prepare(
        self, batches: Sequence[Sequence[EncodedRow]], fillers: int, task: int, update: int
    ) -> None:
        counted = batches[: len(batches) - fillers]
        self.seen.append([row.row for batch in counted for row in batch])
        self.learner.prepare(batches, task, update, self.workers, fillers)

    def run(self, folder: Path, progress: Progress) -> Run:
        """The remaining updates. Writes the state after CUT updates to the folder."""

        def checkpoint(now: Progress) -> None:
            if now.update == CUT:
                state = trainable_state(self.backbone)
                first = self.workers.rank == 0
                save_state(folder, state, self.heads, self.optimiser, now, Best(), first)

        done = self._train(progress, checkpoint)
        return Run(
            [entry["loss"] for entry in done.history],
            [entry["norm"] for entry in done.history],
            self.seen,
            {**sharding.on_host(trainable_state(self.backbone)), **self.heads.state_dict()},
        )

    def updates(self) -> list[float]:
        """The losses of all updates, without a checkpoint."""
        return [entry["loss"] for entry in self._train(Progress(), lambda _: None).history]

    def _train(self, progress: Progress, checkpoint: Callable[[Progress], None]) -> Progress:
        return train(
            [self.task], self.learner.loss_sum, self.optimiser, self.settings, progress,
            self.workers, checkpoint, prepare=self.prepare,
        )  # fmt: skip

    def resume(self, folder: Path) -> Run:
        """The run from the state in a folder."""
        files = {path.name: path for path in folder.iterdir()}
        weights, progress, _ = load_state(files, self.heads, self.optimiser)
        load_trainable(self.backbone, weights)
        return self.run(folder / f"again-{self.workers.rank}", progress)


def states(training: Training, passes: int) -> list[torch.Tensor]:
    """The states of `passes` batches, in step with workers that run other numbers of passes."""
    training.backbone.eval()
    found = []
    with torch.no_grad(), sharding.in_step(training.backbone, training.workers.any):
        for number in range(passes):
            if number:  # as a worker does that loads the next model
                sharding.reshard(training.backbone)
            row = training.task.rows.rows([1 + number])
            batch = pack_rows(row, training.backbone, training.processor, PICTURES)
            found.append(training.backbone(batch).clone())
    return found


def work(rank: int, models: Mapping[str, Path], out: Path) -> None:
    """All cases in all groups that this process is in; results in <out>/<rank>.pt."""
    torch.set_num_threads(1)
    found: dict[Any, Any] = {}
    for world, sharded in GROUPS:
        if rank >= world:
            continue
        if world > 1:
            dist.init_process_group(
                "cpu:gloo,cuda:gloo",
                init_method=(out / f"rendezvous-{world}-{sharded}").as_uri(),
                rank=rank,
                world_size=world,
            )
        workers = Workers(rank, world)
        for name, case in CASES.items():
            folder = models[case.family]
            state = out / f"{name}-{world}-{sharded}"
            key = (name, world, sharded)
            training = Training(case, folder, workers, sharded)
            found[key] = training.run(state, Progress())
            found[(*key, "states")] = states(training, rank + 1)
            sharding.reshard(training.backbone)
            found[(*key, "parts")] = {
                n: sharding.local(p).numel() for n, p in training.backbone.named_parameters()
            }
            if (world, sharded) in RESUMED:
                workers.meet()
                found[(*key, "resumed")] = Training(case, folder, workers, sharded).resume(state)
            if (world, sharded) == MOVED:  # a checkpoint of one whole worker
                other = out / f"{name}-1-False"
                found[(*key, "moved")] = Training(case, folder, workers, sharded).resume(other)
        if world > 1:
            dist.destroy_process_group()
    torch.save(found, out / f"{rank}.pt")
