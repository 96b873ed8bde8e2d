"""One worker, two or four, with whole or with shared weights: the same examples, losses and
weights, and the same after a restart.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.processes import run_in_processes
from tests.training.conftest import SETTINGS, TEXTS
from tests.training.sharded_runs import CASES, CUT, GROUPS, MOVED, RESUMED, Run, work
from xstilts.miniature.backbones import build_tiny

pytestmark = pytest.mark.slow

#: Largest difference of losses, relative. bfloat16: rounding in other places of a sum.
TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-3}
SEVERAL = [group for group in GROUPS if group[0] > 1]
SHARDED = [group for group in GROUPS if group[1]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of every process."""
    out: Path = tmp_path_factory.mktemp("sharded")
    models = {
        family: build_tiny(family, 0, TEXTS, {**SETTINGS, "vision_layers": 1}, out / family)
        for family in {case.family for case in CASES.values()}
    }
    run_in_processes(work, (models, out), 4)
    return out


@pytest.fixture(scope="module")
def result(folder: Path) -> Callable[..., list[Any]]:
    """(case, workers, sharded, …) → what each worker found."""
    found = [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(4)]

    def of(*key: Any) -> list[Any]:
        return [worker[key] for worker in found if key in worker]

    return of


def difference(one: Run, other: Run) -> float:
    """Largest relative difference of losses."""
    pairs = zip(one.losses, other.losses, strict=True)
    return max(abs(a - b) / abs(b) for a, b in pairs)


@pytest.mark.parametrize(("world", "sharded"), SEVERAL)
@pytest.mark.parametrize("case", CASES)
def test_losses_and_norms_are_those_of_one_worker(
    result: Callable[..., list[Any]], case: str, world: int, sharded: bool
) -> None:
    (alone,), workers = result(case, 1, False), result(case, world, sharded)
    assert len(workers) == world
    tolerance = TOLERANCE[CASES[case].dtype]
    for run in workers:
        assert difference(run, alone) < tolerance
        assert run.norms == pytest.approx(alone.norms, rel=10 * tolerance)


@pytest.mark.parametrize(("world", "sharded"), SEVERAL)
@pytest.mark.parametrize("case", CASES)
def test_weights_are_those_of_one_worker(
    result: Callable[..., list[Any]], case: str, world: int, sharded: bool
) -> None:
    (alone,), workers = result(case, 1, False), result(case, world, sharded)
    # Adam's first updates have the size of the learning rate whatever the gradient, so where a
    # gradient is noise, weights differ by up to that.
    most = 2e-3 if CASES[case].dtype == "float32" else 8e-3
    for run in workers:
        assert run.weights.keys() == alone.weights.keys()
        for name, weight in run.weights.items():
            apart = (weight - alone.weights[name]).abs()
            assert apart.max() < most, name
            assert apart.mean() < most / 10, name


@pytest.mark.parametrize(("world", "sharded"), SEVERAL)
@pytest.mark.parametrize("case", CASES)
def test_an_update_has_the_same_examples(
    result: Callable[..., list[Any]], case: str, world: int, sharded: bool
) -> None:
    (alone,), workers = result(case, 1, False), result(case, world, sharded)
    for update, expected in enumerate(alone.rows):
        assert sorted(row for run in workers for row in run.rows[update]) == sorted(expected)


@pytest.mark.parametrize(("world", "sharded"), RESUMED)
@pytest.mark.parametrize("case", CASES)
def test_a_restarted_group_continues_bit_for_bit(
    result: Callable[..., list[Any]], case: str, world: int, sharded: bool
) -> None:
    for whole, resumed in zip(
        result(case, world, sharded), result(case, world, sharded, "resumed"), strict=True
    ):
        assert resumed.losses == whole.losses
        assert all(torch.equal(resumed.weights[n], whole.weights[n]) for n in whole.weights)


@pytest.mark.parametrize("case", CASES)
def test_a_checkpoint_of_one_worker_continues_on_two_that_share_weights(
    result: Callable[..., list[Any]], case: str
) -> None:
    (alone,) = result(case, 1, False)
    for run in result(case, *MOVED, "moved"):
        assert run.losses[:CUT] == alone.losses[:CUT]
        assert difference(run, alone) < TOLERANCE[CASES[case].dtype]


@pytest.mark.parametrize(("world", "sharded"), SHARDED)
@pytest.mark.parametrize("case", CASES)
def test_checkpoints_hold_whole_tensors(folder: Path, case: str, world: int, sharded: bool) -> None:
    for name in ("trainable.safetensors", "optimiser.safetensors"):
        one, shared = (
            load_file(folder / f"{case}-{group}" / name) for group in ("1-False", f"{world}-True")
        )
        assert {k: (v.shape, v.dtype) for k, v in one.items()} == {
            k: (v.shape, v.dtype) for k, v in shared.items()
        }


@pytest.mark.parametrize(("world", "sharded"), SHARDED)
@pytest.mark.parametrize("case", CASES)
def test_workers_may_run_different_numbers_of_forward_passes(
    result: Callable[..., list[Any]], case: str, world: int, sharded: bool
) -> None:
    whole = result(case, world, False, "states")
    for rank, (shared, expected) in enumerate(
        zip(result(case, world, True, "states"), whole, strict=True)
    ):
        assert len(shared) == rank + 1
        for ours, theirs in zip(shared, expected, strict=True):
            scale = theirs.abs().max()
            bound = 0.05 if CASES[case].dtype == "bfloat16" else 2e-2
            assert (ours - theirs).abs().max() / scale < bound


@pytest.mark.parametrize(("world", "sharded"), SHARDED)
@pytest.mark.parametrize("case", CASES)
def test_a_worker_keeps_its_part_of_the_text_stack(
    result: Callable[..., list[Any]], case: str, world: int, sharded: bool
) -> None:
    whole = result(case, 1, False, "parts")[0]
    parts = result(case, world, True, "parts")
    lora = CASES[case].tuning["mode"] == "lora"
    for name, size in whole.items():
        kept = [worker[name] for worker in parts]
        if "vision" in name or "projector" in name or (lora and ".lora_" in name):
            assert kept == [size] * world, name
        else:
            assert sum(kept) == size, name
            assert max(kept) <= max(size / world * 2, 64), name
