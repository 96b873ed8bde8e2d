"""Whole runs through RayJobs: equal to the run on one machine, whatever is killed meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.kube import until
from tests.cluster.runs import Run
from tests.cluster.tasks import Task


@pytest.mark.slow
def test_a_run_with_two_workers_equals_the_local_run_to_the_bit(
    run: Run, local_results: Path, tmp_path: Path
) -> None:
    run.train().score().report()
    run.assert_equal(local_results, tmp_path)
    run.wait_for_no_orphan()
    assert run.leases() == []


@dataclass(frozen=True)
class Case:
    """What is killed. kill: of a run and its finetune task; needs: the role of the Ray pod that must
    exist; restarts: whether training starts again from a checkpoint, in the same RayJob or another, as
    the operator decides; processes: whether components of the cluster are killed.
    """

    kill: Callable[[Run, Task], None]
    needs: str = ""
    restarts: bool = False
    processes: bool = False


def _component(name: str, seconds: float) -> Callable[[Run, Task], None]:
    return lambda run, task: run.cluster.restart_process(name, seconds)


CASES = {
    "step pod": Case(lambda run, task: task.kill()),
    "head": Case(lambda run, task: run.kill("head"), needs="head", restarts=True),
    "worker": Case(lambda run, task: run.kill("worker"), needs="worker", restarts=True),
    "operator": Case(lambda run, task: run.cluster.restart_operator()),
    "kubelet": Case(_component("kubelet", 15), processes=True),
    "API server": Case(_component("apiserver", 10), processes=True),
}
#: Moment → (whether it has come, whether it has passed).
MOMENTS: dict[str, tuple[Callable[[Run, Case], bool], Callable[[Run], bool]]] = {
    "before it runs": (
        lambda run, case: bool(run.ray_pods(case.needs) if case.needs else run.jobs()),
        lambda run: bool(run.attempts()),
    ),
    "while it trains": (
        lambda run, case: bool(run.checkpoints()) or run.done("finetune") > 0,
        lambda run: run.done("finetune") == run.planned("finetune"),
    ),
    "near the end": (
        lambda run, case: run.done("finetune") >= run.planned("finetune") - 1,
        lambda run: run.done("score") == run.planned("score"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("victim", CASES)
def test_a_kill_changes_no_result(
    run: Run,
    local_results: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    victim: str,
    moment: str,
) -> None:
    case, (come, passed) = CASES[victim], MOMENTS[moment]
    if case.processes:
        request.getfixturevalue("processes")
    task = run.finetune()
    until(lambda: come(run, case), task.log, 300, 0.2)
    assert not passed(run), f"too late: not {moment}"
    job = run.job()["metadata"]["uid"]
    case.kill(run, task)
    jobs = {job}

    def ended() -> bool:
        jobs.update(run.uids())
        return task.succeeded()

    until(ended, task.log, 600, 1)
    if not case.restarts:
        assert jobs == {job}
        assert set(run.attempts().values()) <= {1}
    run.score().report()
    run.assert_equal(local_results, tmp_path)
    run.wait_for_no_orphan()
    assert run.leases() == []


@pytest.mark.slow
def test_a_run_whose_api_server_restarts_at_every_phase_ends_well(
    run: Run, processes: None, local_results: Path, tmp_path: Path
) -> None:
    restart = _component("apiserver", 5)
    task = run.finetune()
    phases: dict[str, Callable[[], object]] = {
        "the step starts": lambda: task.phase() == "Running",
        "the RayJob exists": run.jobs,
        "the head exists": lambda: run.ray_pods("head"),
        "the job runs": lambda: run.phase() == "Running/RUNNING",
        "it trains": run.attempts,
        "near the end": lambda: run.done("finetune") >= run.planned("finetune") - 1,
    }
    for reached in phases.values():
        until(reached, task.log, 300, 0.2)
        restart(run, task)
    task.wait(600)
    run.score().report()
    run.assert_equal(local_results, tmp_path)
    run.wait_for_no_orphan()
    assert run.leases() == []
