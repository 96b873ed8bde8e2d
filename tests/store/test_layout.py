"""Where blobs lie, how listings are split, and the index of manifests."""

import hashlib
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xstilts.errors import StoreError
from xstilts.step import Step
from xstilts.store import index
from xstilts.store.garbage import DAY, collect, garbage
from xstilts.store.listing import Entry, hashed_items, items
from xstilts.store.object_keys import blob_key, blob_of, flat_blob_key, move_flat_blobs
from xstilts.store.store import Store
from xstilts.store.verify import repair, verify

DIGESTS = st.binary(max_size=4).map(lambda data: hashlib.sha256(data).hexdigest())
LATER = time.time() + 30 * DAY


def flat(store: Store, data: bytes) -> str:
    """Stores a blob where earlier versions did."""
    sha256 = hashlib.sha256(data).hexdigest()
    store.put_bytes_at(flat_blob_key(sha256), data)
    return sha256


@given(DIGESTS)
def test_a_key_belongs_to_its_blob(sha256: str) -> None:
    assert blob_of(blob_key(sha256)) == blob_of(flat_blob_key(sha256)) == sha256


@pytest.mark.parametrize(
    "key", [f"blobs/00/{'f' * 64}", "blobs/ff/evil", "blobs/../x", f"runs/{'f' * 64}", "blobs/ff/"]
)
def test_other_keys_belong_to_no_blob(key: str) -> None:
    assert blob_of(key) is None


@given(st.sets(DIGESTS, max_size=6), st.sets(DIGESTS, max_size=6))
def test_flat_blobs_are_moved_and_all_others_stay(
    tmp_path_factory: pytest.TempPathFactory, old: set[str], new: set[str]
) -> None:
    root = tmp_path_factory.mktemp("store")
    for key in (*map(flat_blob_key, old), *map(blob_key, new), "blobs/README", "blobs/ab.part"):
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_text(key.rpartition("/")[2])
    assert move_flat_blobs(root) == len(old)
    assert move_flat_blobs(root) == 0
    for sha256 in old | new:
        assert (root / blob_key(sha256)).read_text() == sha256
    kept = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert kept == {*map(blob_key, old | new), "blobs/README", "blobs/ab.part"}


def test_a_blob_of_an_earlier_version_is_read_and_not_written_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = flat(store, b"old")
    assert store.read_blob(sha256) == b"old"
    monkeypatch.setattr(store.client, "put_object", lambda **_: pytest.fail("written again"))
    assert store.put_bytes(b"old").sha256 == sha256


def test_a_blob_that_is_moved_while_it_is_read_is_found(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not yet in its folder at the first look, and no longer in the flat one at the second."""
    sha256, looked, download = store.put_bytes(b"moving").sha256, [], Store._download

    def moving(self: Store, path: Path, key: str) -> str | None:
        looked.append(key)
        return None if len(looked) < 3 else download(self, path, key)

    monkeypatch.setattr(Store, "_download", moving)
    assert store.read_blob(sha256) == b"moving"
    assert looked == [blob_key(sha256), flat_blob_key(sha256), blob_key(sha256)]


def test_unneeded_blobs_of_both_layouts_are_collected(store: Store, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("needed")
    step = Step("records", {"task": "t"})
    store.commit(step, {"rows": tmp_path / "rows"}, {})
    sha256 = flat(store, b"orphan")
    store.put_json("runs/r/expanded.json", {"steps": {step.fingerprint: step.to_json()}})
    unneeded = garbage(store, LATER, days=7)
    assert unneeded.keys == (flat_blob_key(sha256),)


# ---- listings ----


class Server:
    """Lists keys in pages of a size."""

    def __init__(self, keys: set[str], size: int) -> None:
        self.keys, self.size, self.longest = sorted(keys), size, 0

    def __call__(self, prefix: str, ContinuationToken: str = "0") -> Mapping[str, Any]:
        keys = [key for key in self.keys if key.startswith(prefix)]
        at, when = int(ContinuationToken), datetime(2026, 1, 1, tzinfo=UTC)
        page = [
            {"Key": key, "Size": 1, "LastModified": when, "ETag": '"e"'}
            for key in keys[at : at + self.size]
        ]
        self.longest = max(self.longest, at // self.size)
        following = {"NextContinuationToken": str(at + self.size)}
        more = len(keys) > at + self.size
        return {"Contents": page, "IsTruncated": more, **(following if more else {})}


@given(st.sets(DIGESTS, max_size=30), st.integers(1, 5))
def test_a_split_listing_is_that_of_all_pages(digests: set[str], size: int) -> None:
    keys = {f"steps/score/{digest}/manifest.json" for digest in digests} | {"steps/scores/ab"}
    server = Server(keys, size)
    assert dict(hashed_items(server, "steps/score/")) == dict(items(server, "steps/score/"))
    split = Server(keys, size)
    list(hashed_items(split, "steps/score/"))
    assert split.longest == 0  # only first pages


def test_more_blobs_in_a_folder_than_a_page_holds_are_all_listed() -> None:
    keys = {f"blobs/ab/ab{number:062x}" for number in range(40)}
    assert {key for key, _ in hashed_items(Server(keys, 3), "blobs/")} == keys


def test_a_server_that_always_claims_more_is_refused() -> None:
    def page(prefix: str) -> Mapping[str, Any]:
        return {"IsTruncated": True, "NextContinuationToken": "again"}

    with pytest.raises(StoreError, match="not reliable"):
        list(hashed_items(page, "blobs/"))


@pytest.mark.parametrize("few", [0, 500])
def test_finished_steps_are_found_in_large_and_small_stores(
    store: Store, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr("xstilts.store.store._FEW", few)
    wanted = [f"{number:064x}" for number in range(4)]
    for fingerprint in (*wanted[:2], "f" * 64):
        store.put_json(f"steps/score/{fingerprint}/manifest.json", {})
    assert store.finished("score", wanted) == set(wanted[:2])
    page = store._page
    monkeypatch.setattr(store, "_page", lambda prefix, **a: page(prefix, **{"MaxKeys": 2, **a}))
    assert store.finished("score", wanted) == set(wanted[:2])
    assert store.finished("score", ()) == set()


# ---- the index ----

ENTRIES = {"a": Entry(1, 0.0, "v1"), "b": Entry(1, 0.0, "v1")}


def committed(store: Store, folder: Path, name: str) -> str:
    (folder / name).write_text(name)
    step = Step("records", {"task": name})
    store.commit(step, {name: folder / name}, {})
    return f"steps/records/{step.fingerprint}/manifest.json"


def indexed(store: Store) -> tuple[index.Blobs, list[str]]:
    """The blobs of all manifests, and which manifests were read for it."""
    read: list[str] = []
    manifest = Store.manifest

    def counted(self: Store, kind: str, fingerprint: str) -> Any:
        read.append(f"steps/{kind}/{fingerprint}/manifest.json")
        return manifest(self, kind, fingerprint)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "manifest", counted)
        blobs = index.blobs_of_manifests(store, store.entries("steps/records/"), LATER)
    return blobs, sorted(read)


def test_only_manifests_that_are_new_or_changed_are_read_again(
    store: Store, tmp_path: Path
) -> None:
    first, second = committed(store, tmp_path, "one"), committed(store, tmp_path, "two")
    blobs, read = indexed(store)
    assert read == sorted([first, second])
    assert indexed(store) == (blobs, [])
    third = committed(store, tmp_path, "three")
    time.sleep(0.01)
    (tmp_path / "one").write_text("other")
    store.commit(Step("records", {"task": "one"}), {"one": tmp_path / "one"}, {})
    changed, read = indexed(store)
    assert read == sorted([first, third])
    assert changed[first] != blobs[first]
    store.delete(second)
    assert indexed(store)[0].keys() == {first, third}


@pytest.mark.parametrize(
    "damage",
    [
        b"", b"null", b"[]", b"{}", b'{"sha256": "", "manifests": {}}', b"[" * 100_000,
        b'{"sha256": "x", "manifests": 3}',
    ],
)  # fmt: skip
def test_a_corrupt_index_is_built_again(store: Store, tmp_path: Path, damage: bytes) -> None:
    key = committed(store, tmp_path, "one")
    blobs, _ = indexed(store)
    good = store.get_bytes_at(index.KEY)
    store.put_bytes_at(index.KEY, damage)
    assert indexed(store) == (blobs, [key])
    assert store.get_bytes_at(index.KEY) == good


def test_an_index_with_other_blobs_is_detected(store: Store, tmp_path: Path) -> None:
    key = committed(store, tmp_path, "one")
    blobs, _ = indexed(store)
    document = store.get_json(index.KEY)
    assert document is not None
    document["manifests"][key][1] = ["f" * 64]
    store.put_json(index.KEY, document)
    assert indexed(store) == (blobs, [key])


def test_an_index_that_lies_deletes_nothing(store: Store, tmp_path: Path) -> None:
    """Its checksum is right, and it names no blobs."""
    key = committed(store, tmp_path, "one")
    step = Step("records", {"task": "one"})
    store.put_json("runs/r/expanded.json", {"steps": {step.fingerprint: step.to_json()}})
    index.write(store, store.entries("steps/records/"), {key: frozenset()}, LATER)
    assert len(garbage(store, LATER, days=7, use_index=True).keys) == 1
    unneeded = garbage(store, LATER, days=7)
    assert unneeded.keys == ()
    collect(store, unneeded)
    assert verify(store) == []


def test_manifests_that_were_written_just_now_are_not_indexed(store: Store, tmp_path: Path) -> None:
    committed(store, tmp_path, "one")
    index.blobs_of_manifests(store, store.entries("steps/records/"), time.time())
    assert json.loads(store.get_bytes_at(index.KEY) or b"")["manifests"] == {}


# ---- repair ----


def test_repair_removes_what_is_corrupt_and_what_needs_it(store: Store, tmp_path: Path) -> None:
    sound, corrupt = committed(store, tmp_path, "sound"), committed(store, tmp_path, "corrupt")
    lost = committed(store, tmp_path, "lost")
    digest = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("corrupt", "lost")}
    store.put_bytes_at(blob_key(digest["corrupt"]), b"c0rrupt")
    store.delete(blob_key(digest["lost"]))
    problems = verify(store)
    assert repair(store, problems) == 2
    assert verify(store) == []
    assert [f"steps/records/{fp}/manifest.json" for fp in store.done("records")] == [sound]
    assert store.size(blob_key(digest["corrupt"])) is None
    assert {corrupt, lost} == {problem.keys[0] for problem in problems}
