"""Checkpoints are uploaded while a step trains."""

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from xstilts.errors import StoreError
from xstilts.runs.checkpoint_uploads import KEPT, CheckpointUploads


class SlowStore:
    """A store whose uploads wait for `go`, and fail at some updates."""

    def __init__(self, failing: tuple[int, ...] = ()) -> None:
        self.go, self.failing, self.calls = threading.Event(), failing, []  # type: ignore[var-annotated]

    def put_checkpoint(
        self, fingerprint: str, attempt: str, files: Mapping[str, Path], state: Mapping[str, Any]
    ) -> None:
        assert self.go.wait(10)
        if state["update"] in self.failing:
            raise StoreError("s3://bucket/work: the server cannot be reached")
        self.calls.append(
            ("uploaded", state["update"], {n: p.read_text() for n, p in files.items()})
        )

    def delete_older_checkpoints(self, fingerprint: str, keep: int) -> None:
        self.calls.append(("deleted", keep))


def uploads(store: Any) -> CheckpointUploads:
    return CheckpointUploads(store, "f" * 64, "attempt")


def state(folder: Path, text: str) -> dict[str, Path]:
    (folder / "weights").write_text(text)
    return {"weights": folder / "weights"}


def test_training_continues_during_an_upload(tmp_path: Path) -> None:
    store = SlowStore()
    with uploads(store) as running:
        running.put(lambda: state(tmp_path, "at ten"), 10)
        assert store.calls == []  # `put` has returned, and nothing is uploaded yet
        store.go.set()
    assert store.calls == [("uploaded", 10, {"weights": "at ten"}), ("deleted", KEPT)]


def test_the_next_checkpoint_waits_before_it_overwrites_the_files(tmp_path: Path) -> None:
    store = SlowStore()
    with uploads(store) as running:
        running.put(lambda: state(tmp_path, "at ten"), 10)
        started = time.monotonic()
        threading.Timer(0.2, store.go.set).start()
        running.put(lambda: state(tmp_path, "at twenty"), 20)
        assert time.monotonic() - started > 0.1
    assert [call for call in store.calls if call[0] == "uploaded"] == [
        ("uploaded", 10, {"weights": "at ten"}),
        ("uploaded", 20, {"weights": "at twenty"}),
    ]


def test_a_failed_upload_is_raised_at_the_next_checkpoint(tmp_path: Path) -> None:
    store = SlowStore(failing=(10,))
    store.go.set()
    with uploads(store) as running:
        running.put(lambda: state(tmp_path, "at ten"), 10)
        with pytest.raises(StoreError, match="cannot be reached"):
            running.put(lambda: state(tmp_path, "at twenty"), 20)
        running.wait()  # raised once
    assert store.calls == []


def test_a_failed_last_upload_is_raised_by_wait(tmp_path: Path) -> None:
    store = SlowStore(failing=(10,))
    store.go.set()
    with uploads(store) as running:
        running.put(lambda: state(tmp_path, "at ten"), 10)
        with pytest.raises(StoreError, match="cannot be reached"):
            running.wait()


def failing_step(store: SlowStore, folder: Path) -> None:
    with uploads(store) as running:
        running.put(lambda: state(folder, "at ten"), 10)
        threading.Timer(0.1, store.go.set).start()
        raise ValueError("an error of the step")


def test_a_step_that_fails_leaves_no_upload_behind(tmp_path: Path) -> None:
    store = SlowStore()
    with pytest.raises(ValueError, match="of the step"):
        failing_step(store, tmp_path)
    assert [call[0] for call in store.calls] == ["uploaded", "deleted"]
    assert not [t for t in threading.enumerate() if t.name.startswith("checkpoint-upload")]
