"""Shows or follows the logs of a run: its pods from the Kubernetes API, its Ray jobs and failures
from the store.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from components.launch.log import stored_logs
from pipelines import cluster_runs
from pipelines.console import say, warn
from pipelines.kfp.kfp_client import FINISHED, Kfp
from pipelines.log_follow import Lines, LogFollower, OnceEach, title
from pipelines.pod_logs import pod_logs
from xstilts.errors import InfrastructureError
from xstilts.store.store import Store

#: The namespace of a single-user KFP.
NAMESPACE = "kubeflow"


@dataclass(frozen=True)
class KfpServer:
    """How to reach KFP. host: None takes the one that `submit` recorded."""

    host: str | None = None
    namespace: str | None = None
    ca_cert: Path | None = None


def show(store: Store, run: str, namespace: str, tail: int) -> None:
    """Prints the logs as they are now. Without a cluster, those that the store has."""
    failures = cluster_runs.status(store, run)["failures"]
    unreachable = False
    try:
        for pod, phase, text in pod_logs(cluster_runs.kfp_id(store, run), namespace, tail):
            say(f"==> {pod} ({phase})\n{text.rstrip()}\n")
    except InfrastructureError as error:
        unreachable = True
        warn(str(error))
    jobs = [job for _, _, job in stored_logs(store, f"runs/{run}")]
    for job in jobs:
        say("\n".join([title(job), *Lines(tail).new(job, whole=True), ""]))
    for failure in failures:
        say(f"==> failed: {failure['what']}: {failure['error']}\n{failure['log'].rstrip()}\n")
    if unreachable and not failures and not jobs:
        raise InfrastructureError(
            f"no logs of {run}: the cluster is not reachable, and the store has no log or failure"
        )


def follow(store: Store, run: str, server: KfpServer, tail: int, every: float) -> None:
    """Prints new lines until the run ends."""
    cluster_runs.status(store, run)  # PlanError for an unknown run
    run_id = cluster_runs.kfp_id(store, run)
    follower = LogFollower(store, run, run_id, server.namespace or NAMESPACE, tail, say, warn)
    outcome = follower.until(_end_of(store, run, run_id, server), every)
    say(f"{run}: {outcome}")


def _end_of(store: Store, run: str, run_id: str, server: KfpServer) -> Callable[[], str | None]:
    """The function that returns how a run ended, None while it runs. It asks the run's folder,
    then KFP where its address is known.
    """
    host = server.host or (store.get_json(f"runs/{run}/kfp.json") or {}).get("host")
    kfp = Kfp(host, server.namespace, server.ca_cert) if host else None
    if kfp is None:
        warn(
            "without --host only the run's folder shows the end: a run that fails before its "
            "report is followed until you interrupt"
        )
    warnings = OnceEach(warn)

    def end() -> str | None:
        status = store.get_json(f"runs/{run}/status.json")
        if status is not None:
            return f"finished, exit code {status['exit_code']}"
        if store.get_json(f"runs/{run}/cancelled.json") is not None:
            return "cancelled"
        if kfp is None:
            return None
        try:
            state = str(kfp.run(run_id).state or "")
        except InfrastructureError as error:
            warnings("KFP", f"{error}; following by the run's folder")
            return None
        warnings("KFP", None)
        return f"KFP state {state.lower()}" if state in FINISHED else None

    return end
