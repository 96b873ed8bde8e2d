"""Blobs, manifests and run folders, against the embedded server."""

import hashlib
import io
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.response import StreamingBody

from xstilts.errors import CorruptError, PlanError, StoreError
from xstilts.step import Step
from xstilts.store import transfers
from xstilts.store.object_keys import blob_key
from xstilts.store.server import Server, serve
from xstilts.store.store import Store
from xstilts.store.verify import verify

STEP = Step("records", {"task": "snli"})


def written(folder: Path, **files: str) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return {name: folder / name for name in files}


def test_a_committed_step_is_done_and_reads_back(store: Store, tmp_path: Path) -> None:
    assert store.manifest("records", STEP.fingerprint) is None
    store.commit(STEP, written(tmp_path, rows="some rows"), {"rows": 3})
    manifest = store.manifest("records", STEP.fingerprint)
    assert manifest is not None
    assert manifest.info == {"rows": 3}
    assert manifest.step == STEP.to_json()
    assert store.file(manifest, "rows").read_text() == "some rows"
    assert store.done("records") == {STEP.fingerprint}
    assert (store.folder(manifest, tmp_path / "all") / "rows").read_text() == "some rows"


def test_a_multipart_blob_reads_back(store: Store, tmp_path: Path) -> None:
    data = os.urandom(40 * 1024 * 1024)
    (tmp_path / "big").write_bytes(data)
    blob = store.put_blob(tmp_path / "big")
    assert blob.size == len(data)
    assert store.read_blob(blob.sha256) == data


def test_blobs_are_written_once(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = store.put_bytes(b"the same")
    monkeypatch.setattr(store.client, "put_object", lambda **_: pytest.fail("written twice"))
    assert store.put_bytes(b"the same") == blob


def test_a_corrupt_cached_blob_is_fetched_again(store: Store) -> None:
    blob = store.put_bytes(b"good bytes")
    store.blob_path(blob.sha256).write_bytes(b"bad bytes!")
    assert store.read_blob(blob.sha256) == b"good bytes"


def test_processes_that_share_a_cache_fetch_a_blob_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight workers of a node request the same blob at the same time."""
    blob, fetched, fetch = store.put_bytes(b"pixels" * 1000), [], Store._fetch

    def counted(self: Store, sha256: str, cached: Path) -> None:
        fetched.append(sha256)
        fetch(self, sha256, cached)

    monkeypatch.setattr(Store, "_fetch", counted)
    read: list[bytes] = []
    workers = [Store(store.client, store.bucket, store.prefix, store.cache) for _ in range(8)]
    threads = [
        threading.Thread(target=lambda w=w: read.append(w.read_blob(blob.sha256))) for w in workers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [b"pixels" * 1000] * 8
    assert fetched == [blob.sha256]


def test_a_corrupt_blob_is_refused_with_what_to_do(store: Store, tmp_path: Path) -> None:
    manifest = store.commit(STEP, written(tmp_path, rows="good"), {})
    sha = manifest.files["rows"].sha256
    store.put_bytes_at(blob_key(sha), b"evil")
    with pytest.raises(
        StoreError, match=r"blobs/.*: corrupt: SHA-256 mismatch.*`xstilts store verify --repair`"
    ):
        store.blob_path(sha)
    assert [problem.text.split(" (rows)")[0] for problem in verify(store)] == [
        f"steps/records/{STEP.fingerprint}"
    ]


def test_verify_finds_no_problem_in_an_intact_store(store: Store, tmp_path: Path) -> None:
    store.commit(STEP, written(tmp_path, rows="good"), {})
    assert verify(store) == []


def test_a_step_that_is_interrupted_before_its_manifest_is_not_done(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(key: str, value: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "put_json", killed)
        with pytest.raises(KeyboardInterrupt):
            store.commit(STEP, written(tmp_path, rows="some"), {})
    assert store.manifest("records", STEP.fingerprint) is None
    store.commit(STEP, written(tmp_path, rows="some"), {})
    assert store.done("records") == {STEP.fingerprint}


class Interleaved:
    """A client that lets a second writer do one of its PUTs before each PUT of its own."""

    def __init__(self, client: Any, others: list[Callable[[], object]]) -> None:
        self._client, self._others, self._lock = client, others, threading.Lock()

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._client, name)
        if name not in ("put_object", "upload_file"):
            return inner

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                if self._others:
                    self._others.pop(0)()
                return inner(*args, **kwargs)

        return call


@pytest.mark.parametrize("head_start", range(4))
def test_two_writers_of_one_step_never_leave_a_mixture(
    store: Store, tmp_path: Path, head_start: int
) -> None:
    ours = written(tmp_path / "a", weights="weights of A", head="head of A")
    theirs = written(tmp_path / "b", weights="weights of B", head="head of B")
    other = Store(store.client, store.bucket, store.prefix, tmp_path / "other")
    puts: list[Callable[[], object]] = [
        *(lambda path=path: other.put_blob(path) for path in theirs.values()),
        lambda: other.commit(STEP, theirs, {"by": "B"}),
    ]
    for put in puts[:head_start]:
        put()
    rest = puts[head_start:]
    Store(Interleaved(store.client, rest), store.bucket, store.prefix, tmp_path / "mine").commit(
        STEP, ours, {"by": "A"}
    )
    for put in rest:
        put()
    manifest = store.manifest("records", STEP.fingerprint)
    assert manifest is not None
    writer = manifest.info["by"]
    read = {name: store.file(manifest, name).read_text() for name in manifest.files}
    assert read == {"weights": f"weights of {writer}", "head": f"head of {writer}"}
    assert verify(store) == []


def test_listings_of_several_pages_are_complete(store: Store) -> None:
    for number in range(1005):
        store.put_json(f"steps/score/{number:04d}/manifest.json", {})
    assert len(store.done("score")) == 1005


def test_a_prefix_or_a_single_key_is_deleted(store: Store) -> None:
    for key in ("runs/a/x", "runs/a/y", "runs/ab/z"):
        store.put_json(key, 1)
    store.delete("runs/a/")
    assert store.list("runs/") == ["runs/ab/z"]
    store.delete("runs/ab/z")
    store.delete("runs/never-there")
    assert store.list("runs/") == []


def test_the_most_advanced_complete_checkpoint_is_found(store: Store, tmp_path: Path) -> None:
    files = written(tmp_path, weights="at ten")
    store.put_checkpoint("f" * 64, "one", files, {"update": 10})
    store.put_bytes_at(f"work/{'f' * 64}/two/000000020/weights", b"half written")
    checkpoint = store.latest_checkpoint("f" * 64)
    assert checkpoint is not None
    assert checkpoint[1]["update"] == 10
    restored = store.checkpoint_files(*checkpoint, tmp_path / "back")
    assert restored["weights"].read_text() == "at ten"
    store.put_bytes_at(f"{checkpoint[0]}/weights", b"other")
    with pytest.raises(StoreError, match="corrupt: SHA-256 mismatch"):
        store.checkpoint_files(*checkpoint, tmp_path / "back")
    store.clear_work("f" * 64)
    assert store.latest_checkpoint("f" * 64) is None


def test_wrong_credentials_are_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (server.env() | {"AWS_SECRET_ACCESS_KEY": "wrong"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match=r"access denied .*AWS_SECRET_ACCESS_KEY"):
        Store.open("s3://xstilts/x")


def test_an_unreachable_server_is_named(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    for name, value in (
        server.env() | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    ).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        Store.open("s3://xstilts/x")


def test_a_missing_bucket_is_named(store: Store) -> None:
    with pytest.raises(StoreError, match="bucket does not exist"):
        Store.open("s3://elsewhere/x")


def test_an_invalid_s3_address_is_refused() -> None:
    with pytest.raises(PlanError, match="expected s3://"):
        Store.open("/tmp/folder")


def test_a_full_local_disk_is_a_store_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = store.put_bytes(b"bytes")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfers, "_write", full)
    with pytest.raises(
        StoreError, match=r"no space left on the local disk of .* \(5 bytes needed, [\d,]+ free\)"
    ):
        store.blob_path(blob.sha256)


def test_sha256_is_that_of_the_bytes(store: Store) -> None:
    assert store.put_bytes(b"abc").sha256 == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("mount"),
    reason="a small disk can be mounted by root only",
)
def test_a_full_disk_of_the_server_is_a_store_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk is not permitted on this machine")
    try:
        with serve(disk) as small:
            for name, value in small.env().items():
                monkeypatch.setenv(name, value)
            full = Store.open("s3://xstilts/full", cache=tmp_path / "cache")
            big = tmp_path / "big.bin"
            big.write_bytes(os.urandom(8_000_000))
            with pytest.raises(StoreError, match="disk"):
                full.put_blob(big)
            assert full.list("blobs/") == []
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


# ---- several objects at a time ----


def test_missing_blobs_are_fetched_several_at_a_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = [store.put_bytes(b"blob %d" % number).sha256 for number in range(6)]
    together, fetch = threading.Barrier(6), Store._fetch

    def meeting(self: Store, sha256: str, cached: Path) -> None:
        together.wait(timeout=10)  # passes only if all six are in progress
        fetch(self, sha256, cached)

    monkeypatch.setattr(Store, "_fetch", meeting)
    store.fetch([*hashes, hashes[0]])
    monkeypatch.setattr(Store, "_fetch", lambda *_: pytest.fail("fetched twice"))
    store.fetch(hashes)
    assert [store.read_blob(sha256) for sha256 in hashes] == [b"blob %d" % n for n in range(6)]


def test_a_blob_that_cannot_be_fetched_is_named_and_cancels_the_rest(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, started = "f" * 64, []
    hashes = [store.put_bytes(b"%d" % number).sha256 for number in range(40)]
    fetch = Store._fetch

    def slow(self: Store, sha256: str, cached: Path) -> None:
        started.append(sha256)
        if sha256 != lost:
            time.sleep(0.2)
        fetch(self, sha256, cached)

    monkeypatch.setattr(Store, "_fetch", slow)
    with pytest.raises(StoreError, match=blob_key(lost)):
        store.fetch([lost, *hashes])
    assert len(started) < 20


def test_a_folder_with_several_shards_is_fetched_in_threads(store: Store, tmp_path: Path) -> None:
    shards = written(tmp_path, **{f"shard{number}": f"weights {number}" for number in range(12)})
    manifest = store.commit(STEP, shards, {})
    folder = Store(store.client, store.bucket, store.prefix, tmp_path / "cold").folder(
        manifest, tmp_path / "model"
    )
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        f"shard{number}": f"weights {number}" for number in range(12)
    }


# ---- checkpoints ----


def test_older_checkpoints_of_all_attempts_are_deleted(store: Store, tmp_path: Path) -> None:
    files = written(tmp_path, weights="w")
    for attempt, update in (("one", 10), ("one", 20), ("two", 30), ("two", 40)):
        store.put_checkpoint("f" * 64, attempt, files, {"update": update})
    store.delete_older_checkpoints("f" * 64, 2)
    assert {key.rpartition("/")[0] for key in store.list("work/")} == {
        f"work/{'f' * 64}/two/000000030",
        f"work/{'f' * 64}/two/000000040",
    }


class Failing:
    """A client whose n-th request that writes or deletes fails, as does every later one: the
    process, its network or its server is lost at that moment.
    """

    def __init__(self, client: Any, after: int) -> None:
        self._client, self.left, self._lock = client, after, threading.Lock()

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._client, name)
        if name not in ("put_object", "upload_file", "delete_object"):
            return inner

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                self.left -= 1
                if self.left < 0:
                    raise EndpointConnectionError(endpoint_url="http://lost")
            return inner(*args, **kwargs)

        return call


@pytest.mark.parametrize("after", range(9))
def test_a_loss_at_any_request_leaves_a_complete_checkpoint(
    store: Store, tmp_path: Path, after: int
) -> None:
    """Three files and state.json are written, then the oldest checkpoint's four objects go."""
    old = written(tmp_path / "old", a="old", b="old", c="old")
    for update in (10, 20):
        store.put_checkpoint("f" * 64, "one", old, {"update": update})
    new = written(tmp_path / "new", a="new", b="new", c="new")
    lost = Store(Failing(store.client, after), store.bucket, store.prefix, store.cache)
    error = None
    try:
        lost.put_checkpoint("f" * 64, "two", new, {"update": 30})
        lost.delete_older_checkpoints("f" * 64, 2)
    except StoreError as raised:
        error = raised
    assert (error is None) == (after >= 8)
    checkpoint = store.latest_checkpoint("f" * 64)
    assert checkpoint is not None
    assert checkpoint[1]["update"] == (30 if after >= 4 else 20)
    restored = store.checkpoint_files(*checkpoint, tmp_path / "back")
    assert {path.read_text() for path in restored.values()} == {"new" if after >= 4 else "old"}


# ---- faults of the transfer ----


class Garbled:
    """A client whose first downloads return changed bytes: `change` gets the number of the read."""

    def __init__(self, client: Any, change: Callable[[int, bytes], bytes]) -> None:
        self._client, self._change, self.reads = client, change, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def _changed(self, data: bytes) -> bytes:
        self.reads += 1
        return self._change(self.reads, data)

    def get_object(self, **arguments: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.get_object(**arguments)
        data = self._changed(answer["Body"].read())
        size = {"ContentLength": len(data), "ContentRange": f"bytes 0-{len(data) - 1}/{len(data)}"}
        return {**answer, **size, "Body": StreamingBody(io.BytesIO(data), len(data))}


def once(number: int, data: bytes) -> bytes:
    return data[:-1] if number == 1 else data


def always(number: int, data: bytes) -> bytes:
    return data[:-1]


def differently(number: int, data: bytes) -> bytes:
    return data + bytes(number)


def test_a_garbled_download_is_repeated(store: Store) -> None:
    blob = store.put_bytes(b"sound")
    store.put_json("runs/r/status.json", {"exit_code": 0, "missing": []})
    for read in (
        lambda: store.read_blob(blob.sha256),
        lambda: store.check_blob(blob.sha256),
        lambda: store.get_json("runs/r/status.json"),
    ):
        client, store.client = store.client, Garbled(store.client, once)
        read()
        assert store.client.reads == 2
        store.client = client


@pytest.mark.parametrize("check", [Store.check_blob, Store.blob_path])
def test_only_two_equal_downloads_show_that_a_blob_is_corrupt(
    store: Store, check: Callable[[Store, str], object]
) -> None:
    blob = store.put_bytes(b"sound")
    store.client = Garbled(store.client, always)
    with pytest.raises(CorruptError, match="two downloads"):
        check(store, blob.sha256)
    store.client = Garbled(store.client._client, differently)
    with pytest.raises(StoreError, match=r"not reliable.*Nothing needs to be deleted") as error:
        check(store, blob.sha256)
    assert error.value.temporary


def test_a_lost_blob_is_named_with_what_recovers_it(store: Store) -> None:
    blob = store.put_bytes(b"lost")
    store.delete(blob_key(blob.sha256))
    with pytest.raises(CorruptError, match=f"{blob.sha256}: missing.*verify --repair"):
        store.blob_path(blob.sha256)


class Forgetful:
    """A client that acknowledges the first PUTs and stores nothing."""

    def __init__(self, client: Any, lost: int) -> None:
        self._client, self.lost = client, lost

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_object(self, **arguments: Any) -> Any:
        self.lost -= 1
        return None if self.lost >= 0 else self._client.put_object(**arguments)

    def upload_file(self, *arguments: Any, **others: Any) -> Any:
        self.lost -= 1
        return None if self.lost >= 0 else self._client.upload_file(*arguments, **others)


def test_a_lost_upload_is_repeated_once(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"of a file")
    store.client = Forgetful(store.client, lost=1)
    assert store.size(blob_key(store.put_blob(tmp_path / "file").sha256)) == 9
    store.client = Forgetful(store.client._client, lost=2)
    with pytest.raises(StoreError, match=r"blobs/.*acknowledged this blob \(5 bytes\) twice"):
        store.put_bytes(b"bytes")


def test_credentials_in_the_endpoint_are_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://key:hidden@127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    with pytest.raises(StoreError, match=r"http://\*\*\*@127\.0\.0\.1:9 cannot be") as error:
        Store.open("s3://xstilts/x")
    assert "hidden" not in str(error.value)
