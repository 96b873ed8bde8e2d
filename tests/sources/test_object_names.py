"""Errors name the object of a mirror, not the file in a step's cache."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from xstilts.errors import DataError
from xstilts.sources.loader import load_rows
from xstilts.sources.mirrors import open_mirror
from xstilts.sources.object_names import corrected, naming_objects, with_objects
from xstilts.sources.provenance import RECORD
from xstilts.store.server import serve
from xstilts.tasks.task import Source

MIRROR = "s3://data/mirror"
CACHE = "/tmp/xstilts-cache/mirror-0123456789abcdef"
HUB = "/cache/hf/hub/datasets--google--xtreme/snapshots/0123456789abcdef0123/XNLI/a.parquet"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"{CACHE}/xnli/a.parquet: corrupt", f"{MIRROR}/xnli/a.parquet: corrupt"),
        (f"{CACHE}/a, {CACHE}/b: cannot be read", f"{MIRROR}/a, {MIRROR}/b: cannot be read"),
        (f"cannot open '{CACHE}/a b.json' (OSError)", f"cannot open '{MIRROR}/a b.json' (OSError)"),
        ("/data/mirror-of-mine/a.parquet: corrupt", "/data/mirror-of-mine/a.parquet: corrupt"),
        (f"{HUB}: corrupt", "google/xtreme on the hub at 0123456789ab: XNLI/a.parquet: corrupt"),
    ],
)
def test_paths_in_a_cache_become_addresses(text: str, shown: str) -> None:
    assert with_objects(text, MIRROR) == shown


def test_an_object_comes_with_what_to_do() -> None:
    assert "`xstilts mirror verify s3://data/mirror`" in corrected(f"{CACHE}/a: corrupt", MIRROR)
    assert corrected("row 7 is null", MIRROR) == "row 7 is null"
    assert corrected("/srv/a: corrupt", "/srv") == "/srv/a: corrupt"


def test_only_errors_of_data_are_named_anew() -> None:
    with (
        pytest.raises(DataError, match=r"^s3://data/mirror/a: corrupt\. Correct"),
        naming_objects(MIRROR),
    ):
        raise DataError(f"{CACHE}/a: corrupt")
    with pytest.raises(ValueError, match="mirror-"), naming_objects(MIRROR):
        raise ValueError(CACHE)


#: Kind of file → its place in a mirror, its bytes, and the source that reads it.
UD = "universal-dependencies"
BAD_FILES = {
    "Parquet": ("org/set/en/test.parquet", b"rows", Source("org/set", "en", "test")),
    "JSON": ("org/set/en/test.json", b'[{"a": 1', Source("org/set", "en", "test")),
    "gzip": ("org/set/en/test.json.gz", b"rows", Source("org/set", "en", "test")),
    "tar": ("org/set/en/test.jsonl.tar.gz", b"rows", Source("org/set", "en", "test")),
    "UD": (f"{UD}/ud-1/UD_English/en_x-ud-test.conllu", b"\xff\xfe", Source(UD, "ud-1/en", "test")),
    "pool": (
        "org/set/en/de-en.training.de", b"\xff\xfe",
        Source("org/set", "en", "test", files=("de-en.training.de",) * 3),
    ),
}  # fmt: skip


def put(mirror: Path, key: str, data: bytes, recorded: bool) -> None:
    """A mirror with one file. recorded: `mirror pull` wrote other bytes."""
    (mirror / key).parent.mkdir(parents=True)
    (mirror / key).write_bytes(data)
    if recorded:
        data_set = UD if key.startswith(UD) else "org/set"
        name = key.removeprefix(f"{data_set}/")
        entry = {"sha256": "0" * 64, "revision": "0" * 40, "size": len(data), "origin": name}
        record = {"kind": "dataset", "name": data_set, "licence": None, "files": {name: entry}}
        (mirror / data_set / RECORD).write_text(json.dumps(record))


@pytest.fixture(scope="module", autouse=True)
def mirrors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Serves a mirror for each kind of bad file, as s3://xstilts/<kind>-<recorded>."""
    folder = tmp_path_factory.mktemp("s3")
    for kind, (key, data, _) in BAD_FILES.items():
        for recorded in (False, True):
            put(folder / "xstilts" / f"{kind}-{recorded}", key, data, recorded)
    with serve(folder) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.env().items():
            patch.setenv(name, value)
        patch.setenv("XSTILTS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("kind", BAD_FILES)
def test_every_kind_of_bad_file_is_named_by_its_object(kind: str, recorded: bool) -> None:
    key, _, source = BAD_FILES[kind]
    address = f"s3://xstilts/{kind}-{recorded}"
    with pytest.raises(DataError) as error, naming_objects(address):
        list(load_rows(open_mirror(address), source, "en"))
    assert f"{address}/{key}: " in str(error.value)
    assert "mirror-" not in str(error.value)
    assert f"`xstilts mirror verify {address}`" in str(error.value)
