"""The places where a group's job can run: a RayJob, a job of an existing Ray cluster, this machine.

All have the same few methods and report an Observation, so that one state machine serves them all.
"""

import functools
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from components.launch import waiting
from components.launch.capacity import grows, problem_of
from components.launch.kubernetes import Api, ApiError, RayJobs
from components.launch.rayjob import build, entrypoint, name_of, namespace, owner_of, queue_of
from components.launch.rules import checked
from components.launch.state import Limits, Observation
from xstilts.errors import InfrastructureError
from xstilts.plan.placement import Cluster

log = logging.getLogger(__name__)
#: How long polling a status may fail: the job continues without the API server.
OUTAGE_SECONDS = 1800.0
#: Pods whose events are read to say why they wait.
MOST_PODS = 3
_STATUS = {
    "PENDING": ("Running", "PENDING", ""), "RUNNING": ("Running", "RUNNING", ""),
    "SUCCEEDED": ("Complete", "SUCCEEDED", ""), "STOPPED": ("Complete", "STOPPED", ""),
    "FAILED": ("Failed", "FAILED", "AppFailed"),
}  # fmt: skip


class Backend(Protocol):
    """limits: timeouts of the job. leased: whether its driver needs a lease. namespace: of the job
    in Kubernetes, or empty.
    """

    name: str
    namespace: str
    limits: Limits
    leased: bool

    def observe(self) -> Observation: ...
    def create(self) -> None: ...
    def adopt(self) -> None: ...
    def delete(self) -> None: ...
    def reasons(self) -> list[str]: ...


class RayJobBackend:
    """One RayJob for each job."""

    leased = True

    def __init__(
        self,
        settings: Mapping[str, Any],
        environment: Mapping[str, str],
        config: Mapping[str, Any],
        api: Api,
    ) -> None:
        self.owner = _owner(api, environment)
        self.manifest = checked(build(settings, environment, config, self.owner))
        self.job: Mapping[str, Any] | None = None
        self._unreadable: set[str] = set()
        metadata, spec = self.manifest["metadata"], self.manifest["spec"]
        self.name, self.namespace = metadata["name"], metadata["namespace"]
        self.jobs = RayJobs(api, self.namespace)
        queue, kubectl = queue_of(settings, environment), f"kubectl -n {self.namespace}"
        hint = f"see `{kubectl} describe workload rayjob-{self.name}`"
        cluster = Cluster.model_validate(settings.get("cluster") or {})
        self.limits = Limits(
            queue=cluster.queue_hours * 3600,
            start=float(spec["preRunningDeadlineSeconds"]),
            run=float(spec["activeDeadlineSeconds"]),
            queue_of=f"queue {queue} of namespace {self.namespace}; {hint}"
            if queue
            else f"no queue: it was suspended by hand (`{kubectl} get rayjob {self.name}`)",
        )

    def observe(self) -> Observation:
        job = self.job = self.jobs.get(self.name, OUTAGE_SECONDS)
        if job is None:
            return Observation()
        status = job.get("status", {})
        return Observation(
            deployment=status.get("jobDeploymentStatus") or "",
            job=status.get("jobStatus") or "",
            reason=status.get("reason") or "",
            message=status.get("message") or "",
            deleting="deletionTimestamp" in job["metadata"],
        )

    def create(self) -> None:
        self.jobs.create(self.manifest)  # an existing one is adopted or replaced at the next poll

    def adopt(self) -> None:
        if self.owner is not None:
            self.jobs.own(self.name, self.owner)

    def delete(self) -> None:
        self.jobs.delete(self.name)

    def reasons(self) -> list[str]:
        """Why the observed job does not run. What cannot be read is left out with a warning."""
        job = self.job
        if job is None:
            return []
        uid, cluster = job["metadata"]["uid"], job.get("status", {}).get("rayClusterName")
        queued = waiting.is_queued(job)
        pods = self._read("pods", lambda: self.jobs.pods(cluster)) if cluster else []
        workloads = self._read("workloads", lambda: self.jobs.workloads(uid)) if queued else None
        silent = [
            pod["metadata"]["name"]
            for pod in pods or []
            if pod.get("status", {}).get("phase") == "Pending" and not waiting.pod_reason(pod)
        ]
        about = [("RayJob", self.name), *([("RayCluster", cluster)] if cluster else [])]
        about += [("Pod", name) for name in silent[:MOST_PODS]]
        if workload := waiting.newest(workloads or []):
            about.append(("Workload", workload["metadata"]["name"]))
        events = [
            event
            for kind, name in about
            for event in self._read("events", functools.partial(self.jobs.events, kind, name)) or []
        ]
        return waiting.reasons(job, pods or [], workloads, events)

    def _read(
        self, what: str, read: Callable[[], list[dict[str, Any]]]
    ) -> list[dict[str, Any]] | None:
        """The objects, None if they cannot be read; the job does not depend on them."""
        try:
            return read()
        except ApiError as error:
            if what not in self._unreadable:
                log.warning("%s: cannot read %s to say why it waits: %s", self.name, what, error)
            self._unreadable.add(what)
            return None


def _owner(api: Api, environment: Mapping[str, str]) -> dict[str, Any] | None:
    """The owner of the step's RayJob. None outside a pod, for a pod that is gone, and across
    namespaces, where Kubernetes would find no such owner and delete the RayJob at once.
    """
    name, uid = environment.get("XSTILTS_POD_NAME"), environment.get("XSTILTS_POD_UID")
    own = environment.get("XSTILTS_NAMESPACE")
    if not name or not uid or not own or namespace(environment) != own:
        return None
    try:
        pod = api.request("GET", f"/api/v1/namespaces/{own}/pods/{name}")
    except ApiError as error:
        if error.status == 404 and error.names_object:
            return None
        raise
    return owner_of(pod)


class RayBackend:
    """A job of an existing Ray cluster, by its dashboard's job API (token: RAY_AUTH_TOKEN)."""

    leased, namespace = True, ""

    def __init__(
        self,
        settings: Mapping[str, Any],
        environment: Mapping[str, str],
        config: Mapping[str, Any],
        api: Api,
    ) -> None:
        self.api, self.config, self.environment = api, config, environment
        self.name = name_of(
            config["run_uri"].rpartition("/runs/")[2], config["group"], config["kind"]
        )
        hours = (settings.get("cluster") or {}).get("deadline_hours")
        self.limits = Limits(run=None if hours is None else float(hours) * 3600)
        self.settings = settings

    def observe(self) -> Observation:
        try:
            job = self.api.request("GET", f"/api/jobs/{self.name}", patience=OUTAGE_SECONDS)
        except ApiError as error:
            if error.status == 404:
                return Observation()
            raise
        if job["status"] not in _STATUS:
            raise InfrastructureError(
                f"Ray at {self.api.host}: unknown status {job['status']!r} of job {self.name}"
            )
        deployment, status, reason = _STATUS[job["status"]]
        return Observation(deployment, status, reason, job.get("message") or "")

    def create(self) -> None:
        self._check_capacity()
        names = (
            "AWS_ENDPOINT_URL",
            "AWS_REGION",
            "AWS_DEFAULT_REGION",
            "XSTILTS_LEASE_SECONDS",
            "XSTILTS_RESIZE_SECONDS",
            "XSTILTS_RAY_START_SECONDS",
        )
        values = {
            key: self.environment[key] for key in names if self.environment.get(key)
        }  # addresses only, no secrets
        body = {
            "submission_id": self.name,
            "entrypoint": entrypoint(self.config),
            "runtime_env": {"env_vars": values},
            "metadata": {
                "xstilts-run": self.config["run_uri"],
                "xstilts-group": self.config["group"],
            },
        }
        try:
            self.api.request("POST", "/api/jobs/", body=body, patience=10)
        except ApiError:
            if self.observe().deployment is None:  # Ray returns 500 for a job that exists
                raise

    def _check_capacity(self) -> None:
        """Raises InfrastructureError if the group can never fit: Ray would wait forever."""
        try:
            nodes = self.api.request("GET", "/api/v0/nodes", query={"limit": "10000"})["data"][
                "result"
            ]["result"]
            status = self.api.request("GET", "/api/cluster_status")["data"]
        except ApiError as error:
            if error.status != 404:
                raise
            log.warning(
                "Ray at %s does not list its nodes, so its capacity is not checked: %s",
                self.api.host,
                error,
            )
            return
        alive = [node["resources_total"] for node in nodes if node["state"] == "ALIVE"]
        problem = problem_of(alive, self.settings)
        if problem and not grows(status):
            raise InfrastructureError(f"Ray at {self.api.host}: {problem}")

    def adopt(self) -> None:
        """Nothing to do: only the lease ties the job to its step."""

    def delete(self) -> None:
        """Stops a running job, deletes an ended one: Ray does not delete running jobs."""
        try:
            if self.observe().ended:
                self.api.request("DELETE", f"/api/jobs/{self.name}")
            else:
                self.api.request("POST", f"/api/jobs/{self.name}/stop")
        except ApiError as error:
            if error.status != 404:
                raise

    def reasons(self) -> list[str]:
        return []


@dataclass
class LocalBackend:
    """A function that runs the group in this process."""

    run: Callable[[], None]
    name: str
    limits: Limits = field(default_factory=Limits)
    leased: bool = False
    namespace: str = ""
    seen: Observation = field(default_factory=Observation)

    def observe(self) -> Observation:
        return self.seen

    def create(self) -> None:
        try:
            self.run()
        except InfrastructureError as error:
            self.seen = Observation("Failed", "FAILED", "", str(error))
        else:
            self.seen = Observation("Complete", "SUCCEEDED")

    def adopt(self) -> None:
        raise AssertionError("a local job does not exist before it is created")

    def delete(self) -> None:
        self.seen = Observation()

    def reasons(self) -> list[str]:
        return []


def ray_api(address: str) -> Api:
    """The job API of a Ray cluster at `http://HOST:8265`. Raises InfrastructureError for another
    kind of address.
    """
    if not address.startswith(("http://", "https://")):
        raise InfrastructureError(
            f"XSTILTS_RAY_ADDRESS: {address!r} is not the URL of a dashboard; write http://HOST:8265"
        )
    return Api(address.rstrip("/"), lambda: os.environ.get("RAY_AUTH_TOKEN"))
