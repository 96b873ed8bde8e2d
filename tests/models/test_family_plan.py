"""A plan with a tiny BERT runs from rows to scores: every format of heads, words, both tunings."""

from pathlib import Path

import pytest

from tests.models.in_process import run_plan, write_small_mirror

PLAN = """
name: bert
mirror: miniature
recipes: miniature
backbones:
  tiny-bert:
    build:
      family: bert
      tokenizer: {from: [miniature_text]}
      pretrain: {updates: 3, hidden: 32, ff: 32, layers: 1}
    tuning: TUNING
arms:
  words: {task: commonsense_qa, objective: lm}
evaluations: [xnli, xcopa, udpos, xquad, tatoeba, lareqa, bucc_mining]
languages: [en, qaa]
rows: {train: 16, select: 8, test: 8}
budget: {examples: 16, updates: 2, examples_per_step: 8}
contrasts:
  words minus none: {arm: words, reference: none, allow_unmatched: true}
intermediate_scores: true
resources: {workers: 1, threads: 1}
"""


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_plan_with_bert_runs(tuning: str, tmp_path: Path) -> None:
    mirror = write_small_mirror(tmp_path / "mirror")
    overrides = "override: {" + ", ".join(
        f"{task}: {{updates: 2}}"
        for task in ("mnli", "siqa", "copa", "ud_en", "squad", "squad_dual")
    )
    done = run_plan(PLAN.replace("TUNING", tuning) + overrides + "}\n", mirror, tmp_path)
    assert len(done["build"]) == 1
    # words; for `none` and `words` each: mnli, siqa, copa, ud_en, squad, squad_dual
    assert len(done["finetune"]) == 13
    # 7 evaluations of two arms, and the arm's own task; retrieval of `none` needs no training
    assert len(done["score"]) == 15
