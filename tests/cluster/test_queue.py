"""Kueue: jobs that wait in a queue, are admitted, preempted and resumed."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from components.launch.lease import cancel
from tests.cluster.kube import until
from tests.cluster.runs import Run
from tests.cluster.test_clean_up import collect, expire

#: Processors of a group of the plan, as the operator requests them: a head and two workers.
GROUP = 3


def _admitted(run: Run) -> bool:
    return not run.job()["spec"].get("suspend")


def test_a_job_that_can_never_be_admitted_says_so_and_is_collected(
    idle: Run, queue: Callable[[int], str]
) -> None:
    run = idle.with_settings(XSTILTS_QUEUE=queue(GROUP - 1))
    task = run.finetune()
    name = run.job()["metadata"]["name"]
    begun = time.monotonic()
    reason = r"queue \S+: can never be admitted: .*request \(\S+\) > maximum capacity \(\S+\)"
    said = until(lambda: re.search(reason, text := run.status()) and text, run.status, 60, 1)
    assert time.monotonic() - begun < 30
    assert "queued" in said
    assert re.search(reason, task.log())
    print(said)
    task.kill()
    expire(run)
    assert f"removed {name}: its lease expired" in collect(
        run.cluster, run.namespace, run.store.uri
    )


@pytest.mark.slow
def test_a_job_is_admitted_when_the_one_before_it_ends(
    idle: Run, another_idle: Run, queue: Callable[[int], str]
) -> None:
    name = queue(GROUP)
    first, second = (each.with_settings(XSTILTS_QUEUE=name) for each in (idle, another_idle))
    tasks = [first.finetune()]
    until(lambda: _admitted(first), "the first job is not admitted")
    tasks.append(second.finetune())
    reason = rf"queue {name}: .*insufficient unused quota for cpu"
    until(lambda: re.search(reason, second.status()), second.status, 60, 1)
    cancel(first.store, first.folder)
    until(lambda: _admitted(second), "the second job is not admitted", 120)
    cancel(second.store, second.folder)
    for task in tasks:
        task.wait_for_failure()


@pytest.mark.slow
def test_a_preempted_job_is_resumed(
    run: Run,
    another: Run,
    queue: Callable[[int], str],
    local_results: Path,
    tmp_path: Path,
) -> None:
    name = queue(GROUP)
    batch = run.with_settings(XSTILTS_QUEUE=name)
    urgent = another.with_settings(XSTILTS_QUEUE=name, XSTILTS_PRIORITY_CLASS="xstilts-high")
    task = batch.finetune()
    until(batch.attempts, task.log, 300)
    high = urgent.finetune()
    until(lambda: not _admitted(batch), "the job is not preempted", 120)
    until(lambda: "evicted (Preempted)" in batch.status(), batch.status, 60, 1)
    high.wait(600)
    task.wait(600)
    for each in (batch, urgent):
        each.score().report()
        folder = tmp_path / each.name
        folder.mkdir()
        each.assert_equal(local_results, folder)
