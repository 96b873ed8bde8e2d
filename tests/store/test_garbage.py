"""Which objects of a store are garbage, and which must be kept."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xstilts.errors import StoreError
from xstilts.step import Step
from xstilts.store.garbage import DAY, collect, garbage
from xstilts.store.object_keys import blob_key, manifest_key
from xstilts.store.store import Store
from xstilts.store.verify import verify

LATER = time.time() + 30 * DAY


def finished(store: Store, folder: Path, name: str, text: str) -> Step:
    step = Step("records", {"task": name})
    (folder / name).write_text(text)
    store.commit(step, {"rows": folder / name}, {})
    return step


def referenced_by_run(store: Store, run: str, *steps: Step) -> None:
    expanded = {"steps": {step.fingerprint: step.to_json() for step in steps}}
    store.put_json(f"runs/{run}/expanded.json", expanded)
    store.put_json(f"runs/{run}/status.json", {"exit_code": 0, "missing": []})


def test_steps_without_a_run_are_deleted_with_the_blobs_that_only_they_reference(
    store: Store, tmp_path: Path
) -> None:
    kept = finished(store, tmp_path, "kept", "shared")
    finished(store, tmp_path, "twin", "shared")
    finished(store, tmp_path, "gone", "its own")
    referenced_by_run(store, "one", kept)
    orphan = store.put_bytes(b"no manifest references these bytes")
    unneeded = garbage(store, LATER, days=7)
    assert sum(key.startswith("steps/") for key in unneeded.keys) == 2
    assert unneeded.keys.count(blob_key(orphan.sha256)) == 1
    assert unneeded.size == sum(store.written("")[key][0] for key in unneeded.keys)
    collect(store, unneeded)
    assert store.done("records") == {kept.fingerprint}
    assert verify(store) == []
    assert garbage(store, LATER, days=7).keys == ()


def test_young_objects_are_kept(store: Store, tmp_path: Path) -> None:
    finished(store, tmp_path, "fresh", "just written")
    store.put_bytes(b"a blob whose manifest comes later")
    store.put_json("work/abc/1/000000005/state.json", {"update": 5})
    assert garbage(store, time.time() + 60, days=7).keys == ()


def test_abandoned_checkpoints_are_garbage(store: Store) -> None:
    store.put_json("work/abc/1/000000005/state.json", {"update": 5})
    assert garbage(store, LATER, days=7).keys == ("work/abc/1/000000005/state.json",)


def test_nothing_is_collected_while_a_run_may_be_active(store: Store, tmp_path: Path) -> None:
    finished(store, tmp_path, "gone", "its own")
    store.put_json("runs/busy/plan.json", {})
    with pytest.raises(StoreError, match="busy may be active"):
        garbage(store, time.time() + 60, days=7)
    assert garbage(store, LATER, days=7).keys != ()  # unchanged for longer than that


@pytest.mark.parametrize("days", [0, 0.5, 7, 365])
@pytest.mark.parametrize(
    ("unchanged", "active"), [(60, True), (6.9 * DAY, True), (7.1 * DAY, False)]
)
def test_whether_a_run_may_be_active_does_not_depend_on_the_age_of_garbage(
    store: Store, days: float, unchanged: float, active: bool
) -> None:
    """unchanged: seconds since the run's folder changed."""
    store.put_json("runs/live/run.json", {"run": "live", "mirror": "hub", "created": 1.0})
    store.put_json("work/abc/1/000000005/state.json", {"update": 5})
    now = time.time() + unchanged
    if active:
        with pytest.raises(StoreError, match=r"live may be active .*changed within 7 days"):
            garbage(store, now, days)
    else:
        garbage(store, now, days)


@pytest.mark.parametrize("days", [0, 7])
@pytest.mark.parametrize(("age", "kept"), [(60, True), (6.9 * DAY, True), (7.1 * DAY, False)])
def test_a_blob_whose_manifest_may_come_later_is_kept(
    store: Store, days: float, age: float, kept: bool
) -> None:
    blob = blob_key(store.put_bytes(b"a blob whose manifest comes later").sha256)
    assert (blob not in garbage(store, time.time() + age, days).keys) == kept


def test_with_0_days_young_steps_and_checkpoints_of_deleted_runs_are_garbage(
    store: Store, tmp_path: Path
) -> None:
    gone = finished(store, tmp_path, "gone", "its own")
    store.put_json("work/abc/1/000000005/state.json", {"update": 5})
    manifest = store.manifest("records", gone.fingerprint)
    assert manifest is not None
    assert set(garbage(store, time.time() + 60, days=0).keys) == {
        manifest_key("records", gone.fingerprint),
        blob_key(manifest.files["rows"].sha256),
        "work/abc/1/000000005/state.json",
    }


@pytest.mark.parametrize("text", ["null", "[]", "{}", '{"steps": 3}', '{"steps": {"a'])
def test_nothing_is_collected_while_an_expansion_cannot_be_read(
    store: Store, tmp_path: Path, text: str
) -> None:
    referenced_by_run(store, "one", finished(store, tmp_path, "kept", "needed"))
    store.put_bytes_at("runs/one/expanded.json", text.encode())
    with pytest.raises(StoreError, match=r"runs/one/expanded.json: corrupt"):
        garbage(store, LATER, days=7)


class Lossy:
    """A client whose listings are changed by `page`, as a broken server's would be."""

    def __init__(self, client: Any, page: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
        self._client, self._page = client, page

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def list_objects_v2(self, **arguments: Any) -> dict[str, Any]:
        arguments.pop("ContinuationToken", None)
        answer: dict[str, Any] = self._client.list_objects_v2(**arguments)
        self._page(arguments, answer)
        return answer


def truncated_without_token(arguments: dict[str, Any], page: dict[str, Any]) -> None:
    page["IsTruncated"] = True
    page.pop("NextContinuationToken", None)


def repeated_token(arguments: dict[str, Any], page: dict[str, Any]) -> None:
    page |= {"IsTruncated": True, "NextContinuationToken": "again"}


def without_manifests(arguments: dict[str, Any], page: dict[str, Any]) -> None:
    page["Contents"] = [item for item in page.get("Contents", ()) if "/steps/" not in item["Key"]]


def without_runs(arguments: dict[str, Any], page: dict[str, Any]) -> None:
    if "Delimiter" not in arguments:
        contents = page.get("Contents", ())
        page["Contents"] = [item for item in contents if "/runs/" not in item["Key"]]


def without_blobs(arguments: dict[str, Any], page: dict[str, Any]) -> None:
    page["Contents"] = [item for item in page.get("Contents", ()) if "/blobs/" not in item["Key"]]


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (truncated_without_token, "IsTruncated without NextContinuationToken"),
        (repeated_token, "listings are not reliable"),
        (without_manifests, "lacks 1 object, such as steps/records/"),
        (without_runs, "lacks 1 object, such as runs/one/expanded.json"),
        (without_blobs, "lacks 1 object, such as blobs/"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_nothing_is_collected_by_a_listing_that_is_not_complete(
    store: Store,
    tmp_path: Path,
    page: Callable[[dict[str, Any], dict[str, Any]], None],
    message: str,
) -> None:
    referenced_by_run(store, "one", finished(store, tmp_path, "kept", "needed"))
    store.client = Lossy(store.client, page)
    with pytest.raises(StoreError, match=message):
        garbage(store, LATER, days=7)
