"""Shows or follows the logs of a run: its pods from the Kubernetes API, and what the run's folder
has of its tasks, its Ray jobs and its failures.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from components.launch.log import StoredLog, logs_key, stored_logs
from pipelines import cluster_runs
from pipelines.console import say, warn
from pipelines.log_follow import Lines, LogFollower, Selection, title
from pipelines.log_noise import NoiseFilter
from pipelines.log_steps import StepName, step_of_log
from pipelines.outages import Outages
from pipelines.pod_logs import Pod, configure, log_of, pods_of
from pipelines.run_status import KfpServer, RunStatus, status_of
from xstilts.errors import InfrastructureError
from xstilts.store.store import Store

#: The namespace of a single-user KFP.
NAMESPACE = "kubeflow"
#: The kinds of work in a run's folder → the components that run each item.
_TASKS = {
    "sources": ("stage",), "builds": ("build",), "encodings": ("stage",),
    "groups": ("finetune", "score"),
}  # fmt: skip


@dataclass(frozen=True)
class LogPart:
    """The log of one pod or job. started: seconds since the epoch."""

    started: float
    title: str
    step: StepName
    lines: list[str]


def show(store: Store, run: str, namespace: str, selection: Selection) -> None:
    """Prints the logs as they are now, in the order in which the steps started. Without a cluster,
    those that the store has.
    """
    status = Outages(warn).outlast(lambda: status_of(store, run))
    pods: list[Pod] = []
    reachable = True
    try:
        configure()
        pods = pods_of(cluster_runs.kfp_id(store, run), namespace)
    except InfrastructureError as error:
        reachable = False
        warn(str(error))
    parts = [
        *_of_pods(pods, namespace, selection),
        *_of_store(store, run, {pod.name for pod in pods}, selection),
    ]
    for part in sorted(parts, key=lambda part: part.started):
        say("\n".join([part.title, *part.lines, ""]))
    for wait in status.waits:
        say(f"==> {wait.title} (waiting)\n{'; '.join(wait.reasons)}\n")
    for failure in status.failures:
        say(f"==> failed: {failure['what']}: {failure['error']}\n{failure['log'].rstrip()}\n")
    if not parts and not status.failures and selection == Selection(selection.tail):
        where = "has no pods of it" if reachable else "is not reachable"
        raise InfrastructureError(
            f"no logs of {run}: the cluster {where}, and the store has no log or failure"
        )
    if reachable and not pods:
        _say_what_is_gone(store, status, {part.step for part in parts}, selection)


def _say_what_is_gone(
    store: Store, status: RunStatus, shown: set[StepName], selection: Selection
) -> None:
    warn(
        "the run's pods are deleted (KFP does so after its end, by default in an hour); the logs "
        "are from the run's folder, which keeps the end of each"
    )
    tasks = {(step.kind, step.item) for step in shown}
    absent = [
        step
        for step in _tasks(store, status.run)
        if (step.kind, step.item) not in tasks and step.matches(selection.step)
    ]
    if absent and selection.since is None:
        warn(f"no log is left of {', '.join(map(str, absent))}; they did not run, or kept none")


def _tasks(store: Store, run: str) -> Iterator[StepName]:
    """The tasks that a run has, from its folder."""
    yield StepName("plan")
    work = store.get_json(f"runs/{run}/work.json") or {}
    for kind, components in _TASKS.items():
        for component in components:
            yield from (StepName(component, item) for item in work.get(kind, ()))
    yield StepName("report")


def _of_pods(pods: list[Pod], namespace: str, selection: Selection) -> Iterator[LogPart]:
    options: dict[str, int] = {"tail_lines": selection.tail}
    if selection.since is not None:
        options["since_seconds"] = max(int(selection.since), 1)
    for pod in pods:
        if not pod.step.matches(selection.step):
            continue
        if pod.phase == "Pending":
            yield LogPart(pod.created, pod.title, pod.step, [pod.waiting])
            continue
        try:
            lines = log_of(pod.name, namespace, **options).rstrip().split("\n")
        except InfrastructureError as error:  # a deleted pod must not hide the others
            lines = [f"(no log: {error})"]
        yield LogPart(pod.created, pod.title, pod.step, NoiseFilter(selection.raw)(lines))


def _of_store(store: Store, run: str, pods: set[str], selection: Selection) -> Iterator[LogPart]:
    """The stored logs of tasks whose pods are gone, and of jobs on Ray."""
    folder = f"runs/{run}"
    written = store.written(logs_key(folder))
    for key, _, log in stored_logs(store, folder):
        step = step_of_log(log)
        if log.pod in pods or not step.matches(selection.step):
            continue
        if selection.since is not None and written[key][1] < time.time() - selection.since:
            continue
        lines = Lines(selection.tail).new(log, whole=True)
        yield LogPart(_started(log), title(log), step, NoiseFilter(selection.raw)(lines))


def _started(log: StoredLog) -> float:
    return datetime.strptime(f"{log.started}+0000", "%Y%m%dT%H%M%SZ%z").timestamp()


def follow(store: Store, run: str, server: KfpServer, selection: Selection, every: float) -> int:
    """Prints new lines until the run ends. Returns the run's exit code, 0 if it is not known."""
    outages = Outages(warn)
    run_id = outages.outlast(lambda: cluster_runs.kfp_id(store, run))
    namespace = server.namespace or NAMESPACE
    follower = LogFollower(store, run, run_id, namespace, selection, say, warn)
    ends: list[RunStatus] = []
    outcome = follower.until(_end_of(store, run, server, ends), every, outages)
    say(f"{run}: {outcome}")
    return ends[-1].state.exit_code or 0


def _end_of(
    store: Store, run: str, server: KfpServer, ends: list[RunStatus]
) -> Callable[[], str | None]:
    """The function that returns how a run ended, None while it runs, and appends its last status to
    `ends`. It asks the run's folder, and KFP where its address is known.
    """
    kfp = server.client(store, run)
    if kfp is None:
        warn(
            "without --host only the run's folder shows the end: a run that fails before its "
            "report is followed until you interrupt"
        )

    def end() -> str | None:
        status = status_of(store, run)
        if not status.state.ended and kfp is not None:
            status = status_of(store, run, kfp)
        if not status.state.ended:
            return None
        ends.append(status)
        return f"{status.state}, exit code {status.state.exit_code}"

    return end
