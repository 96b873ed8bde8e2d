"""A run whose workers share weights has the results of a run with one worker."""

from pathlib import Path

import pytest

from tests.models.in_process import run_plan, write_small_mirror

PLAN = """
name: sharded
mirror: miniature
recipes: miniature
backbones:
  whole: {build: BUILD, tuning: full}
  half: {build: BUILD, tuning: full, dtype: bfloat16}
  adapters: {build: BUILD, tuning: lora}
arms:
  words: {task: commonsense_qa, objective: lm}
evaluations: [xnli, tatoeba]
languages: [en, qaa]
rows: {train: 16, select: 8, test: 8}
budget: {examples: 16, updates: 2, examples_per_step: 8}
override: {mnli: {updates: 2, selection: 1}}
contrasts:
  words minus none: {arm: words, reference: none, allow_unmatched: true}
intermediate_scores: true
"""
BUILD = (
    "{family: xlm_r, tokenizer: {from: [miniature_text]}, "
    "pretrain: {updates: 3, hidden: 32, ff: 32, layers: 2}}"
)
TEXT = PLAN.replace("BUILD", BUILD)


@pytest.mark.slow
def test_a_sharded_run_has_the_results_of_one_worker(tmp_path: Path) -> None:
    mirror = write_small_mirror(tmp_path / "mirror")
    one = run_plan(TEXT + "resources: {workers: 1}\n", mirror, tmp_path / "one")
    shared = "resources: {workers: 2, sharding: full, checkpoint_every: 1}\n"
    two = run_plan(TEXT + shared, mirror, tmp_path / "two", workers=2)
    assert two.keys() == one.keys()
    assert two["score"].keys() == one["score"].keys()
    for fingerprint, info in one["finetune"].items():
        other = two["finetune"][fingerprint]
        assert other["loss"] == pytest.approx(info["loss"], rel=2e-3)
        assert other["budget"] == info["budget"]
        assert ("selection" in other) == ("selection" in info)
