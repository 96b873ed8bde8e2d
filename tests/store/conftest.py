"""One embedded server for all tests of the store; each test uses a prefix of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from xstilts.store.server import Server, serve
from xstilts.store.store import Store


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def store(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Store:
    for name, value in server.env().items():
        monkeypatch.setenv(name, value)
    return Store.open(
        f"s3://xstilts/{request.node.name[:60].strip('[]')}", cache=tmp_path / "cache"
    )
