"""A scripted cluster: an HTTP server with the paths of the Kubernetes API and of Ray's job API.

It keeps objects with uids and resource versions, rejects what the API server rejects, deletes
objects without owners, and plays the operator from a script, one step at each tick. `faults`
replace the next responses.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]
#: A step of a script: the status that the operator writes, or something that happens to the job.
Step = Mapping[str, Any] | Callable[["ScriptedCluster", Object], None]

PENDING: Step = {"jobDeploymentStatus": "Initializing", "jobStatus": ""}
SUSPENDED: Step = {"jobDeploymentStatus": "Suspended", "jobStatus": ""}
RUNNING: Step = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
SUCCEEDED: Step = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
STOPPED: Step = {"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}
SAME: Step = {}
#: Status → the status in Ray's job API.
RAY = {"RUNNING": "RUNNING", "SUCCEEDED": "SUCCEEDED", "STOPPED": "STOPPED", "FAILED": "FAILED"}


def failed(reason: str, message: str = "", job: str = "FAILED") -> Step:
    deployment = "ValidationFailed" if reason == "ValidationFailed" else "Failed"
    return {
        "jobDeploymentStatus": deployment,
        "jobStatus": job,
        "reason": reason,
        "message": message,
    }


def vanish(cluster: "ScriptedCluster", job: Object) -> None:
    """Deletes the job by hand."""
    cluster.remove("rayjobs", job["metadata"]["name"])


@dataclass
class ScriptedCluster:
    """scripts: one for each job that is made; the last one also for those after it. A script
    ends in its last step.
    """

    scripts: list[list[Step]] = field(default_factory=lambda: [[RUNNING]])
    now: float = 1_800_000_000.0
    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    faults: list[Any] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    made: int = 0
    #: Resources of the nodes of an existing Ray cluster; whether it has an autoscaler.
    nodes: list[Mapping[str, float]] = field(
        default_factory=lambda: [{"CPU": 16.0, "GPU": 8.0}] * 2
    )
    autoscaling: bool = False
    #: Whether an access review is allowed, by its spec; whether KubeRay is installed.
    allowed: Callable[[Mapping[str, Any]], bool] = lambda spec: True
    kuberay: bool = True
    #: Whether Kueue's webhook suspends RayJobs.
    kueue: bool = True
    _version: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    # ---- what tests do ----

    def jobs(self) -> list[str]:
        return [name for kind, name in self.objects if kind == "rayjobs"]

    def job(self) -> Object:
        [name] = self.jobs()
        return self.objects["rayjobs", name]

    def count(self, start: str) -> int:
        return sum(request.startswith(start) for request in self.requests)

    def tick(self, seconds: float = 5.0) -> None:
        """Time passes: the operator takes one step with every job, and the garbage collector
        goes round.
        """
        with self._lock:
            self.now += seconds
            for (kind, name), job in list(self.objects.items()):
                if kind == "rayjobs" and (kind, name) in self.objects:
                    self._operate(job)
            self.collect()

    def add(self, kind: str, body: Object) -> Object:
        with self._lock:
            self._version += 1
            created = datetime.fromtimestamp(self.now, UTC).isoformat().replace("+00:00", "Z")
            body["metadata"] |= {
                "uid": f"uid-{self._version}", "resourceVersion": str(self._version), "creationTimestamp": created,
            }  # fmt: skip
            self.objects[kind, body["metadata"]["name"]] = body
            return body

    def remove(self, kind: str, name: str) -> None:
        with self._lock:
            self.objects.pop((kind, name), None)
            self.collect()

    def collect(self) -> None:
        """Deletes what has owners and none of them left; an owner in another namespace counts as
        gone.
        """
        while True:
            there = {
                (o["metadata"]["uid"], o["metadata"].get("namespace"))
                for o in self.objects.values()
            }
            lost = [
                key for key, thing in self.objects.items()
                if (owners := thing["metadata"].get("ownerReferences"))
                and not any((owner["uid"], thing["metadata"].get("namespace")) in there for owner in owners)
            ]  # fmt: skip
            if not lost:
                return
            for key in lost:
                del self.objects[key]

    # ---- the operator ----

    def _operate(self, job: Object) -> None:
        script, at = job["script"], job["at"]
        if at < len(script):
            job["at"] += 1
            step = script[at]
            if callable(step):
                step(self, job)
            elif step:
                job["status"] = dict(step)
                self._touch(job)
        running = job.get("status", {}).get("jobDeploymentStatus") == "Running"
        cluster = f"{job['metadata']['name']}-x"
        if running and ("rayclusters", cluster) not in self.objects:
            self._own("rayclusters", cluster, job)
            self._own("pods", f"{cluster}-head", self.objects["rayclusters", cluster])
        if not running:
            self.remove("rayclusters", cluster)

    def _own(self, kind: str, name: str, owner: Object) -> None:
        metadata = owner["metadata"]
        reference = {"uid": metadata["uid"], "name": metadata["name"]}
        self.add(
            kind,
            {
                "metadata": {
                    "name": name,
                    "namespace": metadata["namespace"],
                    "ownerReferences": [reference],
                }
            },
        )

    def _touch(self, thing: Object) -> None:
        self._version += 1
        thing["metadata"]["resourceVersion"] = str(self._version)

    def _start(self, body: Object) -> Object:
        body["script"], body["at"] = self.scripts[min(self.made, len(self.scripts) - 1)], 0
        self.made += 1
        return self.add("rayjobs", body)

    # ---- the two APIs ----

    def answer(self, verb: str, target: str, body: Any) -> tuple[int, Any]:
        url = urlsplit(target)
        query = {key: value[0] for key, value in parse_qs(url.query).items()}
        parts = url.path.strip("/").split("/")
        with self._lock:
            if parts == ["api", "v0", "nodes"]:
                dead = {
                    "node_id": "gone",
                    "state": "DEAD",
                    "resources_total": {"CPU": 1000.0, "GPU": 1000.0},
                }
                alive = [
                    {"node_id": i, "state": "ALIVE", "resources_total": n}
                    for i, n in enumerate(self.nodes)
                ]
                return 200, {"result": True, "data": {"result": {"result": [dead, *alive]}}}
            if parts == ["api", "cluster_status"]:
                types = {
                    f"n{i}": "gpu-workers" if self.autoscaling else f"node_n{i}"
                    for i in range(len(self.nodes) + 1)
                }
                return 200, {
                    "data": {"clusterStatus": {"autoscalerReport": {"nodeTypeMapping": types}}}
                }
            if parts[:2] == ["api", "jobs"]:
                return self._ray(verb, parts[2:], body)
            if parts == ["apis", "ray.io", "v1"]:
                return (
                    (200, {"resources": [{"name": "rayjobs"}]})
                    if self.kuberay
                    else (404, said("not found"))
                )
            if parts[:3] == ["apis", "ray.io", "v1"]:
                return self._rayjobs(verb, parts[4], parts[6:], query, body)
            return self._rest(url.path, parts, query, body)

    def _rayjobs(
        self, verb: str, namespace: str, name: list[str], query: Mapping[str, str], body: Any
    ) -> tuple[int, Any]:
        found = self.objects.get(("rayjobs", name[0])) if name else None
        if name and (found is None or found["metadata"]["namespace"] != namespace):
            return 404, said(f'rayjobs.ray.io "{name[0]}" not found', name[0])
        if verb == "GET" and found is None:
            return 200, {"items": self._selected("rayjobs", query)}
        if verb == "GET":
            return 200, found
        if verb == "POST" and "dryRun" in query:
            return 201, {**body, "spec": {**body["spec"], "suspend": self.kueue}}
        if verb == "POST":
            if ("rayjobs", body["metadata"]["name"]) in self.objects:
                return 409, said(f'rayjobs.ray.io "{body["metadata"]["name"]}" already exists')
            if body["metadata"]["namespace"] != namespace:
                return 400, said(
                    "the namespace of the object does not match the namespace of the request"
                )
            return 201, self._start(body)
        assert found is not None
        if verb == "PATCH":
            given = body["metadata"].get("resourceVersion")
            if given not in (None, found["metadata"]["resourceVersion"]):
                return 409, said(
                    "the object has been modified; please apply your changes to the latest version"
                )
            found["metadata"] |= {
                k: v for k, v in body["metadata"].items() if k != "resourceVersion"
            }
            self._touch(found)
            return 200, found
        if (body or {}).get("preconditions", {}).get("uid", found["metadata"]["uid"]) != found[
            "metadata"
        ]["uid"]:
            return 409, said("the UID in the precondition does not match the UID in record")
        self.remove("rayjobs", name[0])
        return 200, {}

    def _ray(self, verb: str, name: list[str], body: Any) -> tuple[int, Any]:
        if verb == "POST" and not name:
            if ("rayjobs", body["submission_id"]) in self.objects:
                return (
                    500,
                    f"ValueError: Job with submission_id {body['submission_id']} already exists.",
                )
            self._start(
                {"metadata": {"name": body["submission_id"], "namespace": "ray"}, "spec": body}
            )
            return 200, {"submission_id": body["submission_id"]}
        found = self.objects.get(("rayjobs", name[0]))
        if found is None:
            return 404, f"Job {name[0]} does not exist"
        status = found.get("status", {})
        state = RAY.get(status.get("jobStatus", ""), "PENDING")
        if verb == "GET":
            return 200, {
                "status": state,
                "message": status.get("message"),
                "submission_id": name[0],
            }
        if name[1:] == ["stop"]:
            found["status"], found["at"] = dict(STOPPED), 10**6  # type: ignore[call-overload]
            return 200, {"stopped": True}
        if state in ("PENDING", "RUNNING"):
            return 500, f"Job {name[0]} is in a non-terminal state"
        self.remove("rayjobs", name[0])
        return 200, {"deleted": True}

    def _selected(self, kind: str, query: Mapping[str, str]) -> list[Object]:
        wanted = dict(pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair)
        fields = dict(pair.split("=") for pair in query.get("fieldSelector", "").split(",") if pair)
        things = [thing for (k, _), thing in self.objects.items() if k == kind]
        return [
            thing
            for thing in things
            if wanted.items() <= thing["metadata"].get("labels", {}).items()
            and all(_field(thing, path) == value for path, value in fields.items())
        ]

    def _rest(
        self, path: str, parts: list[str], query: Mapping[str, str], body: Any
    ) -> tuple[int, Any]:
        if path == "/version":
            return 200, {"gitVersion": "v1.36.1"}
        if parts[-1].endswith("accessreviews"):
            return 201, {"status": {"allowed": self.allowed(body["spec"])}}
        kind, name = (
            (parts[-2], parts[-1]) if (parts[-2], parts[-1]) in self.objects else (parts[-1], "")
        )
        if name:
            return 200, self.objects[kind, name]
        if parts[-2] == "pods":
            return 404, said(f'pods "{parts[-1]}" not found', parts[-1])
        items = self._selected(kind, query)
        listed = items or kind in ("events", "pods", "workloads")
        return (200, {"items": items}) if listed else (404, said(f'{kind} "{path}" not found'))


def said(message: str, name: str = "") -> Object:
    """A Status; one about an object names it in its details."""
    details = {"details": {"name": name}} if name else {}
    return {"kind": "Status", "status": "Failure", "message": message, **details}


def _field(thing: Object, path: str) -> Any:
    for key in path.split("."):
        thing = thing.get(key, {})
    return thing


@contextmanager
def served(cluster: ScriptedCluster) -> Iterator[str]:
    """Serves the cluster at the address that it yields."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            cluster.requests.append(f"{self.command} {self.path}")
            fault = cluster.faults.pop(0) if cluster.faults else None
            if fault == "drop":
                self.close_connection = True
                return
            if fault == "drop after":  # carried out, and the response is lost
                cluster.answer(self.command, self.path, body)
                self.close_connection = True
                return
            status, answer = (
                fault
                if isinstance(fault, tuple)
                else (fault, said("scripted"))
                if fault
                else cluster.answer(self.command, self.path, body)
            )
            data = (
                answer.encode()
                if isinstance(answer, str)
                else json.dumps(answer, default=lambda _: None).encode()
            )
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = handle_any

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
