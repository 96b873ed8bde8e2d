"""Plans with tiny backbones run from rows to scores: BERT with every format of heads, words and both
tunings; LLaVA-OneVision with pairs of images, and its text-only twin, to the report; Qwen3-VL with
experts.
"""

from pathlib import Path

import pandas as pd
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


TWINS = """
name: twins
mirror: miniature
recipes: miniature
backbones:
  seeing:
    build:
      family: llava_onevision
      text: [miniature_text, coco_captions]
      tokenizer: {from: [miniature_text]}
      pretrain: {updates: 2, caption_updates: 2, hidden: 32, ff: 32, layers: 1}
    tuning: lora
  reading:
    build:
      family: qwen2
      tokenizer: {from: [miniature_text]}
      pretrain: {updates: 2, hidden: 32, ff: 32, layers: 1}
    tuning: lora
arms:
  pairs: {task: nlvr2, objective: lm}
  words: {task: commonsense_qa, objective: lm}
evaluations: [udpos]
languages: [en, qaa]
rows: {train: 16, select: 8, test: 8}
budget: {examples: 16, updates: 2, examples_per_step: 8}
override: {ud_en: {updates: 2}}
contrasts:
  task: {arm: pairs, reference: words}
  model: {arm: words, reference: words, backbone: seeing, reference_backbone: reading}
  model and task: {arm: pairs, reference: words, backbone: seeing, reference_backbone: reading}
headline: task
intermediate_scores: true
resources: {workers: 1, threads: 1}
"""


@pytest.mark.slow
def test_a_plan_with_pairs_of_images_of_any_resolution_and_a_text_only_twin(tmp_path: Path) -> None:
    mirror = write_small_mirror(tmp_path / "mirror")
    done = run_plan(TWINS, mirror, tmp_path, tmp_path / "report")
    assert {kind: len(steps) for kind, steps in done.items() if kind != "records"} == {
        "build": 2,
        "encode": 11,
        "finetune": 8,  # pairs on one backbone, words on both, and ud_en after each and after none
        "score": 7,  # udpos of five arms, and the dev rows of words on both; NLVR2 has none
    }
    effects = pd.read_parquet(tmp_path / "report" / "effects.parquet")
    rows = effects.set_index(["contrast", "backbone", "evaluation", "language"])["effect"]
    between, cell = "seeing minus reading", ("pooled", "non_en")
    assert rows["model and task", between, *cell] == pytest.approx(
        rows["task", "seeing", *cell] + rows["model", between, *cell]
    )
    assert set(effects[effects["contrast"] == "task"]["backbone"]) == {"seeing"}


EXPERTS = """
name: experts
mirror: miniature
recipes: miniature
backbones:
  seeing:
    build:
      family: qwen3_vl_moe
      text: [miniature_text, coco_captions]
      tokenizer: {from: [miniature_text]}
      pretrain: {updates: 2, caption_updates: 2, hidden: 32, ff: 32, layers: 1}
    tuning: lora
arms:
  pairs: {task: nlvr2, objective: lm}
evaluations: [udpos]
languages: [en, qaa]
rows: {train: 16, select: 8, test: 8}
budget: {examples: 16, updates: 2, examples_per_step: 8}
override: {ud_en: {updates: 2}}
resources: {workers: 1, threads: 1}
"""


@pytest.mark.slow
def test_a_plan_with_experts_and_pairs_of_images_runs(tmp_path: Path) -> None:
    mirror = write_small_mirror(tmp_path / "mirror")
    done = run_plan(EXPERTS, mirror, tmp_path)
    assert len(done["finetune"]) == 3  # pairs, and ud_en after them and after none
    assert len(done["score"]) == 2
