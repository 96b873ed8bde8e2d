"""`mirror pull` to an S3 prefix, and reading a mirror there: only the files that are read are
downloaded.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from xstilts.errors import StoreError
from xstilts.mirror.pull import pull
from xstilts.mirror.target import FolderTarget, S3Target
from xstilts.mirror.verify import verify
from xstilts.plan.expand import expand
from xstilts.plan.expansion import Expansion
from xstilts.plan.load import load_plan
from xstilts.sources.loader import load_rows
from xstilts.sources.mirrors import open_mirror
from xstilts.sources.source_files import data_files
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


def copy(origin: str, target: FolderTarget | S3Target) -> int:
    return pull(expanded(origin), open_mirror(origin), target, lambda text: None).fetched


def test_a_plan_has_the_same_steps_on_s3_as_on_the_folder(
    hub: Path, uri: str, tmp_path: Path
) -> None:
    assert copy(str(hub), S3Target(uri)) > 0
    assert set(expanded(uri).steps) == set(expanded(str(hub)).steps)
    assert verify(S3Target(uri))[1] == []
    copy(uri, FolderTarget(str(tmp_path / "back")))
    assert expanded(str(tmp_path / "back")).identities == expanded(str(hub)).identities


def test_an_interrupted_pull_to_s3_resumes(
    hub: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, remaining = S3Target.put, [3]

    def failing(self: S3Target, name: str, part: Path) -> None:
        remaining[0] -= 1
        if remaining[0] < 0:
            raise StoreError("the server is gone")
        put(self, name, part)

    monkeypatch.setattr(S3Target, "put", failing)
    with pytest.raises(StoreError):
        copy(str(hub), S3Target(uri))
    monkeypatch.setattr(S3Target, "put", put)
    assert len(list_of(uri)) > 1
    result = pull(expanded(str(hub)), open_mirror(str(hub)), S3Target(uri), lambda text: None)
    assert result.kept == 3
    assert verify(S3Target(uri))[1] == []


def list_of(uri: str) -> list[str]:
    return Store.open(uri).list("")


def test_only_the_files_that_are_read_are_downloaded_from_s3(hub: Path, uri: str) -> None:
    copy(str(hub), S3Target(uri))
    mirror = open_mirror(uri)
    source = TASKS["xquad"].splits["test"]
    rows = load_rows(mirror, source, "de")
    assert len(rows) == 300
    assert mirror.folder is not None
    downloaded = [path.name for path in mirror.folder.rglob("*.parquet")]
    assert len(downloaded) == 1
    assert downloaded == [path.name for path in data_files(mirror, source, "de")]


def test_a_changed_mirror_is_not_read_from_the_old_cache(hub: Path, uri: str) -> None:
    copy(str(hub), S3Target(uri))
    source = TASKS["xquad"].splits["test"]
    (path,) = data_files(open_mirror(uri), source, "de")
    (other,) = data_files(open_mirror(uri), source, "en")
    Store.open(uri).put_file("google/xquad/xquad.de/validation-00000-of-00001.parquet", other)
    (again,) = data_files(open_mirror(uri), source, "de")
    assert again.read_bytes() == other.read_bytes() != path.read_bytes()
