"""A Kubeflow Pipelines server that keeps state and answers like KFP 2.17.

Requests are checked like the real server checks them: against the API's generated models, with
unknown fields rejected, and packages against the pipeline specification. tests/pipelines/kfp/
test_recordings.py compares the answers with those of a real server.
"""

import json
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

#: The longest page, so that a client that does not request the next page fails.
PAGE = 2
NAMESPACE = "kubeflow"
FINISHED = ("SUCCEEDED", "FAILED", "SKIPPED")
#: HTTP status → code of gRPC, as the server's gateway pairs them.
CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 500: 13, 501: 12, 503: 14, 504: 4}
#: `finished_at` of a run that has not finished, and `end_time` of a task that has not.
NEVER, TASK_NEVER = "1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z"
#: Each task has an entry for its driver, its retries and its executor.
PARTS = ("{}-driver", "{}-driver(0)", "{}", "{}(0)", "executor", "executor(0)")
PLUGINS = {
    "mlflow": {
        "entries": {"experiment_name": {"value": "KFP-Default"}},
        "state": "PLUGIN_FAILED",
        "state_message": "MLflow terminal sync skipped: missing parent root_run_id",
    }
}

Json = dict[str, Any]


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def error_body(status: int, message: str, detail: str | None = None) -> str:
    """The body of an error response of KFP's gateway."""
    code = CODES.get(status, 2)
    details = [{"@type": "type.googleapis.com/google.rpc.Status", "code": code}]
    details[0]["message"] = message if detail is None else detail
    return json.dumps({"code": code, "message": message, "details": details})


class Refused(Exception):
    """An error response. detail: the message of its details, if it is another one."""

    def __init__(self, status: int, message: str, detail: str | None = None) -> None:
        super().__init__(message)
        self.status, self.body = status, error_body(status, message, detail)


def check(model: str, data: Any) -> None:
    """Rejects values that do not match a model of the API, such as unknown fields."""
    kind = getattr(kfp_server_api.models, model, None)
    if kind is None or not isinstance(data, Mapping):
        allowed = getattr(kind, "allowable_values", None)
        if kind is not None and allowed and data not in allowed:
            raise Refused(400, f"{data!r} is not a {model}")
        expected = {"str": str, "bool": bool, "int": int}.get(model)
        if expected is not None and not isinstance(data, expected):
            raise Refused(400, f"{data!r} is not a {model}")
        return
    known = {name: kind.openapi_types[attribute] for attribute, name in kind.attribute_map.items()}
    for name, value in data.items():
        if name not in known:
            raise Refused(400, f"unknown field {name!r} in {model}")
        check(known[name], value)
    kfp_server_api.ApiClient()._ApiClient__deserialize(dict(data), model)


def task(run: Json, name: str, state: str | None) -> Json:
    """An entry of `task_details`. state: None for a task that never ran."""
    states = {None: [{}], "PENDING": [{"state": "PENDING"}]}.get(
        state, [{"state": "RUNNING"}, {"state": state}]
    )
    body = {
        "run_id": run["run_id"],
        "task_id": str(uuid.uuid4()),
        "display_name": name,
        "create_time": run["created_at"],
        "start_time": now(),
        "end_time": TASK_NEVER if state in ("PENDING", "RUNNING") else now(),
        **({} if state is None else {"state": state}),
        "state_history": [{"update_time": now(), **each} for each in states],
    }
    if not name.startswith("executor(") and state != "PENDING":
        body["child_tasks"] = [{"pod_name": f"intermediate-to-xtreme-r-8cv6r-{uuid.uuid4().node}"}]
    return body


def tasks(run: Json) -> list[Json]:
    """The entries of a run's tasks: plan has run, stage is where the run is, verdict comes last."""
    last: Mapping[str, tuple[str | None, ...]] = {
        "SUCCEEDED": ("SUCCEEDED", "SUCCEEDED"), "FAILED": ("FAILED", None),
        "CANCELING": ("RUNNING", None), "RUNNING": ("RUNNING", "PENDING"),
    }  # fmt: skip
    states = ("SUCCEEDED", *last.get(run["state"], ("SKIPPED", None)))
    entries = []
    for name, state in zip(("plan", "stage", "verdict"), states, strict=True):
        entries += [task(run, part.format(name), state) for part in PARTS]
    return entries


@dataclass
class Request:
    method: str
    path: str
    query: Json
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Server:
    """The server's state, its requests, and the faults it injects."""

    address: str = ""
    requests: list[Request] = field(default_factory=list)
    kept: dict[str, dict[str, Json]] = field(
        default_factory=lambda: {
            kind: {} for kind in ("experiments", "pipelines", "versions", "runs", "recurringruns")
        }
    )
    packages: dict[str, str] = field(default_factory=dict)
    #: An injected response: (part of "METHOD path", status, body).
    fault: tuple[str, int, str] | None = None
    #: Faults that are used up: one for each request, before `fault`.
    faults: list[tuple[str, int, str]] = field(default_factory=list)
    #: States of a run, one for each request; the last one stays.
    states: list[str] = field(default_factory=lambda: ["PENDING", "RUNNING", "SUCCEEDED"])
    silent: bool = False
    #: Part of "METHOD path": requests that are carried out although their response is lost.
    lost: str = ""
    #: The response instead: a gateway's status, or 0 for a closed connection.
    lost_as: int = 504
    finished: Callable[[Json], None] = lambda run: None

    def writes(self) -> list[str]:
        return [f"{r.method} {r.path}" for r in self.requests if r.method != "GET"]

    def named(self, kind: str) -> dict[str, Json]:
        return {value["display_name"]: value for value in self.kept[kind].values()}

    def injected(self, request: str) -> tuple[int, str] | None:
        """(status, body) of a fault that applies to a request."""
        if self.faults and self.faults[0][0] in request:
            return self.faults.pop(0)[1:]
        if self.fault is not None and self.fault[0] in request:
            return self.fault[1:]
        return None

    # ---- what it does ----

    def answer(self, request: Request) -> Json:
        line = f"{request.method} {request.path}"
        for pattern, function in ROUTES.items():
            match = re.fullmatch(pattern, line)
            if match:
                return function(self, request, *match.groups())
        raise Refused(404, "Not Found")

    def listed(
        self, request: Request, kind: str, name: str, keep: Callable[[Json], bool] = lambda _: True
    ) -> Json:
        wanted = None
        if request.query.get("filter"):
            (predicate,) = json.loads(request.query["filter"])["predicates"]
            names = {"stringValue": "string_value"}
            check("V2beta1Predicate", {names.get(k, k): v for k, v in predicate.items()})
            assert (predicate["operation"], predicate["key"]) == ("EQUALS", "display_name")
            wanted = predicate["stringValue"]
        rows = [
            row
            for row in self.kept[kind].values()
            if wanted in (None, row["display_name"]) and keep(row)
        ]
        if request.query.get("sort_by") == "created_at desc":
            rows.reverse()
        size = min(int(request.query.get("page_size") or PAGE), PAGE)
        start = int(request.query.get("page_token") or 0)
        more = {"next_page_token": str(start + size)} if start + size < len(rows) else {}
        return {name: [*map(shown, rows[start : start + size])], "total_size": len(rows), **more}

    def made(self, request: Request, kind: str, model: str, key: str, unique: bool = True) -> Json:
        body = json.loads(request.body)
        check(model, body)
        if unique and body["display_name"] in self.named(kind):
            raise Refused(409, f"{body['display_name']} already exists")
        body[key], body["created_at"] = str(uuid.uuid4()), now()
        self.kept[kind][body[key]] = body
        return body

    def found(self, kind: str, key: str) -> Json:
        if key not in self.kept[kind]:
            what = {"runs": "Run", "recurringruns": "Job"}.get(kind, kind)
            raise Refused(
                404,
                f"Failed to get a run: Failed to fetch run {key}: ResourceNotFoundError: {what} "
                f"{key} not found",
                f"{what} {key} not found",
            )
        return self.kept[kind][key]

    def runnable(self, body: Json) -> None:
        reference = body.get("pipeline_version_reference")
        if not reference:
            raise Refused(
                500,
                "Failed to create a new run: InternalServerError: Failed to create a run due to "
                "error fetching manifest: Invalid input error: Failed to fetch a template with an "
                "empty pipeline spec manifest",
                "Internal Server Error",
            )
        version = self.found("versions", reference["pipeline_version_id"])
        assert version["pipeline_id"] == reference["pipeline_id"]
        self.found("experiments", body["experiment_id"])
        declared = next(yaml.safe_load_all(self.packages[version["pipeline_version_id"]]))["root"][
            "inputDefinitions"
        ]
        if set(body["runtime_config"]["parameters"]) != set(declared["parameters"]):
            raise Refused(400, "parameters do not match the pipeline's")

    def experiment(self, request: Request) -> Json:
        made = self.made(request, "experiments", "V2beta1Experiment", "experiment_id")
        made |= {"storage_state": "AVAILABLE", "last_run_created_at": NEVER}
        return made

    def upload(self, request: Request) -> Json:
        header = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
        (part,) = BytesParser().parsebytes(header + request.body).get_payload()
        text = part.get_payload(decode=True).decode()
        pipeline, platform = yaml.safe_load_all(text)
        json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec())
        json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
        self.found("pipelines", request.query["pipelineid"])
        if request.query["name"] in self.named("versions"):
            raise Refused(409, "the version already exists")
        key = str(uuid.uuid4())
        self.packages[key] = text
        self.kept["versions"][key] = {
            "pipeline_id": request.query["pipelineid"], "pipeline_version_id": key,
            "display_name": request.query["name"], "name": request.query["name"],
            "created_at": now(),
        }  # fmt: skip
        return self.kept["versions"][key]

    def start(self, request: Request) -> Json:
        self.runnable(json.loads(request.body))
        made = self.made(request, "runs", "V2beta1Run", "run_id", unique=False)
        self.add_run(made["run_id"], made["display_name"], self.states[0])
        return shown(made)

    def add_run(self, run_id: str, name: str = "r", state: str = "RUNNING", **fields: Any) -> Json:
        """Keeps a run as if it had been started."""
        run = self.kept["runs"].setdefault(run_id, {})
        run |= {"run_id": run_id, "display_name": name, "created_at": now(), **fields}
        run |= {"scheduled_at": run["created_at"], "storage_state": "AVAILABLE", "asked": 0}
        run |= {"finished_at": NEVER, "state_history": []}
        if "recurring_run_id" not in run:
            run["plugins_output"] = PLUGINS
        self.enter(run, state)
        return run

    def fire(self, recurring: Json, state: str = "RUNNING") -> Json:
        """A run of a recurring run: it is named after its workflow, and has no account."""
        copied = ("experiment_id", "pipeline_version_reference", "runtime_config")
        return self.add_run(
            str(uuid.uuid4()),
            f"{recurring['display_name']}b9qbc-2-{uuid.uuid4().node}",
            state,
            recurring_run_id=recurring["recurring_run_id"],
            **{key: recurring[key] for key in copied},
        )

    def enter(self, run: Json, state: str) -> None:
        """Moves a run to a state. A terminated run ends as FAILED."""
        if run.get("state") != state:
            run["state_history"].append({"update_time": now(), "state": state})
        run["state"] = state
        if state in FINISHED:
            run["finished_at"] = now()
            self.finished(run)
        if state != "PENDING":
            run["run_details"] = {"task_details": tasks(run)}

    def tell(self, key: str) -> Json:
        run = self.found("runs", key)
        if run["state"] == "CANCELING" and run["asked"] > run["terminated"]:
            self.enter(run, "FAILED")
        elif "terminated" not in run:
            self.enter(run, self.states[min(run["asked"], len(self.states) - 1)])
        run["asked"] += 1
        return shown(run)

    def terminate(self, key: str) -> Json:
        run = self.found("runs", key)
        run["terminated"] = run["asked"]
        self.enter(run, "CANCELING")
        return {}

    def recur(self, request: Request) -> Json:
        body = json.loads(request.body)
        self.runnable(body)
        if not 1 <= int(body.get("max_concurrency") or 0) <= 10:
            raise Refused(
                400, "Max concurrency of a recurring run must be at least 1 and at most 10"
            )
        made = self.made(
            request, "recurringruns", "V2beta1RecurringRun", "recurring_run_id", unique=False
        )
        for name in [name for name, value in made.items() if value in (False, "", 0)]:
            del made[name]  # the real server omits unset fields
        made["namespace"] = NAMESPACE
        self.switched(made, made["mode"])
        return made

    def switched(self, recurring: Json, mode: str) -> None:
        recurring |= {"mode": mode, "status": f"{mode}D", "updated_at": now()}

    def switch(self, key: str, what: str) -> Json:
        self.switched(self.found("recurringruns", key), what.upper())
        return {}

    def drop(self, key: str) -> Json:
        self.found("recurringruns", key)
        del self.kept["recurringruns"][key]
        return {}


def shown(row: Json) -> Json:
    """What the server says of a row, without this stand-in's own notes."""
    return {name: value for name, value in row.items() if name not in ("asked", "terminated")}


API = "/apis/v2beta1"
ROUTES: Mapping[str, Callable[..., Json]] = {
    f"GET {API}/healthz": lambda s, r: {
        "commit_sha": "unknown", "tag_name": "unknown", "multi_user": False,
        "pipeline_store": "database",
    },
    f"GET {API}/experiments": lambda s, r: s.listed(r, "experiments", "experiments"),
    f"POST {API}/experiments": lambda s, r: s.experiment(r),
    f"GET {API}/pipelines": lambda s, r: s.listed(r, "pipelines", "pipelines"),
    f"POST {API}/pipelines": lambda s, r: s.made(r, "pipelines", "V2beta1Pipeline", "pipeline_id"),
    f"GET {API}/pipelines/([^/]+)/versions": lambda s, r, key: s.listed(
        r, "versions", "pipeline_versions", lambda row: row["pipeline_id"] == key
    ),
    f"POST {API}/pipelines/upload_version": lambda s, r: s.upload(r),
    f"POST {API}/runs": lambda s, r: s.start(r),
    f"GET {API}/runs": lambda s, r: s.listed(r, "runs", "runs"),
    f"GET {API}/runs/([^/:]+)": lambda s, r, key: s.tell(key),
    f"POST {API}/runs/([^/:]+):terminate": lambda s, r, key: s.terminate(key),
    f"GET {API}/recurringruns": lambda s, r: s.listed(r, "recurringruns", "recurringRuns"),
    f"POST {API}/recurringruns": lambda s, r: s.recur(r),
    f"POST {API}/recurringruns/([^/:]+):(enable|disable)": lambda s, r, key, what: s.switch(
        key, what
    ),
    f"DELETE {API}/recurringruns/([^/:]+)": lambda s, r, key: s.drop(key),
}  # fmt: skip


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def work(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            request = Request(self.command, parts.path, query, dict(self.headers.items()), body)
            server.requests.append(request)
            if server.silent:
                time.sleep(5)
                return
            line = f"{request.method} {request.path}"
            if (fault := server.injected(line)) is not None:
                self.reply(fault[0], fault[1].encode())
                return
            if server.lost and server.lost in line:  # carried out, and the response is lost
                server.answer(request)
                if server.lost_as:
                    self.reply(server.lost_as, b"gateway time-out")
                return
            try:
                self.reply(200, json.dumps(server.answer(request)).encode())
            except Refused as error:
                self.reply(error.status, error.body.encode())
            except (KeyError, ValueError, AssertionError, TypeError) as error:
                self.reply(400, error_body(400, f"{type(error).__name__}: {error}").encode())

        do_GET = do_POST = do_DELETE = work

        def reply(self, status: int, body: bytes) -> None:
            if not status:  # the connection is closed
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
