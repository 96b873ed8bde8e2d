"""The key `tasks`: private tasks in a plan, and which fingerprints they change."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from xstilts.errors import PlanError
from xstilts.plan.cost import estimate
from xstilts.plan.expand import expand
from xstilts.plan.expansion import Expansion
from xstilts.plan.load import load_plan
from xstilts.plan.plan_errors import InvalidPlan
from xstilts.plan.rate_trials import plan_text
from xstilts.plan.schema import Plan
from xstilts.plan.tables import Tables
from xstilts.step import Step
from xstilts.tasks.private import sha256_of

TASK = """from dataclasses import replace

from xstilts.tasks.benchmarks.snli import SNLI
from xstilts.tasks.task import RowEstimate

TASKS = (replace(SNLI, name="mine", estimate=RowEstimate(text=10)),)
"""
PLAN = """
name: private
recipes: miniature
tasks: [mine.py]
backbones:
  xlmr: {hub: FacebookAI/xlm-roberta-base, family: xlm_r, revision: REVISION}
arms:
  mine: {task: mine}
  snli: {task: snli}
evaluations: [xnli]
languages: [en, de]
""".replace("REVISION", "a" * 40)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(TASK)
    (tmp_path / "plan.yaml").write_text(PLAN)
    return tmp_path


def expanded(plan: Plan) -> Expansion:
    tables = replace(
        Tables.shipped(),
        identity=lambda *_: {"commit": "0" * 40},
        missing=lambda *_: None,
        model=lambda *_: None,
    )
    return expand(plan, None, {"torch": "0"}, tables)


def uses(step: Step, name: str) -> bool:
    spec = step.spec
    names = {spec.get("task"), spec.get("evaluation"), *(t["name"] for t in spec.get("tasks", ()))}
    return name in names


def test_a_path_is_relative_to_the_plan_and_the_plan_then_holds_the_text(folder: Path) -> None:
    plan = load_plan(folder / "plan.yaml")
    assert plan.task_files == {"mine.py": TASK}
    assert list(plan.private_tasks) == ["mine"]
    assert Plan.model_validate(plan.to_json()) == plan
    assert load_plan(plan_text(plan)) == plan


def test_steps_of_a_private_task_and_no_others_have_its_digest_in_their_spec(folder: Path) -> None:
    steps = expanded(load_plan(folder / "plan.yaml")).steps.values()
    mine = [step for step in steps if uses(step, "mine")]
    assert {step.kind for step in mine} == {"records", "encode", "finetune"}
    assert all(step.spec["task_files"] == {"mine": sha256_of(TASK)} for step in mine)
    assert not [step for step in steps if not uses(step, "mine") and "task_files" in step.spec]


def test_a_change_of_the_text_changes_the_steps_that_use_the_task_and_what_follows_from_them(
    folder: Path,
) -> None:
    before = expanded(load_plan(folder / "plan.yaml")).steps
    (folder / "mine.py").write_text(f"{TASK}# a comment\n")
    after = expanded(load_plan(folder / "plan.yaml")).steps

    def changed(steps: Mapping[str, Step], step: Step) -> bool:
        parents = [steps[parent] for parent in step.parents.values() if parent in steps]
        return uses(step, "mine") or any(changed(steps, parent) for parent in parents)

    assert set(before) - set(after) == {fp for fp, step in before.items() if changed(before, step)}
    assert set(before) & set(after)


def test_a_plan_without_private_tasks_has_the_steps_that_it_has_beside_one(folder: Path) -> None:
    plan = load_plan(folder / "plan.yaml")
    alone = load_plan(PLAN.replace("tasks: [mine.py]\n", "").replace("  mine: {task: mine}\n", ""))
    assert set(expanded(alone).steps) < set(expanded(plan).steps)


def test_files_can_be_added_to_those_of_the_plan(folder: Path, tmp_path: Path) -> None:
    (folder / "plan.yaml").write_text(PLAN.replace("tasks: [mine.py]\n", ""))
    with pytest.raises(InvalidPlan, match="'mine' is unknown"):
        load_plan(folder / "plan.yaml")
    plan = load_plan(folder / "plan.yaml", more_tasks=[tmp_path / "mine.py"])
    assert plan.task_files == {str(tmp_path / "mine.py"): TASK}


def test_a_text_takes_its_files_from_the_run(folder: Path) -> None:
    plan = load_plan(folder / "plan.yaml")
    assert load_plan(PLAN, task_files=plan.task_files) == plan
    with pytest.raises(InvalidPlan, match=r"mine\.py: a plan given as text has no folder"):
        load_plan(PLAN)
    with pytest.raises(InvalidPlan, match=r"mine\.py: the run has no such task file"):
        load_plan(PLAN, task_files={})


def test_mistakes_of_a_task_file_are_listed_beside_those_of_the_plan(folder: Path) -> None:
    (folder / "plan.yaml").write_text(PLAN.replace("[mine.py]", "[absent.py]") + "sizes: 3\n")
    with pytest.raises(InvalidPlan) as error:
        load_plan(folder / "plan.yaml")
    assert "tasks: absent.py: cannot read the task file" in str(error.value)
    assert "sizes" in str(error.value)


def test_the_name_of_a_shipped_task_is_refused(folder: Path) -> None:
    (folder / "mine.py").write_text(TASK.replace('"mine"', '"squad"'))
    with pytest.raises(PlanError, match="the task 'squad' has the name of a shipped task"):
        load_plan(folder / "plan.yaml")


def test_the_key_is_a_list_of_paths(folder: Path) -> None:
    (folder / "plan.yaml").write_text(PLAN.replace("[mine.py]", "mine.py"))
    with pytest.raises(InvalidPlan, match=r"tasks: invalid value 'mine\.py'; must be a list"):
        load_plan(folder / "plan.yaml")


def test_an_expansion_names_the_private_tasks_with_their_digests(folder: Path) -> None:
    overrides = expanded(load_plan(folder / "plan.yaml")).overrides
    assert {"kind": "private task", "task": "mine", "key": "sha256", "value": sha256_of(TASK)} in (
        overrides
    )


def test_the_estimate_of_a_private_task_counts(folder: Path) -> None:
    expansion = expanded(load_plan(folder / "plan.yaml"))
    tokens = estimate(expansion)["intermediate"].tokens
    (folder / "mine.py").write_text(TASK.replace("text=10", "text=20"))
    doubled = estimate(expanded(load_plan(folder / "plan.yaml")))["intermediate"].tokens
    assert tokens is not None
    assert doubled is not None
    assert doubled > tokens
