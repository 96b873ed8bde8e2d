"""A run whose input embeddings give their gradients as rows has the results of dense gradients."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.in_process import run_plan, write_small_mirror
from xstilts.training import row_gradients
from xstilts.training.row_gradients import RowAdamW

PLAN = """
name: rows
mirror: miniature
recipes: miniature
backbones:
  whole:
    build: {family: xlm_r, tokenizer: {from: [miniature_text]}, pretrain: {updates: 1, hidden: 32, ff: 32, layers: 2}}
    tuning: full
arms:
  answers: {task: commonsense_qa}
evaluations: [xnli]
languages: [en]
rows: {train: 16, select: 8, test: 8}
budget: {examples: 16, updates: 2, examples_per_step: 8}
override: {mnli: {updates: 3, selection: 1}}
contrasts:
  answers minus none: {arm: answers, reference: none, allow_unmatched: true}
"""


@pytest.mark.slow
def test_a_run_with_gradients_as_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = write_small_mirror(tmp_path / "mirror")
    dense = run_plan(PLAN, mirror, tmp_path / "dense")

    monkeypatch.setattr(row_gradients, "LEAST_NUMBERS", 1)
    monkeypatch.setattr(row_gradients, "MOST_ACTIVE", 1.0)
    active: list[int] = []
    step_rows = RowAdamW._step_rows

    def counted(
        self: RowAdamW, group: Mapping[str, Any], parameter: Any, gradient: Any, rows: torch.Tensor
    ) -> None:
        active.append(len(rows))
        step_rows(self, dict(group), parameter, gradient, rows)

    monkeypatch.setattr(RowAdamW, "_step_rows", counted)
    rows = run_plan(PLAN, mirror, tmp_path / "rows")
    assert active
    assert rows["finetune"].keys() == dense["finetune"].keys()
    for fingerprint, info in dense["finetune"].items():
        assert rows["finetune"][fingerprint]["loss"] == pytest.approx(info["loss"], rel=1e-4)
