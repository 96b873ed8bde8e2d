"""What may go from a store, and what must stay."""

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


def named_by_a_run(store: Store, run: str, *steps: Step) -> None:
    store.put_json(f"runs/{run}/expanded.json", {"steps": {step.fingerprint: {} for step in steps}})
    store.put_json(f"runs/{run}/status.json", {"exit_code": 0})


def test_steps_of_no_run_go_with_the_blobs_that_only_they_name(
    store: Store, tmp_path: Path
) -> None:
    kept = finished(store, tmp_path, "kept", "shared")
    finished(store, tmp_path, "twin", "shared")
    finished(store, tmp_path, "gone", "its own")
    named_by_a_run(store, "one", kept)
    orphan = store.put_bytes(b"no manifest names these bytes")
    found = garbage(store, LATER, days=7)
    assert sum(key.startswith("steps/") for key in found.keys) == 2
    assert [key for key in found.keys if key.startswith("blobs/")].count(
        f"blobs/{orphan.sha256}"
    ) == 1
    assert found.size == sum(store.written("")[key][0] for key in found.keys)
    collect(store, found)
    assert store.done("records") == {kept.fingerprint}
    assert verify(store) == []
    assert garbage(store, LATER, days=7).keys == ()


def test_what_is_young_stays(store: Store, tmp_path: Path) -> None:
    finished(store, tmp_path, "fresh", "just written")
    store.put_bytes(b"a blob whose manifest comes later")
    store.put_json("work/abc/1/000000005/state.json", {"update": 5})
    assert garbage(store, time.time() + 60, days=7).keys == ()


def test_checkpoints_that_were_left_behind_go(store: Store) -> None:
    store.put_json("work/abc/1/000000005/state.json", {"update": 5})
    assert garbage(store, LATER, days=7).keys == ("work/abc/1/000000005/state.json",)


def test_nothing_goes_while_a_run_may_be_at_work(store: Store, tmp_path: Path) -> None:
    finished(store, tmp_path, "gone", "its own")
    store.put_json("runs/busy/plan.json", {})
    with pytest.raises(StoreError, match="busy may be at work"):
        garbage(store, time.time() + 60, days=7)
    assert garbage(store, LATER, days=7).keys != ()  # it has not moved for longer than that
