"""Digests from a registry: computed from the manifest, with a token if one is required."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipelines import image_registry
from pipelines.image_registry import digest, parse
from xstilts.errors import InfrastructureError, PlanError

MANIFEST = b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}'
DIGEST = "sha256:" + hashlib.sha256(MANIFEST).hexdigest()


class Scripted(ThreadingHTTPServer):
    """A registry with `x/plan-python:1.0`. private: requires a token. says: its
    Docker-Content-Digest.
    """

    private = False
    says: str | None = DIGEST
    user = ""
    asked: list[str]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Scripted

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path.startswith("/token?"):
            basic = base64.b64encode(self.server.user.encode()).decode()
            if self.server.user and self.headers.get("Authorization") != f"Basic {basic}":
                return self.answer(401, b"{}")
            return self.answer(200, json.dumps({"token": "a-token"}).encode())
        if self.server.private and self.headers.get("Authorization") != "Bearer a-token":
            realm = f'Bearer realm="http://{self.server.host}/token",service="scripted",scope="repository:x:pull"'
            return self.answer(401, b"{}", {"WWW-Authenticate": realm})
        if self.path != "/v2/x/plan-python/manifests/1.0":
            return self.answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
        assert "application/vnd.oci.image.index.v1+json" in self.headers["Accept"]
        return self.answer(
            200, MANIFEST, {"Docker-Content-Digest": self.server.says} if self.server.says else {}
        )

    def answer(self, status: int, body: bytes, headers: dict[str, Any] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Scripted]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with Scripted(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("python:3.11-slim", "https://registry-1.docker.io/v2/library/python/manifests/3.11-slim"),
        ("docker.io/org/name:1", "https://registry-1.docker.io/v2/org/name/manifests/1"),
        ("org/name:1", "https://registry-1.docker.io/v2/org/name/manifests/1"),
        ("ghcr.io/org/sub/name:v1.2", "https://ghcr.io/v2/org/sub/name/manifests/v1.2"),
        ("registry:5000/name:dev", "https://registry:5000/v2/name/manifests/dev"),
        ("localhost:5000/x/name:dev", "http://localhost:5000/v2/x/name/manifests/dev"),
    ],
)
def test_the_manifest_url_of_a_reference(reference: str, url: str) -> None:
    assert parse(reference).url == url


@pytest.mark.parametrize(
    "reference", ["python", "registry:5000/name", f"python:3.11@{DIGEST}", "python:"]
)
def test_a_reference_without_a_tag_is_refused(reference: str) -> None:
    with pytest.raises(PlanError, match="not an image tag"):
        parse(reference)


def test_the_digest_is_that_of_the_manifests_bytes(server: Scripted) -> None:
    assert digest(f"{server.host}/x/plan-python:1.0") == DIGEST


def test_a_registry_without_a_digest_header_is_accepted(server: Scripted) -> None:
    server.says = None
    assert digest(f"{server.host}/x/plan-python:1.0") == DIGEST


def test_a_digest_mismatch_is_refused(
    server: Scripted,
) -> None:
    server.says = "sha256:" + "0" * 64
    with pytest.raises(InfrastructureError, match="digest mismatch"):
        digest(f"{server.host}/x/plan-python:1.0")


def test_a_token_is_fetched_on_a_challenge(server: Scripted) -> None:
    server.private = True
    assert digest(f"{server.host}/x/plan-python:1.0") == DIGEST
    assert server.asked[1] == "/token?service=scripted&scope=repository%3Ax%3Apull"


def test_a_token_is_fetched_with_the_credentials_of_docker_login(
    server: Scripted, tmp_path: Path
) -> None:
    server.private, server.user = True, "me:secret"
    with pytest.raises(InfrastructureError, match="no token from"):
        digest(f"{server.host}/x/plan-python:1.0")
    stored = {"auths": {server.host: {"auth": base64.b64encode(b"me:secret").decode()}}}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    assert digest(f"{server.host}/x/plan-python:1.0") == DIGEST


def test_an_image_that_was_not_pushed_is_named(server: Scripted) -> None:
    with pytest.raises(InfrastructureError, match=r"stage-python:1\.0.*push it first"):
        digest(f"{server.host}/x/stage-python:1.0")


def test_an_unreachable_registry_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_registry.urllib3.Retry, "get_backoff_time", lambda _: 0)
    with pytest.raises(InfrastructureError, match=r"cannot reach http://127\.0\.0\.1:1/"):
        digest("127.0.0.1:1/x/plan-python:1.0")


# ---- proxies and credential helpers ----


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({}, None),
        ({"https_proxy": "http://proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "http://user:p%40ss@proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "ghcr.io"}, None),
    ],
)
def test_a_registry_is_reached_through_the_proxy_of_the_environment(
    variables: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    pool = image_registry._pool(image_registry.parse("ghcr.io/me/image:1"))
    assert (str(pool.proxy) if pool.proxy else None) == proxy
    if proxy and "@" in variables["https_proxy"]:
        expected = base64.b64encode(b"user:p@ss").decode()
        assert pool.proxy_headers == {"proxy-authorization": f"Basic {expected}"}


@pytest.mark.parametrize("config", [{"credsStore": "x"}, {"credHelpers": {"ghcr.io": "x"}}])
def test_logins_come_from_a_credential_helper(
    config: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    helper = tmp_path / "docker-credential-x"
    helper.write_text(
        '#!/bin/sh\nread server || true\n[ "$server" = ghcr.io ] || exit 1\n'
        'echo \'{"Username": "me", "Secret": "word"}\'\n'
    )
    helper.chmod(0o755)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert image_registry._stored("ghcr.io") == base64.b64encode(b"me:word").decode()
    assert image_registry._stored("other.example") is None


def test_a_missing_credential_helper_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text('{"credsStore": "absent"}')
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with pytest.raises(InfrastructureError, match="docker-credential-absent"):
        image_registry._stored("ghcr.io")
