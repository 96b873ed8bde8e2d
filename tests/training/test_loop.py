"""The loop on a toy model: workers, budgets and restarts change nothing; errors reach every
worker.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from tests.processes import run_in_processes
from xstilts.data.encoded import EncodedRow, EncodedRows
from xstilts.training.checkpoint import load_state, save_state
from xstilts.training.loop import Progress, TrainingSettings, TrainTask, make_optimiser, train
from xstilts.training.selection import Best
from xstilts.training.workers import StepFailed, Workers

pytestmark = pytest.mark.slow

ALONE = Workers()
COLUMNS = {"images": [], "grids": [], "labels": [], "span": [], "offsets": [], "words": []}


def toy_rows(path: Path, n: int = 23) -> EncodedRows:
    rows = [
        {"row": i, "language": "en", "segments": [[i % 7 + 1] * (i % 5 + 1)], "length": i % 5 + 1, "label": i % 7 % 3,
         "supervised": 1, **COLUMNS}
        for i in range(n)
    ]  # fmt: skip
    lists = {k: pa.list_(pa.int32()) for k in ("labels", "span", "offsets", "words")}
    schema = pa.schema(
        {"row": pa.int32(), "language": pa.string(), "segments": pa.list_(pa.list_(pa.int32())), "length": pa.int32(),
         "label": pa.int32(), "supervised": pa.int32(), "images": pa.list_(pa.string()),
         "grids": pa.list_(pa.list_(pa.int32())), **lists}
    )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return EncodedRows(path)


class Toy:
    """A bag of embeddings and a linear head, as the loop sees a backbone and its heads."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.embed = nn.Embedding(8, 6)
        self.head = nn.Linear(6, 3)

    @property
    def trainable(self) -> dict[str, nn.Parameter]:
        return dict(self.embed.named_parameters())

    def loss_sum(self, rows: Sequence[EncodedRow], task: int, update: int) -> torch.Tensor:
        pooled = torch.stack([self.embed(torch.tensor(row.segments[0])).mean(0) for row in rows])
        labels = torch.tensor([row.label for row in rows])
        return nn.functional.cross_entropy(self.head(pooled), labels, reduction="sum")


def settings(**more: object) -> TrainingSettings:
    return TrainingSettings(
        **{"updates": 12, "examples_per_step": 5, "lr": 1e-2, "stage": "toy", "seed": 1, **more}
    )


def run(path: Path, workers: Workers = ALONE, **more: object) -> list[float]:
    toy, given = Toy(), settings(**more)
    task = TrainTask("toy", toy_rows(path), "head")
    optimiser = make_optimiser(toy.trainable, toy.head, given)
    done = train([task], toy.loss_sum, optimiser, given, Progress(), workers)
    return [float(h["loss"]) for h in done.history]


def _spawned(rank: int, world: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world
    )
    losses = run(Path(folder) / f"rows-{rank}.parquet", Workers(rank, world))
    torch.save(losses, Path(folder) / f"losses-{rank}.pt")

    toy = Toy()
    if rank == 1:
        toy.loss_sum = lambda rows, task, update: (_ for _ in ()).throw(ValueError("a bad row"))  # type: ignore[method-assign]
    try:
        given = settings()
        rows = TrainTask("toy", toy_rows(Path(folder) / f"again-{rank}.parquet"), "head")
        train(
            [rows],
            toy.loss_sum,
            make_optimiser(toy.trainable, toy.head, given),
            given,
            Progress(),
            Workers(rank, world),
        )
    except StepFailed as error:
        (Path(folder) / f"error-{rank}.txt").write_text(str(error))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import socket

    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run_in_processes(_spawned, (2, port, str(folder)), 2)
    return folder


def test_two_workers_agree_with_one(two_workers: Path, tmp_path: Path) -> None:
    one = run(tmp_path / "rows.parquet")
    for rank in (0, 1):
        assert torch.load(two_workers / f"losses-{rank}.pt") == pytest.approx(one, rel=1e-5)


def test_a_failure_of_one_worker_is_raised_on_all(two_workers: Path) -> None:
    for rank in (0, 1):
        assert (
            "worker 1: update 0: ValueError: a bad row"
            in (two_workers / f"error-{rank}.txt").read_text()
        )


def test_the_token_budget_changes_no_loss(tmp_path: Path) -> None:
    assert run(tmp_path / "a", tokens_per_micro_batch=3) == pytest.approx(
        run(tmp_path / "b"), rel=1e-6
    )


def test_the_loss_falls(tmp_path: Path) -> None:
    losses = run(tmp_path / "rows", updates=120, lr=5e-2)
    assert losses[-1] < 0.5 * losses[0]


def test_a_resumed_step_is_equal_bit_for_bit(tmp_path: Path) -> None:
    whole, toy, given = run(tmp_path / "rows"), Toy(), settings(checkpoint_every=5)
    task = TrainTask("toy", toy_rows(tmp_path / "rows"), "head")
    saved: dict[str, Path] = {}
    optimiser = make_optimiser(toy.trainable, toy.head, given)

    def stop(progress: Progress) -> None:
        saved.update(
            save_state(tmp_path / "state", toy.trainable, toy.head, optimiser, progress, Best())
        )
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train([task], toy.loss_sum, optimiser, given, Progress(), Workers(), checkpoint=stop)

    again = Toy()
    optimiser = make_optimiser(again.trainable, again.head, given)
    weights, progress, _ = load_state(saved, again.head, optimiser)
    again.embed.load_state_dict(weights)
    assert progress.update == 5
    done = train([task], again.loss_sum, optimiser, settings(), progress, Workers())
    assert [h["loss"] for h in done.history] == whole


def test_a_loss_that_is_not_finite_fails_the_step(tmp_path: Path) -> None:
    toy, given = Toy(), settings()
    task = TrainTask("toy", toy_rows(tmp_path / "rows"), "head")
    optimiser = make_optimiser(toy.trainable, toy.head, given)
    with pytest.raises(StepFailed, match="update 0: the loss is nan"):
        train(
            [task],
            lambda *_: toy.embed.weight.sum() * float("nan"),
            optimiser,
            given,
            Progress(),
            Workers(),
        )


def test_vectors_do_not_decay() -> None:
    toy = Toy()
    optimiser = make_optimiser(
        toy.trainable, toy.head, settings(weight_decay=0.1, head_lr_factor=10.0)
    )
    found = {
        (g["params"][0].ndim, g["weight_decay"], round(g["lr"], 6)) for g in optimiser.param_groups
    }
    assert found == {(2, 0.1, 0.01), (2, 0.1, 0.1), (1, 0.0, 0.1)}
