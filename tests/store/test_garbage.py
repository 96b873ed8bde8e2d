"""Which objects of a store are garbage, and which must be kept."""

import time
from pathlib import Path

import pytest

from xstilts.errors import StoreError
from xstilts.step import Step
from xstilts.store.garbage import DAY, collect, garbage
from xstilts.store.store import Store
from xstilts.store.verify import verify

LATER = time.time() + 30 * DAY


def finished(store: Store, folder: Path, name: str, text: str) -> Step:
    step = Step("records", {"task": name})
    (folder / name).write_text(text)
    store.commit(step, {"rows": folder / name}, {})
    return step


def referenced_by_run(store: Store, run: str, *steps: Step) -> None:
    store.put_json(f"runs/{run}/expanded.json", {"steps": {step.fingerprint: {} for step in steps}})
    store.put_json(f"runs/{run}/status.json", {"exit_code": 0})


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
    assert unneeded.keys.count(f"blobs/{orphan.sha256}") == 1
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
