"""The probe reports what a mirror lacks and what has changed since hub.lock, and writes hub.lock."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli import main
from tests.mirror.fake_hub import FakeHub, clear_caches, connected
from xstilts.errors import PlanError
from xstilts.miniature.splits import has_rows
from xstilts.miniature.write import Sizes, write_miniature
from xstilts.mirror.probe import LOCK, probe, read_lock, unseen_lock, write_lock
from xstilts.tasks.registry import TASKS


def snli(premise: str = "a dog", **more: Any) -> bytes:
    rows = [
        {"premise": f"{premise} {i}", "hypothesis": "an animal", "label": i % 3, **more}
        for i in range(30)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def files(**more: Any) -> dict[str, bytes]:
    card = "---\nconfigs:\n- config_name: plain_text\n  data_files:\n  - split: train\n    path: train.jsonl\n"
    card += "  - split: validation\n    path: validation.jsonl\n---\n"
    return {
        "README.md": card.encode(),
        "train.jsonl": snli(**more),
        "validation.jsonl": snli("a cat"),
    }


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A hub with SNLI only."""
    hub = FakeHub()
    hub.add("datasets/stanfordnlp/snli", files())
    with connected(hub, monkeypatch, tmp_path / "cache"):
        yield hub


def statuses(lock: Path, mirror: str = "hub") -> dict[str, tuple[str, str | None]]:
    clear_caches()
    return {row["split"]: (row["status"], row["reason"]) for row in probe(mirror, lock, ["snli"])}


def locked(fake: FakeHub, tmp_path: Path) -> Path:
    """A lock written from the current state of the hub."""
    lock = tmp_path / "hub.lock"
    assert write_lock(probe("hub", lock, ["snli"]), lock) == 1
    return lock


def test_the_shipped_lock_lists_data_sets_of_tasks_and_only_verified_revisions() -> None:
    shipped = read_lock(LOCK)
    assert shipped
    assert set(shipped) <= set(json.loads(unseen_lock())["sources"])
    for entry in shipped.values():
        assert entry["verified"] == (entry["revision"] is not None)


def test_what_a_probe_observed_is_written_as_verified(fake: FakeHub, tmp_path: Path) -> None:
    entry = read_lock(locked(fake, tmp_path))["stanfordnlp/snli"]
    assert entry["verified"] is True
    assert entry["revision"] == fake.refs["datasets/stanfordnlp/snli"]["main"]
    assert entry["splits"]["plain_text/train"]["columns"] == {
        "hypothesis": "string",
        "label": "int64",
        "premise": "string",
    }
    others = [
        other
        for name, other in read_lock(tmp_path / "hub.lock").items()
        if name != "stanfordnlp/snli"
    ]
    assert {(other["revision"], other["verified"]) for other in others} == {(None, False)}


def test_a_probe_right_after_writing_the_lock_finds_no_change(
    fake: FakeHub, tmp_path: Path
) -> None:
    lock = locked(fake, tmp_path)
    assert statuses(lock) == {"train": ("ok", None), "select": ("ok", None)}


def test_a_new_commit_with_the_same_rows_is_a_changed_revision(
    fake: FakeHub, tmp_path: Path
) -> None:
    lock = locked(fake, tmp_path)
    fake.add("datasets/stanfordnlp/snli", {**files(), "notes.txt": b"new"})
    status, reason = statuses(lock)["train"]
    assert status == "changed"
    assert "revision" in str(reason)
    assert "hash" not in str(reason)


def test_changed_rows_are_found_by_their_hash(fake: FakeHub, tmp_path: Path) -> None:
    lock = locked(fake, tmp_path)
    fake.add("datasets/stanfordnlp/snli", files(premise="another dog"))
    changed = statuses(lock)
    assert "the hash of its first 20 rows differs from hub.lock" in str(changed["train"][1])
    assert "hash" not in str(changed["select"][1])


def test_a_column_of_another_type_is_named(fake: FakeHub, tmp_path: Path) -> None:
    lock = locked(fake, tmp_path)
    fake.add("datasets/stanfordnlp/snli", files(label="1"))
    assert "column label is string, hub.lock has int64" in str(statuses(lock)["train"][1])


def test_a_missing_column_that_a_task_reads_is_named_without_any_lock(
    fake: FakeHub, tmp_path: Path
) -> None:
    data = snli().replace(b'"premise"', b'"sentence1"')
    fake.add("datasets/stanfordnlp/snli", {**files(), "train.jsonl": data})
    status, reason = statuses(tmp_path / "none.lock")["train"]
    assert status == "changed"
    assert "KeyError: 'premise'" in str(reason)
    assert "sentence1, hypothesis, label" in str(reason)


def test_a_data_set_that_is_not_on_the_hub_is_missing_with_all_reasons(
    fake: FakeHub, tmp_path: Path
) -> None:
    (row,) = [row for row in probe("hub", tmp_path / "l", ["mnli"]) if row["split"] == "train"]
    assert row["status"] == "missing"
    assert "nyu-mll/glue" in row["reason"]
    assert "nyu-mll/multi_nli" in row["reason"]


def test_the_command_exits_with_3_for_missing_and_5_for_changed_sources(
    fake: FakeHub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def exit_code(*more: str) -> int:
        clear_caches()
        return main(["tasks", "probe", "--task", "snli", *more])

    lock = str(tmp_path / "hub.lock")
    assert exit_code("--lock", lock) == 0
    fake.add("datasets/stanfordnlp/snli", files(premise="another dog"))
    assert statuses(Path(lock))["train"][0] == "changed"
    assert exit_code() == 0  # the shipped lock has no entry for it
    assert "not verified in hub.lock" in capfd.readouterr().out
    assert main(["tasks", "probe", "--task", "mnli"]) == 3


def test_rows_without_a_commit_are_not_locked(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no source has one"):
        write_lock(probe(str(hub), LOCK, ["snli"]), tmp_path / "hub.lock")
    assert not (tmp_path / "hub.lock").exists()


def test_the_real_slices_have_the_columns_that_tasks_read(hub: Path) -> None:
    rows = probe(str(hub), rows=5)
    assert [row for row in rows if row["status"] == "changed"] == []
    assert {row["task"] for row in rows if row["status"] == "ok"} >= {
        "snli",
        "xnli",
        "xquad",
        "udpos",
        "tatoeba",
        "xcopa",
        "commonsense_qa",
        "coco_captions",
        "nlvr",
    }


def test_a_probe_finds_every_task_that_the_miniature_has_rows_for(tmp_path: Path) -> None:
    write_miniature(tmp_path / "m", sizes=Sizes(text=16, train=24, select=6, test=6, pictures=15))
    rows = [row for row in probe(str(tmp_path / "m"), rows=3) if row["language"] == "en"]
    assert Counter(row["status"] for row in rows if row["task"] == "ccg") == {"licensed": 2}
    assert {row["task"] for row in rows if row["status"] == "ok"} >= {
        name for name, task in TASKS.items() if has_rows(task)
    } - {
        "xcopa",
        "tatoeba",
        "tatoeba_squad",
        "bucc",
        "bucc_mining",
    }
    assert not [row for row in rows if row["status"] == "changed"]
