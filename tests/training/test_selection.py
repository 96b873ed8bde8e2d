"""Evaluations on English dev: which one wins, and when one is due."""

import json
from pathlib import Path

import torch
from torch import nn

from xstilts.data.encoded import EncodedRows
from xstilts.tasks.registry import TASKS
from xstilts.training.checkpoint import load_state, save_state
from xstilts.training.loop import Progress
from xstilts.training.selection import Best, Development, best_update


def development(every: int) -> Development:
    import pyarrow as pa

    rows = EncodedRows(pa.table({"length": [1], "supervised": [1]}))
    return Development(TASKS["ud_en"], "head", rows, None, [], every, 1)


def test_the_first_of_equal_evaluations_wins() -> None:
    evaluations = [
        {"update": 100, "value": 50.0},
        {"update": 200, "value": 61.0},
        {"update": 300, "value": 61.0},
    ]
    assert best_update(evaluations) == 200


def test_without_evaluations_there_is_no_best_update() -> None:
    assert best_update([]) is None


def test_evaluations_are_due_at_every_interval_and_at_the_end() -> None:
    interval = development(100)
    assert [update for update in range(1, 251) if interval.due(update, 250)] == [100, 200, 250]


def test_a_checkpoint_has_the_best_weights_and_the_evaluations(tmp_path: Path) -> None:
    heads = nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(heads.parameters())
    best = Best({"w": torch.tensor([1.5])}, {"weight": torch.ones(2, 2), "bias": torch.zeros(2)})
    progress = Progress(update=7, evaluations=[{"update": 4, "value": 12.0}])
    files = save_state(tmp_path, {"w": torch.tensor([2.5])}, heads, optimiser, progress, best)
    weights, resumed, kept = load_state(files, nn.Linear(2, 2), optimiser)
    assert weights["w"].item() == 2.5
    assert kept.weights["w"].item() == 1.5
    assert torch.equal(kept.heads["weight"], torch.ones(2, 2))
    assert resumed.evaluations == progress.evaluations


def test_progress_files_have_the_keys_of_earlier_versions(tmp_path: Path) -> None:
    heads = nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(heads.parameters())
    progress = Progress(update=7, evaluations=[{"update": 4, "value": 12.0}])
    files = save_state(tmp_path, {"w": torch.zeros(1)}, heads, optimiser, progress, Best())
    assert json.loads(files["progress.json"].read_text()) == {
        "update": 7,
        "supervised_tokens": 0,
        "tokens": 0,
        "history": [],
        "looks": [{"update": 4, "value": 12.0}],
    }


def test_a_checkpoint_without_evaluations_has_no_best(tmp_path: Path) -> None:
    heads = nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(heads.parameters())
    files = save_state(tmp_path, {"w": torch.zeros(1)}, heads, optimiser, Progress(), Best())
    assert not [name for name in files if name.startswith("best.")]
    assert load_state(files, heads, optimiser)[2] == Best()
