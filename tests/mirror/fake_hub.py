"""A local hub with the paths that huggingface_hub requests, over a dict of repositories, and with
faults on demand.
"""

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

from xstilts.sources import hub as hub_module
from xstilts.sources.mirrors import _hub_revision

#: Files of at least this many bytes are listed as LFS files, with a SHA-256.
LFS = 200


@dataclass
class FakeHub:
    """A hub and its faults.

    repos: `datasets/org/name` or `models/org/name` → revision → file → bytes. refs: the same →
    branch → revision. gated: names that answer 401. busy: how many more requests are answered 429.
    spoil: file → how often corrupt bytes are served. cut: file → how often the connection breaks
    half-way. stall: files of which only half is sent. requests: how often each file was served.
    ranges: the Range headers.
    """

    repos: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    refs: dict[str, dict[str, str]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    busy: int = 0
    spoil: Counter[str] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)
    stall: set[str] = field(default_factory=set)
    requests: Counter[str] = field(default_factory=Counter)
    ranges: list[str] = field(default_factory=list)

    def add(self, name: str, files: dict[str, bytes], ref: str = "main") -> str:
        """A new commit on a branch, named after its content."""
        content = json.dumps(
            {file: hashlib.sha1(data).hexdigest() for file, data in sorted(files.items())}
        )
        commit = hashlib.sha1(f"{name}{ref}{content}".encode()).hexdigest()
        self.repos.setdefault(name, {})[commit] = files
        self.refs.setdefault(name, {})[ref] = commit
        return commit


def _tree(files: dict[str, bytes]) -> list[dict[str, Any]]:
    rows = []
    for name, data in sorted(files.items()):
        git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        row: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": git}
        if len(data) >= LFS:
            row["lfs"] = {
                "oid": hashlib.sha256(data).hexdigest(),
                "size": len(data),
                "pointerSize": 130,
            }
        rows.append(row)
    return rows


@contextmanager
def serving(hub: FakeHub) -> Iterator[str]:
    """Serves on a free port; yields the address for HF_ENDPOINT."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None: ...

        def _send(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def _error(self, status: int, code: str) -> None:
            self._send(
                status,
                json.dumps({"error": code}).encode(),
                X_Error_Code=code,
                X_Error_Message=code,
            )

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path).strip("/")
            if hub.busy > 0:
                hub.busy -= 1
                return self._send(429, b"{}", Retry_After="0")
            if path.startswith("api/") and path.count("/") < 4:
                return self._error(404, "NotFound")  # other requests of the client
            if path.startswith("api/"):
                kind, org, name, what, *rest = path.removeprefix("api/").split("/", 4)
                repo, revision = f"{kind}/{org}/{name}", rest[0] if rest else ""
            else:
                parts = (
                    path.split("/")
                    if path.startswith("datasets/")
                    else ["models", *path.split("/")]
                )
                repo, what, revision = "/".join(parts[:3]), parts[3], parts[4]
            if repo in hub.gated:
                return self._error(401, "GatedRepo")
            if repo not in hub.repos:
                return self._error(404, "RepoNotFound")
            commit = hub.refs[repo].get(revision, revision)
            if commit not in hub.repos[repo]:
                return self._error(404, "RevisionNotFound")
            files = hub.repos[repo][commit]
            if what == "revision":
                return self._send(
                    200,
                    json.dumps(
                        {"id": repo.split("/", 1)[1], "sha": commit, "siblings": []}
                    ).encode(),
                )
            if what == "tree":
                return self._send(
                    200, json.dumps(_tree(files)).encode(), Content_Type="application/json"
                )
            return self._file(files, "/".join(path.split("/" + revision + "/", 1)[1:]))

        def _file(self, files: dict[str, bytes], name: str) -> None:
            if name not in files:
                return self._error(404, "EntryNotFound")
            hub.requests[name] += 1
            data = files[name]
            if hub.spoil[name] > 0:
                hub.spoil[name] -= 1
                data = bytes(byte ^ 1 for byte in data)
            first, last = 0, len(data)
            if range_header := self.headers.get("Range"):
                hub.ranges.append(range_header)
                start, _, end = range_header.removeprefix("bytes=").partition("-")
                first, last = int(start), int(end) + 1 if end else len(data)
            body = data[first:last]
            if name in hub.stall:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                while name in hub.stall:
                    time.sleep(0.05)
                self.close_connection = True
                return
            if hub.cut[name] > 0:
                hub.cut[name] -= 1
                self.send_response(206 if first else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                self.close_connection = True
                return
            self._send(206 if range_header else 200, body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def clear_caches() -> None:
    """Forgets what this process has read of the hub."""
    for cached in (hub_module.repo, hub_module.layout, hub_module.data_revision, _hub_revision):
        cached.cache_clear()


@contextmanager
def connected(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[FakeHub]:
    """Serves a hub and makes it the hub of this process, with an empty cache."""
    with serving(hub) as address:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setenv("XSTILTS_CACHE", str(cache))
        clear_caches()
        yield hub
    clear_caches()
