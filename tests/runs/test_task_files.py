"""Private task files in the folder of a run or a schedule."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from xstilts.errors import StoreError
from xstilts.runs import finished, folder, recurring, task_files
from xstilts.runs.recurring import Repeat
from xstilts.step import Step
from xstilts.store.server import serve
from xstilts.store.store import Store
from xstilts.tasks.private import sha256_of
from xstilts.tasks.registry import TASKS

TASK = """from dataclasses import replace

from xstilts.tasks.benchmarks.snli import SNLI

TASKS = (replace(SNLI, name="mine"),)
"""
#: Leaves a file when it is executed.
TELLTALE = "from pathlib import Path\n\nPath({path!r}).touch()\n" + TASK
PLAN = """
name: weekly
recipes: miniature
tasks: [mine.py]
backbones: {xlmr: {hub: FacebookAI/xlm-roberta-base, family: xlm_r}}
arms: {mine: {task: mine}}
evaluations: [xnli]
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    before = dict(os.environ)
    with serve(tmp_path_factory.mktemp("s3")) as server:
        os.environ.update(server.env())
        yield Store.open("s3://xstilts/store")
    os.environ.clear()
    os.environ.update(before)


def step(digest: str, name: str = "mine") -> Step:
    return Step("records", {"task": name, "task_files": {name: digest}})


def test_a_run_carries_its_task_files_by_their_digest(store: Store) -> None:
    folder.create(store, "carried", PLAN, "hub", {"mine.py": TASK})
    run = store.get_json("runs/carried/run.json")
    assert run is not None
    assert run["tasks"] == {"mine.py": sha256_of(TASK)}
    assert store.get_bytes_at(f"runs/carried/task_files/{sha256_of(TASK)}.py") == TASK.encode()
    assert task_files.get(store, "runs/carried", run["tasks"]) == {"mine.py": TASK}


def test_a_run_that_is_started_again_keeps_its_task_files(store: Store) -> None:
    """Starting a run removes what its pipeline tasks recorded before."""
    folder.create(store, "again", PLAN, "hub", {"mine.py": TASK})
    finished.forget(store, "runs/again")
    digests = (store.get_json("runs/again/run.json") or {})["tasks"]
    assert task_files.get(store, "runs/again", digests) == {"mine.py": TASK}


def test_a_run_without_private_tasks_has_no_such_entry(store: Store) -> None:
    folder.create(store, "plain", PLAN, "hub")
    assert "tasks" not in (store.get_json("runs/plain/run.json") or {})
    assert task_files.tasks_of(store, "runs/plain", [Step("records", {"task": "snli"})]) is TASKS


def test_a_worker_gets_the_tasks_that_its_steps_name(store: Store) -> None:
    task_files.put(store, "runs/worker", {"mine.py": TASK})
    tasks = task_files.tasks_of(store, "runs/worker", [step(sha256_of(TASK))])
    assert set(tasks) == {*TASKS, "mine"}


def test_a_file_whose_digest_is_not_the_steps_is_refused_before_it_is_executed(
    store: Store, tmp_path: Path
) -> None:
    telltale = TELLTALE.format(path=str(tmp_path / "executed"))
    digest = sha256_of(TASK)
    store.put_bytes_at(f"runs/tampered/task_files/{digest}.py", telltale.encode())
    with pytest.raises(StoreError, match=r"checksum mismatch.*was not executed"):
        task_files.tasks_of(store, "runs/tampered", [step(digest)])
    assert not (tmp_path / "executed").exists()
    task_files.put(store, "runs/tampered", {"mine.py": telltale})  # whereas a matching file is
    task_files.tasks_of(store, "runs/tampered", [step(sha256_of(telltale))])
    assert (tmp_path / "executed").exists()


def test_a_file_that_the_step_does_not_name_is_not_executed(store: Store, tmp_path: Path) -> None:
    telltale = TELLTALE.format(path=str(tmp_path / "executed")).replace('"mine"', '"other"')
    task_files.put(store, "runs/both", {"mine.py": TASK, "other.py": telltale})
    task_files.tasks_of(store, "runs/both", [step(sha256_of(TASK))])
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (step(sha256_of("absent")), "the task file is missing"),
        (step(sha256_of(TASK), "renamed"), "does not define the task 'renamed'"),
        (step("../../secrets"), "is not the SHA-256 of a task file"),
    ],
)
def test_what_cannot_be_loaded_is_named(store: Store, spec: Step, message: str) -> None:
    task_files.put(store, "runs/named", {"mine.py": TASK})
    with pytest.raises(StoreError, match=message):
        task_files.tasks_of(store, "runs/named", [spec])


def test_a_schedule_carries_its_task_files_and_each_firing_gets_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"mine.py": TASK}
    document = recurring.document_of("hub", Repeat(add_seeds=1), {}, files)
    recurring.put(store, "weekly", PLAN, document, files)
    assert recurring.task_files(store, "weekly") == files
    monkeypatch.setenv("XSTILTS_FIRING", "first")
    run, text, more = recurring.fire(store, "weekly")
    assert "mine.py" in text
    folder.create(
        store, run, text, more.pop("mirror"), recurring.task_files(store, "weekly"), **more
    )
    assert (store.get_json(f"runs/{run}/run.json") or {})["tasks"] == {"mine.py": sha256_of(TASK)}


def test_a_schedule_whose_task_file_changed_is_not_the_same(store: Store) -> None:
    files = {"mine.py": TASK}
    recurring.put(store, "daily", PLAN, recurring.document_of("hub", Repeat(), {}, files), files)
    stored = recurring.stored(store, "daily")
    assert recurring.same(stored, PLAN, "hub", Repeat(), files)
    assert not recurring.same(stored, PLAN, "hub", Repeat(), {"mine.py": f"{TASK}#\n"})
