"""A store on an embedded S3 server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from xstilts.store.server import serve
from xstilts.store.store import Store


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of clients of the server."""
    with serve(tmp_path_factory.mktemp("s3")) as server:
        yield server.env()


@pytest.fixture
def store(address: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store, whose server is the one in the environment."""
    for name, value in address.items():
        monkeypatch.setenv(name, value)
    return Store.open(f"s3://xstilts/{tmp_path.name}", cache=tmp_path / "cache")
