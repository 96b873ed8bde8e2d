"""Whole runs with and without activation checkpointing have equal losses, to the bit. One of them
leaves the token budget to `auto`.
"""

from pathlib import Path

import pytest

from tests.models.in_process import run_plan, write_small_mirror

PLAN = """
name: checkpointed
mirror: miniature
recipes: miniature
backbones:
  tiny-llava:
    build:
      family: llava
      tokenizer: {from: [miniature_text]}
      pretrain: {updates: 2, hidden: 32, ff: 32, layers: 2}
    tuning: lora
  tiny-xlm-r:
    build:
      family: xlm_r
      tokenizer: {from: [miniature_text]}
      pretrain: {updates: 2, hidden: 32, ff: 32, layers: 2}
    tuning: full
arms:
  captions: {task: coco_captions, objective: lm}
evaluations: [xnli]
languages: [en]
rows: {train: 16, select: 8, test: 8}
budget: {examples: 16, updates: 3, examples_per_step: 8}
override:
  mnli: {updates: 3, dropout: 0.1, adapter_dropout: 0.1}
  coco_captions: {adapter_dropout: 0.1}
contrasts:
  captions minus none: {arm: captions, reference: none, allow_unmatched: true}
resources: {RESOURCES}
"""


@pytest.mark.slow
def test_losses_are_equal_to_the_bit(tmp_path: Path) -> None:
    mirror = write_small_mirror(tmp_path / "mirror")
    losses = []
    for name, resources in (
        ("plain", "tokens_per_micro_batch: 4096, activation_checkpointing: off"),
        ("again", "activation_checkpointing: on"),
    ):
        (tmp_path / name).mkdir()
        done = run_plan(PLAN.replace("RESOURCES", resources), mirror, tmp_path / name)
        losses.append({step: info["loss"] for step, info in done["finetune"].items()})
    assert len(losses[0]) == 4  # llava: captions, and mnli of both arms; xlm_r: mnli
    assert losses[0] == losses[1]
