"""Gradients of input embeddings as rows: weights, moments and checkpoints are those of dense
gradients.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.processes import run_in_processes
from tests.training.sharded_runs import FULL, Case, Training
from xstilts.models.families import FAMILIES
from xstilts.training import row_gradients
from xstilts.training.checkpoint import load_state, save_state
from xstilts.training.loop import (
    Progress,
    TrainingSettings,
    _sum_gradients,
    clip_gradients,
    make_optimiser,
)
from xstilts.training.row_gradients import use_rows
from xstilts.training.selection import Best
from xstilts.training.workers import Workers

torch.set_num_threads(1)

ROWS, WIDTH, PADDING = 4200, 16, 1
MOMENTS = ("exp_avg", "exp_avg_sq", "step")
#: The micro-batches of three updates: token ids.
REPEATED = [[[5, 7, 5, 5]], [[7, 7, 9]], [[5, 9]]]
SEVERAL = [[[5, 7, 5], [5, 5, 8], [7, 5, 5]], [[8], [8, 2000]], [[5], [6]]]
PADDED = [[[PADDING, 5, PADDING]], [[PADDING, 6]], [[PADDING]]]
ONCE = [[[5, 4000]], [[6]], [[6]]]
MANY = [[[*range(0, ROWS, 3)]], [[*range(0, ROWS, 2)]], [[5, 6]]]
STREAM = torch.Generator().manual_seed(0)
DRAWN = [
    [torch.randint(size, (90,), generator=STREAM).tolist() for _ in range(3)]
    for size in (60, 500, 2000)
]
CASES = {
    "repeated": REPEATED,
    "micro-batches": SEVERAL,
    "padding": PADDED,
    "once": ONCE,
    "many": MANY,
    "drawn": DRAWN,
}


@pytest.fixture(autouse=True)
def _small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of the size of the toy's are large enough."""
    monkeypatch.setattr(row_gradients, "LEAST_NUMBERS", ROWS * WIDTH)


class Toy(nn.Module):
    """An input embedding, a layer, and logits of the words from the same table."""

    def __init__(self, **of_table: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(ROWS, WIDTH, **{"padding_idx": PADDING, **of_table})
        self.positions = nn.Embedding(8, WIDTH)
        self.layer = nn.Linear(WIDTH, WIDTH)
        self.heads = nn.Linear(WIDTH, 3)

    def optimiser(self, rows: bool = True, **more: Any) -> torch.optim.Optimizer:
        """rows: as the loop makes it; else AdamW with dense gradients."""
        given = {"lr": 1e-2, **more}
        settings = TrainingSettings(updates=3, examples_per_step=1, **given)
        trainable = {n: p for n, p in self.named_parameters() if not n.startswith("heads")}
        made = make_optimiser(trainable, self.heads, settings, self if rows else None)
        return made if rows else torch.optim.AdamW(made.param_groups, fused=True)

    def loss(self, ids: Sequence[int], tied: bool = False) -> Tensor:
        states = self.layer(self.words(torch.tensor(ids)) + self.positions.weight[0]).tanh()
        out = states @ self.words.weight.T if tied else self.heads(states)
        labels = torch.arange(len(ids)) % 3
        return F.cross_entropy(out, labels, reduction="sum")

    def gradients(self, micro_batches: Sequence[Sequence[int]], tied: bool = False) -> None:
        self.zero_grad()
        for ids in micro_batches:
            self.loss(ids, tied).backward()

    def update(
        self,
        optimiser: torch.optim.Optimizer,
        micro_batches: Sequence[Sequence[int]],
        workers: Workers | None = None,
        tied: bool = False,
        most: float = 1e9,
    ) -> float:
        """One update as the loop makes it; the norm of its gradient."""
        workers = workers or Workers()
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        self.gradients(micro_batches, tied)
        _sum_gradients(parameters, torch.zeros((), dtype=torch.float64), None, 0, workers)
        norm = clip_gradients(parameters, most, workers)
        optimiser.step()
        return float(norm)


def state(toy: Toy, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Weights and moments."""
    moments = {
        f"{name}.{key}": optimiser.state[parameter][key]
        for name, parameter in toy.named_parameters()
        for key in MOMENTS
        if parameter in optimiser.state
    }
    return {**toy.state_dict(), **moments}


def both() -> tuple[tuple[Toy, torch.optim.Optimizer], tuple[Toy, torch.optim.Optimizer]]:
    """The same model with gradients as rows, and with dense ones."""
    toys = Toy(), Toy()
    made = toys[0].optimiser(), toys[1].optimiser(rows=False)
    return (toys[0], made[0]), (toys[1], made[1])


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


@pytest.mark.parametrize("case", CASES)
def test_weights_and_moments_are_those_of_dense_gradients(case: str) -> None:
    ours, dense = both()
    for micro_batches in CASES[case]:
        for toy, optimiser in (ours, dense):
            toy.update(optimiser, micro_batches)
        assert_equal(state(*ours), state(*dense))


def test_the_gradient_has_the_rows_of_an_update() -> None:
    toy = Toy()
    toy.optimiser()
    toy.gradients([[5, 7, 5], [9, 7]])
    gradient = toy.words.weight.grad
    assert gradient is not None
    assert gradient.coalesce().indices().tolist() == [[5, 7, 9]]


def test_a_row_that_an_update_did_not_read_moves_by_momentum() -> None:
    toy = Toy()
    optimiser = toy.optimiser()
    start = toy.words.weight.detach().clone()
    toy.update(optimiser, [[5]])
    first = toy.words.weight.detach().clone()
    toy.update(optimiser, [[6]])
    moved = (toy.words.weight != first).any(1).nonzero()[:, 0]
    assert moved.tolist() == [5, 6]
    assert (toy.words.weight != start).any(1).nonzero()[:, 0].tolist() == [5, 6]


def test_updates_of_a_tied_lm_head_may_come_between() -> None:
    """The LM head's gradient is dense: then all rows are active."""
    ours, dense = both()
    for micro_batches, tied in ((SEVERAL[0], False), (SEVERAL[1], True), (SEVERAL[2], False)):
        for toy, optimiser in (ours, dense):
            toy.update(optimiser, micro_batches, tied=tied)
        found, expected = state(*ours), state(*dense)
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5)
    assert torch.equal(ours[0].words.weight != Toy().words.weight, torch.ones(ROWS, WIDTH).bool())


def test_the_norm_is_that_of_dense_gradients() -> None:
    ours, dense = both()
    for micro_batches in SEVERAL:
        norms = [toy.update(optimiser, micro_batches, most=0.1) for toy, optimiser in (ours, dense)]
        assert norms[0] > 0.1
        assert norms[0] == pytest.approx(norms[1], rel=1e-6)
    found, expected = state(*ours), state(*dense)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5)


def test_clipping_reaches_rows() -> None:
    toy = Toy()
    optimiser = toy.optimiser()
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    toy.gradients(SEVERAL[0])
    _sum_gradients(parameters, torch.zeros(()), None, 0, Workers())
    clip_gradients(parameters, 0.1, Workers())
    gradients = [p.grad.to_dense() for p in toy.parameters() if p.grad is not None]
    assert float(nn.utils.get_total_norm(gradients)) == pytest.approx(0.1, rel=1e-4)


def test_with_weight_decay_gradients_are_dense() -> None:
    """Weight decay moves every row in every update."""
    toy, plain = Toy(), Toy()
    ours, dense = toy.optimiser(weight_decay=0.1), plain.optimiser(False, weight_decay=0.1)
    for micro_batches in SEVERAL:
        toy.update(ours, micro_batches)
        plain.update(dense, micro_batches)
        assert not toy.words.weight.grad.is_sparse  # type: ignore[union-attr]
    assert_equal(state(toy, ours), state(plain, dense))


@pytest.mark.parametrize("of_table", [{"max_norm": 1.0}, {"scale_grad_by_freq": True}])
def test_tables_that_change_their_rows_or_gradients_stay_dense(of_table: dict[str, Any]) -> None:
    toy = Toy(**of_table)
    toy.optimiser()
    assert not toy.words.sparse


def test_small_tables_stay_dense() -> None:
    toy = Toy()
    toy.optimiser()
    assert toy.words.sparse
    assert not toy.positions.sparse


def test_tables_that_do_not_train_stay_as_they_are() -> None:
    toy = Toy()
    use_rows(toy, [*toy.layer.parameters()])
    assert not toy.words.sparse


def test_tables_on_other_devices_stay_dense() -> None:
    toy = Toy().to("meta")
    toy.optimiser()
    assert not toy.words.sparse


def test_a_later_step_of_the_same_backbone_decides_again() -> None:
    toy = Toy()
    toy.optimiser()
    toy.optimiser(weight_decay=0.1)
    toy.gradients(REPEATED[0])
    assert not toy.words.weight.grad.is_sparse  # type: ignore[union-attr]
    for _ in range(3):
        toy.optimiser()
    toy.gradients(REPEATED[0])
    assert toy.words.weight.grad.is_sparse  # type: ignore[union-attr]
    assert len(toy.words.weight._backward_hooks or ()) == 1


def saved(folder: Path, toy: Toy, optimiser: torch.optim.Optimizer) -> dict[str, Path]:
    return save_state(folder, toy.state_dict(), toy.heads, optimiser, Progress(), Best())


def test_checkpoints_are_those_of_dense_gradients(tmp_path: Path) -> None:
    files = []
    for name, (toy, optimiser) in zip(("rows", "dense"), both(), strict=True):
        toy.update(optimiser, SEVERAL[0])
        files.append(saved(tmp_path / name, toy, optimiser))
    assert_equal(*(load_file(file["optimiser.safetensors"]) for file in files))


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_step_is_equal_bit_for_bit(case: str, tmp_path: Path) -> None:
    toy, updates = Toy(), CASES[case]
    optimiser = toy.optimiser()
    toy.update(optimiser, updates[0])
    files = saved(tmp_path, toy, optimiser)
    for micro_batches in updates[1:]:
        toy.update(optimiser, micro_batches)

    again = Toy()
    resumed = again.optimiser()
    again.update(resumed, [[3, 4]])  # what it has learned is forgotten
    weights, _, _ = load_state(files, again.heads, resumed)
    again.load_state_dict(weights)
    for micro_batches in updates[1:]:
        again.update(resumed, micro_batches)
    assert_equal(state(again, resumed), state(toy, optimiser))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("objective", ["head", "lm"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_as_with_dense_gradients(
    family: str,
    objective: str,
    dtype: str,
    tiny: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the objective `lm`, tied LM heads give dense gradients and others rows."""
    monkeypatch.setattr(row_gradients, "LEAST_NUMBERS", 1)
    format_ = "generation" if objective == "lm" else "classification"
    case = Case(family, FULL, format_, objective, dtype)
    losses, weights = [], []
    for rows in (True, False):
        training = Training(case, tiny(family), Workers(), sharded=False)
        backbone = training.backbone
        trainable = {n: p for n, p in backbone.named_parameters() if p.requires_grad}
        settings = replace(training.settings, weight_decay=0.0)
        training.optimiser = make_optimiser(
            trainable, training.heads, settings, backbone if rows else None
        )
        losses.append(training.updates())
        weights.append({name: p.detach() for name, p in backbone.named_parameters()})
        table = backbone.model.get_input_embeddings()  # type: ignore[operator]
        assert table.sparse is rows
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for name, expected in weights[1].items():
        torch.testing.assert_close(weights[0][name], expected, rtol=0, atol=2e-3)


#: Micro-batches of two workers in each update, and whether it trains the tied LM head.
SHARED: list[tuple[list[list[int]], list[list[int]], bool]] = [
    ([[5, 7, 5]], [[7, 8], [9]], False),
    ([[5, 6]], [], False),
    ([], [[4000]], False),
    ([[5, 6]], [[11]], True),
    ([], [[12, 13]], True),
    ([[5]], [[14]], False),
]


def _spawned(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", (Path(folder) / "rendezvous").as_uri(), rank=rank, world_size=2
    )
    row_gradients.LEAST_NUMBERS = ROWS * WIDTH
    toy = Toy()
    optimiser = toy.optimiser()
    found = []
    for *shares, tied in SHARED:
        norm = toy.update(optimiser, shares[rank], Workers(rank, 2), tied)
        found.append(({n: t.clone() for n, t in state(toy, optimiser).items()}, norm))
    torch.save(found, Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What each of two workers has after each update."""
    folder = tmp_path_factory.mktemp("two")
    run_in_processes(_spawned, (str(folder),), 2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.slow
def test_two_workers_agree_with_one(two_workers: list[Any]) -> None:
    """Also where a worker has no rows, and where rows and dense gradients alternate."""
    toy = Toy()
    optimiser = toy.optimiser(rows=False)
    for update, (first, second, tied) in enumerate(SHARED):
        norm = toy.update(optimiser, [*first, *second], tied=tied)
        expected = state(toy, optimiser)
        for worker in two_workers:
            found, norm_of_worker = worker[update]
            assert norm_of_worker == pytest.approx(norm, rel=1e-5)
            for name in expected:
                torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_two_workers_have_equal_weights(two_workers: list[Any]) -> None:
    for first, second in zip(*two_workers, strict=True):
        assert_equal(first[0], second[0])
