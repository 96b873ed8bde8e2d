"""The probe: what a mirror lacks, what has changed since hub.lock was written, and what is
written into it.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.data.fake_hub import FakeHub, serving

from pipelines.cli import main
from xstilts.errors import PlanError
from xstilts.miniature.write import Sizes, write_miniature
from xstilts.mirror.probe import LOCK, probe, read_lock, unseen_lock, write_lock
from xstilts.sources import hub as hub_module
from xstilts.sources.loader import _hub_revision
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
    """A hub that has SNLI alone."""
    from huggingface_hub import constants

    one = FakeHub()
    one.add("datasets/stanfordnlp/snli", files())
    with serving(one) as address:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setenv("XSTILTS_CACHE", str(tmp_path / "cache"))
        forget_answers()
        yield one
    forget_answers()


def forget_answers() -> None:
    for cached in (hub_module.repo, hub_module.layout, hub_module.data_revision, _hub_revision):
        cached.cache_clear()


def statuses(lock: Path, mirror: str = "hub") -> dict[str, tuple[str, str | None]]:
    forget_answers()
    return {row["split"]: (row["status"], row["reason"]) for row in probe(mirror, lock, ["snli"])}


def locked(fake: FakeHub, tmp_path: Path) -> Path:
    """A lock that was written from the hub as it is."""
    lock = tmp_path / "hub.lock"
    assert write_lock(probe("hub", lock, ["snli"]), lock) == 1
    return lock


def test_the_shipped_lock_names_every_data_set_and_invents_nothing() -> None:
    shipped = read_lock(LOCK)
    assert set(shipped) == set(json.loads(unseen_lock())["sources"])
    for entry in shipped.values():
        assert entry["verified"] == (entry["revision"] is not None)


def test_what_a_probe_saw_is_written_as_verified(fake: FakeHub, tmp_path: Path) -> None:
    entry = read_lock(locked(fake, tmp_path))["stanfordnlp/snli"]
    assert entry["verified"] is True
    assert entry["revision"] == fake.refs["datasets/stanfordnlp/snli"]["main"]
    assert entry["splits"]["plain_text/train"]["columns"] == {
        "hypothesis": "string",
        "label": "int64",
        "premise": "string",
    }
    others = [
        one for name, one in read_lock(tmp_path / "hub.lock").items() if name != "stanfordnlp/snli"
    ]
    assert {(one["revision"], one["verified"]) for one in others} == {(None, False)}


def test_nothing_has_changed_right_after(fake: FakeHub, tmp_path: Path) -> None:
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


def test_other_rows_are_told_by_their_hash(fake: FakeHub, tmp_path: Path) -> None:
    lock = locked(fake, tmp_path)
    fake.add("datasets/stanfordnlp/snli", files(premise="another dog"))
    found = statuses(lock)
    assert "its first 20 rows have another hash" in str(found["train"][1])
    assert "hash" not in str(found["select"][1])


def test_a_column_of_another_type_is_named(fake: FakeHub, tmp_path: Path) -> None:
    lock = locked(fake, tmp_path)
    fake.add("datasets/stanfordnlp/snli", files(label="1"))
    assert "column label is string, hub.lock has int64" in str(statuses(lock)["train"][1])


def test_a_column_that_a_task_reads_and_that_is_gone_is_named_without_any_lock(
    fake: FakeHub, tmp_path: Path
) -> None:
    data = snli().replace(b'"premise"', b'"sentence1"')
    fake.add("datasets/stanfordnlp/snli", {**files(), "train.jsonl": data})
    status, reason = statuses(tmp_path / "none.lock")["train"]
    assert status == "changed"
    assert "KeyError: 'premise'" in str(reason)
    assert "sentence1, hypothesis, label" in str(reason)


def test_what_the_hub_has_not_is_missing_with_every_reason(fake: FakeHub, tmp_path: Path) -> None:
    (row,) = [row for row in probe("hub", tmp_path / "l", ["mnli"]) if row["split"] == "train"]
    assert row["status"] == "missing"
    assert "nyu-mll/glue" in row["reason"]
    assert "nyu-mll/multi_nli" in row["reason"]


def test_the_command_ends_with_3_for_missing_5_for_changed_and_0(
    fake: FakeHub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def ends(*more: str) -> int:
        forget_answers()
        return main(["tasks", "probe", "--task", "snli", *more])

    lock = str(tmp_path / "hub.lock")
    assert ends("--lock", lock) == 0
    fake.add("datasets/stanfordnlp/snli", files(premise="another dog"))
    assert statuses(Path(lock))["train"][0] == "changed"
    assert ends() == 0  # the shipped lock knows nothing of it
    assert "not verified in hub.lock" in capfd.readouterr().out
    assert main(["tasks", "probe", "--task", "mnli"]) == 3


def test_rows_of_a_slice_are_not_locked(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no source here has one"):
        write_lock(probe(str(hub), LOCK, ["snli"]), tmp_path / "hub.lock")
    assert not (tmp_path / "hub.lock").exists()


def test_the_real_slices_have_the_columns_that_tasks_read(hub: Path) -> None:
    rows = probe(str(hub), rows=5)
    assert [row for row in rows if row["status"] == "changed"] == []
    there = {row["task"] for row in rows if row["status"] == "ok"}
    assert there >= {
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


def test_the_miniature_has_every_task_but_the_licensed_one(tmp_path: Path) -> None:
    write_miniature(tmp_path / "m", sizes=Sizes(text=16, train=24, select=6, test=6, pictures=15))
    rows = [row for row in probe(str(tmp_path / "m"), rows=3) if row["language"] == "en"]
    assert Counter(row["status"] for row in rows if row["task"] == "ccg") == {"licensed": 2}
    assert {row["task"] for row in rows if row["status"] == "ok"} >= set(TASKS) - {
        "ccg",
        "xcopa",
        "tatoeba",
        "tatoeba_squad",
        "bucc",
        "bucc_mining",
    }
    assert not [row for row in rows if row["status"] == "changed"]
