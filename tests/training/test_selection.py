"""Looks at English dev: which look wins, and when one is due."""

from pathlib import Path

import torch
from torch import nn

from xstilts.data.encoded import EncodedRows
from xstilts.tasks.registry import TASKS
from xstilts.training.checkpoint import load_state, save_state
from xstilts.training.loop import Progress
from xstilts.training.selection import Best, Development, chosen


def development(every: int) -> Development:
    import pyarrow as pa

    rows = EncodedRows(pa.table({"length": [1], "supervised": [1]}))
    return Development(TASKS["ud_en"], "head", rows, None, [], every, 1)


def test_the_first_of_equal_looks_wins() -> None:
    looks = [
        {"update": 100, "value": 50.0},
        {"update": 200, "value": 61.0},
        {"update": 300, "value": 61.0},
    ]
    assert chosen(looks) == 200


def test_without_looks_nothing_is_chosen() -> None:
    assert chosen([]) is None


def test_a_look_every_so_many_updates_and_one_at_the_end() -> None:
    one = development(100)
    assert [update for update in range(1, 251) if one.due(update, 250)] == [100, 200, 250]


def test_a_checkpoint_carries_the_best_weights_and_the_looks(tmp_path: Path) -> None:
    heads = nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(heads.parameters())
    best = Best({"w": torch.tensor([1.5])}, {"weight": torch.ones(2, 2), "bias": torch.zeros(2)})
    progress = Progress(update=7, looks=[{"update": 4, "value": 12.0}])
    files = save_state(tmp_path, {"w": torch.tensor([2.5])}, heads, optimiser, progress, best)
    weights, resumed, kept = load_state(files, nn.Linear(2, 2), optimiser)
    assert weights["w"].item() == 2.5
    assert kept.weights["w"].item() == 1.5
    assert torch.equal(kept.heads["weight"], torch.ones(2, 2))
    assert resumed.looks == progress.looks


def test_a_checkpoint_without_a_look_has_no_best(tmp_path: Path) -> None:
    heads = nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(heads.parameters())
    files = save_state(tmp_path, {"w": torch.zeros(1)}, heads, optimiser, Progress(), Best())
    assert not [name for name in files if name.startswith("best.")]
    assert load_state(files, heads, optimiser)[2] == Best()
