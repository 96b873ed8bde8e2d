"""A run with `intermediate_scores: after_targets`: models after a target answer with the heads of
their intermediate training.
"""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.models.in_process import run_plan, write_small_mirror

PLAN = """
name: forgetting
mirror: miniature
recipes: miniature
backbones:
  small: {build: {family: xlm_r, tokenizer: {from: [miniature_text]}, pretrain: {updates: 3, hidden: 32, ff: 32, layers: 2}}, tuning: full}
arms:
  choice: {task: commonsense_qa}
  words: {task: commonsense_qa, objective: lm}
  both: {mixture: [{task: ud_deprel}, {task: commonsense_qa}]}
evaluations: [xnli]
languages: [en]
rows: {train: 16, select: 8, test: 8}
budget: {examples: 16, updates: 2, examples_per_step: 8}
override: {mnli: {updates: 2, selection: 1, lr: RATE}}
intermediate_scores: after_targets
"""
KEYS = ["arm", "task", "metric"]


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_mirror(tmp_path_factory.mktemp("mirror"))


def run(mirror: Path, folder: Path, rate: str, workers: int = 1) -> tuple[pd.DataFrame, str]:
    """The scores on the intermediate tasks, and the report's page."""
    text = PLAN.replace("RATE", rate) + f"resources: {{workers: {workers}}}\n"
    run_plan(text, mirror, folder, folder / "report", workers)
    table = pd.read_parquet(folder / "report" / "intermediates.parquet")
    return table, (folder / "report" / "report.html").read_text()


def split(table: pd.DataFrame) -> tuple[dict[Any, float], dict[Any, float]]:
    """(task and metric → score before, the same after the target)."""
    after = table["target"] == "mnli"
    return tuple(part.set_index(KEYS)["value"].to_dict() for part in (table[~after], table[after]))  # type: ignore[return-value]


@pytest.mark.slow
def test_a_target_that_changes_nothing_forgets_nothing(mirror: Path, tmp_path: Path) -> None:
    """With a learning rate of zero, the target's weights are those of the intermediate."""
    table, page = run(mirror, tmp_path, "0.0000000000001")
    before, after = split(table)
    assert {(arm, task) for arm, task, _ in before} == {
        ("choice", "commonsense_qa"), ("words", "commonsense_qa"), ("both", "ud_deprel"), ("both", "commonsense_qa"),
    }  # fmt: skip
    assert after == pytest.approx(before)
    assert "<h3>Forgetting</h3>" in page


@pytest.mark.slow
def test_workers_together_score_what_one_does(mirror: Path, tmp_path: Path) -> None:
    one, _ = run(mirror, tmp_path / "one", "0.05")
    two, _ = run(mirror, tmp_path / "two", "0.05", workers=2)
    keys = ["target", *KEYS]
    assert two.set_index(keys)["value"].to_dict() == pytest.approx(
        one.set_index(keys)["value"].to_dict()
    )
