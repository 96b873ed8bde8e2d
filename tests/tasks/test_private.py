"""Private task files: what they define, and what is refused."""

import hashlib
from pathlib import Path

import pytest

from xstilts.errors import PlanError
from xstilts.tasks.private import executed, load_private_tasks, private_tasks, with_private
from xstilts.tasks.registry import TASKS

TASK = """from dataclasses import replace

from xstilts.tasks.benchmarks.snli import SNLI

TASKS = (replace(SNLI, name="{name}"),)
"""


def test_a_task_file_defines_tasks_that_carry_the_digest_of_its_text(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TASK.format(name="mine"))
    tasks = load_private_tasks(["mine.py"], tmp_path)
    assert list(tasks) == ["mine"]
    assert (
        tasks["mine"].file_sha256 == hashlib.sha256((tmp_path / "mine.py").read_bytes()).hexdigest()
    )
    assert tasks["mine"].to_example is TASKS["snli"].to_example


def test_the_digest_is_that_of_the_bytes_also_with_dos_line_ends(tmp_path: Path) -> None:
    content = TASK.format(name="mine").replace("\n", "\r\n").encode()
    (tmp_path / "mine.py").write_bytes(content)
    task = load_private_tasks([tmp_path / "mine.py"])["mine"]
    assert task.file_sha256 == hashlib.sha256(content).hexdigest()


def test_shipped_tasks_have_no_digest_and_come_first() -> None:
    assert {task.file_sha256 for task in TASKS.values()} == {""}
    assert list(with_private({"a.py": TASK.format(name="mine")})) == [*TASKS, "mine"]
    assert with_private({}) is TASKS


def test_a_private_task_cannot_have_the_name_of_a_shipped_one() -> None:
    with pytest.raises(PlanError, match=r"a\.py: the task 'squad' has the name of a shipped task"):
        private_tasks({"a.py": TASK.format(name="squad")})


def test_a_name_in_two_files_is_an_error_that_names_both() -> None:
    with pytest.raises(PlanError, match=r"duplicate task 'mine': a\.py and b\.py"):
        private_tasks({"a.py": TASK.format(name="mine"), "b.py": TASK.format(name="mine") + "\n"})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = (", r"a\.py:1: cannot load the task file: SyntaxError"),
        ("\n\nimport no_such_module\n", r"a\.py:3: .* ModuleNotFoundError: .*no_such_module"),
        ("x = 1\n", "must define TASKS"),
        ("TASKS = ()\n", "must define TASKS"),
        ("TASKS = ('squad',)\n", r"must contain xstilts\.tasks\.task\.Task records only"),
    ],
)
def test_a_file_that_defines_no_tasks_is_named_with_the_line(source: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        executed({"a.py": source})


def test_every_mistake_of_a_private_task_is_named() -> None:
    wrong = TASK.format(name="mine").replace('name="mine"', 'name="mine", labels=(), format="x"')
    with pytest.raises(PlanError) as error:
        private_tasks({"a.py": wrong})
    assert "mine: format: invalid value 'x'" in str(error.value)


def test_an_evaluation_may_train_a_target_of_another_file() -> None:
    evaluation = TASK.format(name="judged").replace(
        'name="judged"',
        'name="judged", role="evaluation", trained_target=("mine",), splits={"test": SNLI.splits["select"]}, sizes={}, sizes_source=""',
    )
    tasks = private_tasks({"a.py": evaluation, "b.py": TASK.format(name="mine")})
    assert tasks["judged"].trained_target == ("mine",)
    with pytest.raises(PlanError, match="judged: unknown task 'mine'"):
        private_tasks({"a.py": evaluation})


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"absent\.py: cannot read the task file"):
        load_private_tasks(["absent.py"], tmp_path)
