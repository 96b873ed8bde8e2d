"""Servers of a cluster: Kubeflow Pipelines and S3."""

import contextlib
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from pipelines import opened_store
from pipelines.cluster_settings import ClusterSettings
from pipelines.kfp.package import compiled
from tests.pipelines.kfp_server import Server, handler
from xstilts.store.server import serve
from xstilts.store.store import Store

SECRET = "planted-secret-0f1e2d3c4b5a"
TOKEN = "planted-token-5a4b3c2d1e0f"


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


@pytest.fixture
def local_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store, which commands open in place of the embedded one over HOME/store."""

    @contextlib.contextmanager
    def opened(uri: str | None, home: Path) -> Iterator[Store]:
        yield store

    monkeypatch.setattr(opened_store, "opened_store", opened)
    return store


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
