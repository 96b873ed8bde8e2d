"""A Kubeflow Pipelines server that keeps state and checks each request like the real one: against
the API's generated models, with unknown fields rejected, and packages against the pipeline
specification.
"""

import json
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api
import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipelines.cluster_settings import ClusterSettings
from pipelines.kfp.package import compiled
from xstilts.store.server import serve
from xstilts.store.store import Store

SECRET = "planted-secret-0f1e2d3c4b5a"
TOKEN = "planted-token-5a4b3c2d1e0f"
#: Short pages, so that a client that does not request the next page fails.
PAGE = 2

Json = dict[str, Any]


class Refused(Exception):
    """An error response."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def check(model: str, data: Any) -> None:
    """Rejects values that do not match a model of the API, such as unknown fields."""
    kind = getattr(kfp_server_api.models, model, None)
    if kind is None or not isinstance(data, Mapping):
        if (
            kind is not None
            and getattr(kind, "allowable_values", None)
            and data not in kind.allowable_values
        ):
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

    # ---- what it does ----

    def answer(self, request: Request) -> Json:
        asked = f"{request.method} {request.path}"
        for pattern, function in ROUTES.items():
            match = re.fullmatch(pattern, asked)
            if match:
                return function(self, request, *match.groups())
        raise Refused(404, f"no such method: {asked}")

    def listed(
        self, request: Request, kind: str, name: str, keep: Callable[[Json], bool] = lambda _: True
    ) -> Json:
        wanted = None
        if request.query.get("filter"):
            (predicate,) = json.loads(request.query["filter"])["predicates"]
            check(
                "V2beta1Predicate",
                {{"stringValue": "string_value"}.get(k, k): v for k, v in predicate.items()},
            )
            assert (predicate["operation"], predicate["key"]) == ("EQUALS", "display_name")
            wanted = predicate["stringValue"]
        rows = [
            row
            for row in self.kept[kind].values()
            if wanted in (None, row["display_name"]) and keep(row)
        ]
        start = int(request.query.get("page_token") or 0)
        more = {"next_page_token": str(start + PAGE)} if start + PAGE < len(rows) else {}
        return {name: rows[start : start + PAGE], "total_size": len(rows), **more}

    def made(self, request: Request, kind: str, model: str, key: str, unique: bool = True) -> Json:
        body = json.loads(request.body)
        check(model, body)
        if unique and body["display_name"] in self.named(kind):
            raise Refused(409, f"{body['display_name']} already exists")
        body[key] = str(uuid.uuid4())
        self.kept[kind][body[key]] = body
        return body

    def found(self, kind: str, key: str) -> Json:
        if key not in self.kept[kind]:
            raise Refused(404, f"{kind} {key} not found")
        return self.kept[kind][key]

    def runnable(self, body: Json) -> None:
        reference = body["pipeline_version_reference"]
        version = self.found("versions", reference["pipeline_version_id"])
        assert version["pipeline_id"] == reference["pipeline_id"]
        self.found("experiments", body["experiment_id"])
        declared = next(yaml.safe_load_all(self.packages[version["pipeline_version_id"]]))["root"][
            "inputDefinitions"
        ]
        if set(body["runtime_config"]["parameters"]) != set(declared["parameters"]):
            raise Refused(400, "parameters do not match the pipeline's")

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
        }  # fmt: skip
        return self.kept["versions"][key]

    def start(self, request: Request) -> Json:
        self.runnable(json.loads(request.body))
        run = self.made(request, "runs", "V2beta1Run", "run_id", unique=False)
        run["state"], run["asked"] = self.states[0], 0
        return {key: value for key, value in run.items() if key != "asked"}

    def tell(self, key: str) -> Json:
        run = self.found("runs", key)
        if run["state"] not in ("CANCELING", "CANCELED"):
            run["state"] = self.states[min(run["asked"], len(self.states) - 1)]
        run["asked"] += 1
        if run["state"] in ("SUCCEEDED", "FAILED"):
            self.finished(run)
        return {name: value for name, value in run.items() if name != "asked"}

    def terminate(self, key: str) -> Json:
        self.found("runs", key)["state"] = "CANCELED"
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
        return made

    def switch(self, key: str, what: str) -> Json:
        self.found("recurringruns", key)["mode"] = what.upper()
        return {}

    def drop(self, key: str) -> Json:
        self.found("recurringruns", key)
        del self.kept["recurringruns"][key]
        return {}


API = "/apis/v2beta1"
ROUTES: Mapping[str, Callable[..., Json]] = {
    f"GET {API}/experiments": lambda s, r: s.listed(r, "experiments", "experiments"),
    f"POST {API}/experiments": lambda s, r: s.made(
        r, "experiments", "V2beta1Experiment", "experiment_id"
    ),
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
}


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
            fault, asked = server.fault, f"{request.method} {request.path}"
            if fault is not None and fault[0] in asked:
                self.reply(fault[1], fault[2].encode())
                return
            if server.lost and server.lost in asked:  # carried out, and the response is lost
                server.answer(request)
                if server.lost_as:
                    self.reply(server.lost_as, b"gateway time-out")
                return
            try:
                self.reply(200, json.dumps(server.answer(request)).encode())
            except Refused as error:
                self.reply(error.status, json.dumps({"message": error.message}).encode())
            except (KeyError, ValueError, AssertionError, TypeError) as error:
                self.reply(
                    400, json.dumps({"message": f"{type(error).__name__}: {error}"}).encode()
                )

        do_GET = do_POST = do_DELETE = work

        def reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@pytest.fixture
def kfp_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler(server))
    http.daemon_threads = True
    thread = threading.Thread(
        target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    server.address = f"http://127.0.0.1:{http.server_address[1]}"
    monkeypatch.setenv("XSTILTS_KFP_TOKEN", TOKEN)
    yield server
    http.shutdown()
    http.server_close()


@pytest.fixture(scope="session")
def s3(
    tmp_path_factory: pytest.TempPathFactory, write_mirror: Callable[..., Path]
) -> Iterator[Mapping[str, str]]:
    """An S3 server with a planted secret, and a mirror at s3://xstilts/mirror. Yields its
    environment.
    """
    folder = tmp_path_factory.mktemp("s3")
    write_mirror(folder / "xstilts" / "mirror")
    with serve(folder, keys=("xstilts", SECRET)) as server:
        yield {**server.env(), "XSTILTS_CACHE": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture
def store(s3: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Store:
    """A new store for each test."""
    for key, value in s3.items():
        monkeypatch.setenv(key, value)
    return Store.open(
        f"s3://xstilts/store-{uuid.uuid4().hex[:8]}", cache=Path(os.environ["XSTILTS_CACHE"])
    )


_PACKAGES: dict[str, tuple[str, str]] = {}


@pytest.fixture(autouse=True)
def _compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands compile a package once for equal settings: compiling takes a second, and
    test_pipeline.py checks it.
    """

    def once(settings: ClusterSettings) -> tuple[str, str]:
        key = settings.model_dump_json()
        if key not in _PACKAGES:
            _PACKAGES[key] = compiled(settings)
        return _PACKAGES[key]

    monkeypatch.setattr("pipelines.cluster_runs.compiled", once)
