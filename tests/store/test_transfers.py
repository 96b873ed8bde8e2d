"""Transfers of files: parts, servers that lose or add bytes, and what is requested."""

import hashlib
import io
import itertools
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, IncompleteReadError, ReadTimeoutError
from botocore.response import StreamingBody

from xstilts.errors import StoreError
from xstilts.store import blobs, transfers
from xstilts.store.client import SMALL, parsed_time
from xstilts.store.object_keys import flat_blob_key
from xstilts.store.store import Store
from xstilts.store.threads import THREADS, in_order

PART = 1000
SIZES = [0, 1, PART - 1, PART, PART + 1, 2 * PART, 40 * PART + 7]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "_PART", PART)


def content(size: int) -> bytes:
    return bytes(number * number % 251 for number in range(size))


class Client:
    """A server with one object. `change` gets each answer before it is returned."""

    def __init__(
        self,
        data: bytes,
        change: Callable[[dict[str, Any]], dict[str, Any]] = lambda answer: answer,
        ranges: bool = True,
    ) -> None:
        self._data, self._change, self._ranges = data, change, ranges
        self.requests: list[dict[str, Any]] = []

    def get_object(self, **arguments: Any) -> dict[str, Any]:
        self.requests.append(arguments)
        if "Range" not in arguments or not self._ranges:
            return self._change(answer(self._data))
        first, last = map(int, arguments["Range"].removeprefix("bytes=").split("-"))
        part = self._data[first : last + 1]
        if not part:
            status = {"ResponseMetadata": {"HTTPStatusCode": 416}, "Error": {"Code": "range"}}
            raise ClientError(status, "GetObject")  # type: ignore[arg-type]
        place = f"bytes {first}-{first + len(part) - 1}/{len(self._data)}"
        return self._change({**answer(part), "ContentRange": place, "ETag": '"v1"'})


def answer(data: bytes, promised: int | None = None) -> dict[str, Any]:
    size = len(data) if promised is None else promised
    return {"Body": StreamingBody(io.BytesIO(data), size), "ContentLength": size}


def received(client: Any, path: Path) -> bytes:
    sha256 = transfers.download(client, "bucket", "key", path)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    return path.read_bytes()


# ---- downloads ----


@pytest.mark.parametrize("size", SIZES)
def test_an_object_of_any_size_is_received(store: Store, tmp_path: Path, size: int) -> None:
    store.put_bytes_at("object", content(size))
    assert store.get_file("object", tmp_path / "file").read_bytes() == content(size)


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_a_server_may_ignore_ranges(tmp_path: Path, size: int, ranges: bool) -> None:
    assert received(Client(content(size), ranges=ranges), tmp_path / "file") == content(size)


def test_a_small_object_needs_one_request_and_a_large_one_a_request_for_each_part(
    tmp_path: Path,
) -> None:
    small, large = Client(content(PART)), Client(content(5 * PART + 1))
    received(small, tmp_path / "small")
    received(large, tmp_path / "large")
    assert (len(small.requests), len(large.requests)) == (1, 6)


def test_parts_are_those_of_one_version_of_an_object(tmp_path: Path) -> None:
    client = Client(content(3 * PART))
    received(client, tmp_path / "file")
    assert [request.get("IfMatch") for request in client.requests] == [None, '"v1"', '"v1"']


def test_the_bytes_of_an_earlier_attempt_do_not_remain(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(10 * PART))
    assert received(Client(content(3 * PART)), tmp_path / "file") == content(3 * PART)


def failing(error: Exception) -> Any:
    class Body(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise error

    return Body()


FAULTS: dict[str, Callable[[bytes], Any]] = {
    "ends early": lambda data: StreamingBody(io.BytesIO(data[:-1]), len(data)),
    "is shorter than requested": lambda data: StreamingBody(io.BytesIO(data[:-1]), len(data) - 1),
    "is longer than requested": lambda data: StreamingBody(io.BytesIO(data * 3), len(data) * 3),
    "stops": lambda _: failing(ReadTimeoutError(endpoint_url="http://server")),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("faulty", range(4))
def test_a_part_that_arrives_wrong_is_read_again(tmp_path: Path, faulty: int, fault: str) -> None:
    requests = itertools.count()

    def change(answer: dict[str, Any]) -> dict[str, Any]:
        wrong = next(requests) == faulty
        return {**answer, "Body": FAULTS[fault](answer["Body"].read())} if wrong else answer

    client = Client(content(4 * PART), change)
    assert received(client, tmp_path / "file") == content(4 * PART)
    assert len(client.requests) == 5


@pytest.mark.parametrize("fault", FAULTS)
def test_a_part_that_always_arrives_wrong_is_an_error(tmp_path: Path, fault: str) -> None:
    def change(answer: dict[str, Any]) -> dict[str, Any]:
        wrong = answer["ContentRange"].startswith(f"bytes {2 * PART}-")
        return {**answer, "Body": FAULTS[fault](answer["Body"].read())} if wrong else answer

    with pytest.raises((IncompleteReadError, ReadTimeoutError)):
        received(Client(content(40 * PART), change), tmp_path / "file")


def test_a_size_without_end_is_an_error_and_not_a_list_of_all_its_parts(tmp_path: Path) -> None:
    def change(answer: dict[str, Any]) -> dict[str, Any]:
        return {**answer, "ContentRange": f"bytes 0-{PART - 1}/{10**30}"}

    with pytest.raises((ClientError, IncompleteReadError)):
        received(Client(content(3 * PART), change), tmp_path / "file")


def test_a_failed_download_leaves_no_file(store: Store) -> None:
    blob = store.put_bytes(content(3 * PART))

    def lost(answer: dict[str, Any]) -> dict[str, Any]:
        return {**answer, "Body": FAULTS["ends early"](answer["Body"].read())}

    store.client = Client(content(3 * PART), lost)
    with pytest.raises(StoreError, match=r"IncompleteReadError") as error:
        store.blob_path(blob.sha256)
    assert error.value.temporary
    assert [path for path in store.cache.rglob("*") if path.is_file()] == []


# ---- the cache ----


def test_a_download_that_was_killed_is_made_again_in_its_place(store: Store) -> None:
    blob = store.put_bytes(content(3 * PART))
    part = blobs._part_of(store._cached(blob.sha256))
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(5 * PART))
    assert store.read_blob(blob.sha256) == content(3 * PART)
    assert [path.name for path in store.cache.rglob("*") if path.is_file()] == [blob.sha256]


def test_who_waits_for_a_download_that_fails_makes_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob, fetch, waits = store.put_bytes(content(PART)), Store._fetch, threading.Event()
    errors: list[BaseException] = []

    def failing_once(self: Store, sha256: str, cached: Path) -> None:
        if waits.is_set():
            fetch(self, sha256, cached)
            return
        waits.set()
        other.join(0.3)  # long enough to wait for the lock
        blobs._part_of(cached).unlink()
        raise StoreError("lost")

    def first() -> None:
        try:
            store.blob_path(blob.sha256)
        except StoreError as error:
            errors.append(error)

    def second() -> None:
        waits.wait()
        store.blob_path(blob.sha256)

    monkeypatch.setattr(Store, "_fetch", failing_once)
    other = threading.Thread(target=second)
    one = threading.Thread(target=first)
    other.start()
    one.start()
    one.join()
    other.join()
    assert [str(error) for error in errors] == ["lost"]
    assert [path.name for path in store.cache.rglob("*") if path.is_file()] == [blob.sha256]


# ---- uploads ----


@pytest.fixture
def requests(store: Store) -> list[tuple[str, bool]]:
    """(method, whether the server is asked before the body is sent) of the store's requests."""
    sent: list[tuple[str, bool]] = []

    def record(request: Any, **_: Any) -> None:
        sent.append((request.method, "Expect" in request.headers))

    store.client.meta.events.register_last("before-send.s3", record)
    return sent


def test_a_small_file_is_sent_with_its_headers_and_a_large_one_is_announced(
    store: Store, tmp_path: Path, requests: list[tuple[str, bool]]
) -> None:
    for size in (SMALL, SMALL + 1):
        (tmp_path / "file").write_bytes(bytes(size))
        store.put_file("object", tmp_path / "file")
        assert store.size("object") == size
    puts = [request for request in requests if request[0] == "PUT"]
    assert puts == [("PUT", False), ("PUT", True)]


def files(folder: Path, count: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / str(number)).write_bytes(b"file %d" % number)
    return [folder / str(number) for number in range(count)]


@pytest.fixture
def many(tmp_path: Path) -> list[Path]:
    return files(tmp_path / "many", blobs._MANY)


def test_many_files_are_looked_up_with_listings(
    store: Store, many: list[Path], requests: list[tuple[str, bool]]
) -> None:
    stored = store.put_blobs(many)
    assert [store.read_blob(blob.sha256) for blob in stored] == [path.read_bytes() for path in many]
    methods = [method for method, _ in requests]
    assert (methods.count("HEAD"), methods.count("PUT")) == (0, len(many))


def test_many_files_are_stored_once(
    store: Store, many: list[Path], requests: list[tuple[str, bool]]
) -> None:
    blob = store.put_blob(many[0])
    flat = hashlib.sha256(many[1].read_bytes()).hexdigest()
    store.put_bytes_at(flat_blob_key(flat), many[1].read_bytes())
    requests.clear()
    stored = store.put_blobs([*many, many[2]])
    assert (stored[0], stored[1].sha256, stored[-1]) == (blob, flat, stored[2])
    assert [method for method, _ in requests].count("PUT") == len(many) - 2
    requests.clear()
    assert store.put_blobs(many) == stored[:-1]
    assert {method for method, _ in requests} == {"GET"}


def test_blobs_of_another_size_are_replaced(store: Store, many: list[Path]) -> None:
    blob = store.put_blob(many[0])
    store.put_bytes_at(f"blobs/{blob.sha256[:2]}/{blob.sha256}", b"half")
    store.put_blobs(many)
    assert store.read_blob(blob.sha256) == many[0].read_bytes()


def test_files_are_looked_up_one_by_one_in_a_store_with_several_pages(
    store: Store, many: list[Path], requests: list[tuple[str, bool]], monkeypatch: Any
) -> None:
    store.put_blobs(many[:5])
    page = store._page
    monkeypatch.setattr(
        store, "_page", lambda *prefix, **arguments: page(*prefix, **{**arguments, "MaxKeys": 2})
    )
    requests.clear()
    store.put_blobs(many)
    methods = [method for method, _ in requests]
    assert methods.count("PUT") == len(many) - 5
    assert methods.count("HEAD") == 2 * len(many) - 5
    assert methods.count("GET") <= 2


class Forgetful:
    """A client that acknowledges the first PUTs and stores nothing."""

    def __init__(self, client: Any, lost: int) -> None:
        self._client, self._left, self._lock = client, iter(range(lost)), threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_object(self, **arguments: Any) -> Any:
        with self._lock:
            forgotten = next(self._left, None) is not None
        return None if forgotten else self._client.put_object(**arguments)


def test_lost_uploads_of_many_files_are_repeated(store: Store, many: list[Path]) -> None:
    client = store.client
    store.client = Forgetful(client, lost=3)
    assert {store.size(f"blobs/{b.sha256[:2]}/{b.sha256}") for b in store.put_blobs(many)} == {6, 7}
    store.delete("blobs/")
    store.client = Forgetful(client, lost=10**6)
    with pytest.raises(StoreError, match=r"acknowledged this blob .* twice and does not have it"):
        store.put_blobs(many)


# ---- what transfers are made of ----


def test_the_time_of_a_header_is_that_of_a_listing() -> None:
    time = datetime(2026, 11, 9, 7, 5, 3, tzinfo=UTC)
    for text in ("Mon, 09 Nov 2026 07:05:03 GMT", "2026-11-09T07:05:03Z", "2026-11-09T07:05:03"):
        assert parsed_time(text) == time
    assert parsed_time(time.timestamp()) == time


def test_results_come_in_order_and_the_items_are_not_all_taken_at_once() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    results = in_order(lambda number: number * number, items())
    assert list(itertools.islice(results, 50)) == [number * number for number in range(50)]
    results.close()
    assert len(taken) <= 50 + 2 * THREADS


def test_an_error_cancels_the_items_that_have_not_started() -> None:
    started: list[int] = []
    free = threading.Event()

    def function(number: int) -> None:
        started.append(number)
        if number == 0:
            raise ValueError("first")
        free.wait(0.2)

    with pytest.raises(ValueError, match="first"):
        list(in_order(function, range(10**9)))
    assert len(started) <= 2 * THREADS
