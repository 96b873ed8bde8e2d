"""`mirror pull` to an S3 prefix, and reading a mirror there: only what is asked for is copied to
this disk.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from xstilts.errors import StoreError
from xstilts.mirror.pull import pull, verify
from xstilts.mirror.target import FolderPlace, S3Place
from xstilts.plan.expand import expand
from xstilts.plan.expansion import Expansion
from xstilts.plan.load import load_plan
from xstilts.sources.loader import data_files, load_rows, open_mirror
from xstilts.store.server import Server, serve
from xstilts.store.store import Store
from xstilts.tasks.registry import TASKS

PLAN = """
name: real
recipes: miniature
backbones:
  tiny: {build: {family: xlm_r, seed: 0, tokenizer: {from: [tatoeba]}}}
arms:
  commonsense: {task: commonsense_qa, objective: head}
evaluations: [xquad]
languages: [en, de]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def uri(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> str:
    for name, value in server.env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XSTILTS_CACHE", str(tmp_path / "cache"))
    return f"s3://xstilts/{request.node.name[:50]}"


def expanded(mirror: str) -> Expansion:
    return expand(load_plan(PLAN), open_mirror(mirror), {"torch": "1"})


def copy(origin: str, target: FolderPlace | S3Place) -> int:
    return pull(expanded(origin), open_mirror(origin), target, lambda text: None).fetched


def test_a_plan_has_the_same_steps_on_s3_as_on_the_folder(
    hub: Path, uri: str, tmp_path: Path
) -> None:
    assert copy(str(hub), S3Place(uri)) > 0
    assert set(expanded(uri).steps) == set(expanded(str(hub)).steps)
    assert verify(S3Place(uri))[1] == []
    copy(uri, FolderPlace(str(tmp_path / "back")))
    assert expanded(str(tmp_path / "back")).identities == expanded(str(hub)).identities


def test_a_pull_to_s3_goes_on_where_it_stopped(
    hub: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, left = S3Place.put, [3]

    def failing(self: S3Place, name: str, part: Path) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise StoreError("the server is gone")
        put(self, name, part)

    monkeypatch.setattr(S3Place, "put", failing)
    with pytest.raises(StoreError):
        copy(str(hub), S3Place(uri))
    monkeypatch.setattr(S3Place, "put", put)
    wanted = len(list_of(uri)) - 1
    place = S3Place(uri)
    result = pull(expanded(str(hub)), open_mirror(str(hub)), place, lambda text: None)
    assert wanted >= 1
    assert result.kept == 3
    assert verify(S3Place(uri))[1] == []


def list_of(uri: str) -> list[str]:
    return Store.open(uri).list("")


def test_only_what_is_read_is_copied_from_s3(hub: Path, uri: str, tmp_path: Path) -> None:
    copy(str(hub), S3Place(uri))
    mirror = open_mirror(uri)
    source = TASKS["xquad"].splits["test"]
    rows = load_rows(mirror, source, "de")
    assert len(rows) == 300
    there = {path.name for path in mirror.folder.rglob("*.parquet")} if mirror.folder else set()
    assert len(list((mirror.folder or tmp_path).rglob("*.parquet"))) == 1
    assert there == {path.name for path in data_files(mirror, source, "de")}


def test_a_mirror_that_has_changed_is_not_read_from_an_old_copy(hub: Path, uri: str) -> None:
    copy(str(hub), S3Place(uri))
    source = TASKS["xquad"].splits["test"]
    (path,) = data_files(open_mirror(uri), source, "de")
    (other,) = data_files(open_mirror(uri), source, "en")
    Store.open(uri).put_file("google/xquad/xquad.de/validation-00000-of-00001.parquet", other)
    (again,) = data_files(open_mirror(uri), source, "de")
    assert again.read_bytes() == other.read_bytes() != path.read_bytes()
