"""A fake Kubernetes API with a run's pods and their logs."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

OURS = {"app.kubernetes.io/part-of": "xstilts", "pipeline/runid": "run-1"}


def pod(name: str, phase: str, made: str, labels: dict[str, str], **status: Any) -> dict[str, Any]:
    """A pod that was created in minute `made`. It runs the component at the start of its name."""
    kind, _, number = name.partition("-")
    inputs = {
        "run": "s3://b/p/runs/r",
        **({"batch": f"sources-{number}"} if kind == "stage" else {}),
    }
    executor_input = json.dumps({"inputs": {"parameterValues": inputs}})
    node = f"intermediate-to-xtreme-r-8cv6r(0).root(0).{kind}(0).executor(0)"
    container = {
        "name": "main",
        "command": ["/kfp-launcher/launch", "--executor_input", executor_input, "--"],
        "args": ["sh", "-ec", "", "--executor_input", "{{$}}", "--function_to_execute", kind],
    }
    metadata = {
        "name": name,
        "labels": labels,
        "creationTimestamp": f"2026-11-25T10:{made}:00Z",
        "annotations": {"workflows.argoproj.io/node-name": node},
    }
    status = {"phase": phase, **status}
    return {"metadata": metadata, "spec": {"containers": [container]}, "status": status}


@dataclass
class Cluster:
    """The responses of the API. A status other than 200 applies to requests whose path ends with
    the word. logs: pod → lines with time stamps; a pod without lines logs its name.
    """

    pods: list[dict[str, Any]]
    logs: dict[str, list[str]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list)
    fault: tuple[str, int] | None = None

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, str]:
        self.asked.append((path, query))
        if self.fault is not None and path.endswith(self.fault[0]):
            return self.fault[1], "{}"
        if path == "/api/v1/namespaces/kubeflow/pods":
            return 200, json.dumps({"kind": "PodList", "apiVersion": "v1", "items": self.pods})
        name = path.split("/")[-2]
        if name not in self.logs:
            return 200, f"log of {name}\n"
        lines = self.logs[name]
        return 200, "".join(
            f"{line}\n" for line in lines[-int(query.get("tailLines", ["1000"])[0]) :]
        )


@contextmanager
def served(state: Cluster, kubeconfig: Path) -> Iterator[None]:
    """Serves the API, and writes the file that leads to it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            status, text = state.answer(parts.path, parse_qs(parts.query))
            self.send_response(status)
            self.send_header(
                "Content-Type", "application/json" if text.startswith("{") else "text/plain"
            )
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{http.server_address[1]}"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }  # fmt: skip
    kubeconfig.write_text(yaml.safe_dump(config))
    try:
        yield
    finally:
        http.shutdown()
        http.server_close()
