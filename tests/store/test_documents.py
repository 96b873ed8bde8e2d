"""Documents of a store are checked when they are read; none of them leads out of a folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from xstilts.errors import StoreError
from xstilts.step import Step
from xstilts.store.documents import checked_name, parse
from xstilts.store.store import Store
from xstilts.store.verify import verify
from xstilts.stored_documents import KINDS

SHA256 = "ab" * 32


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not valid JSON"),
        (b'{"run": "a', "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b"null", "expected a JSON object, not null"),
        (b"[]", "expected a JSON object, not a list"),
        (b"7", "expected a JSON object, not a number"),
        (b"{}", "`run` is missing"),
        (b'{"run": null, "mirror": ""}', "`run` must be text, not null"),
        (b'{"run": ["a"], "mirror": ""}', "`run` must be text, not a list"),
    ],
)
def test_a_corrupt_document_is_named_with_its_fault(data: bytes, message: str) -> None:
    with pytest.raises(StoreError, match=message) as error:
        parse("runs/r/run.json", data, "s3://b/runs/r/run.json")
    assert str(error.value).startswith("s3://b/runs/r/run.json: corrupt: ")


@pytest.mark.parametrize("pattern", KINDS)
def test_every_kind_of_document_must_be_an_object_with_its_members(pattern: str) -> None:
    key = pattern.replace("*", "x")
    members = any(not name.endswith("?") for name in KINDS[pattern].shape)
    for text in (b"[]", b"null", *([b"{}"] if members else [])):
        with pytest.raises(StoreError, match="corrupt"):
            parse(key, text, key)


def test_members_of_later_versions_are_allowed() -> None:
    document = {"exit_code": 0, "missing": [], "new": [1]}
    assert parse("runs/r/status.json", json.dumps(document).encode(), "") == document


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/passwd", "a/../../b", "a//b", "", ".", "a/", "a\\b", "a\nb", "a\0"]
)
def test_a_file_name_stays_in_its_folder(name: str) -> None:
    with pytest.raises(StoreError, match="not a valid file name"):
        checked_name(name, "s3://b/m")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer/vocab.json", "a b", ".hidden"])
def test_names_below_a_folder_are_valid(name: str) -> None:
    assert checked_name(name, "") == name


def planted(store: Store, **changes: Any) -> Step:
    """A step whose manifest was changed in the store."""
    step = Step("records", {"task": "t"})
    blob = {"sha256": SHA256, "size": 3}
    manifest = {
        "kind": "records", "fingerprint": step.fingerprint, "files": {"rows": blob},
        "step": step.to_json(), "info": {},
    } | changes  # fmt: skip
    store.put_json(f"steps/records/{step.fingerprint}/manifest.json", manifest)
    return step


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"files": {"rows": {"sha256": "/tmp/victim", "size": 3}}},
            "'/tmp/victim' is not a SHA-256",
        ),
        ({"files": {"rows": {"sha256": SHA256.upper(), "size": 3}}}, "is not a SHA-256"),
        ({"files": {"rows": {"sha256": SHA256, "size": "3"}}}, r"expected \{sha256, size\}"),
        ({"files": {"rows": None}}, r"expected \{sha256, size\}, not None"),
        ({"files": {"../../rows": {"sha256": SHA256, "size": 3}}}, "not a valid file name"),
        ({"files": []}, "`files` must be an object, not a list"),
        ({"fingerprint": "0" * 64}, "the manifest of another step, records/000000000000"),
        ({"kind": "score"}, "the manifest of another step, score/"),
    ],
)
def test_a_manifest_that_names_other_files_is_refused(
    store: Store, changes: dict[str, Any], message: str
) -> None:
    step = planted(store, **changes)
    with pytest.raises(StoreError, match=message):
        store.manifest("records", step.fingerprint)


def test_verify_deletes_no_local_file_that_a_manifest_names(store: Store, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    planted(store, files={"rows": {"sha256": str(victim), "size": 4}})
    (problem,) = verify(store)
    assert "is not a SHA-256" in problem.text
    assert victim.read_text() == "mine"


def test_a_checkpoint_does_not_write_outside_its_folder(store: Store, tmp_path: Path) -> None:
    state = {"update": 5, "time": 1.0, "files": {"../../evil": SHA256}}
    store.put_json("work/f/a/000000005/state.json", state)
    checkpoint = store.latest_checkpoint("f")
    assert checkpoint is not None
    with pytest.raises(StoreError, match="not a valid file name"):
        store.checkpoint_files(*checkpoint, tmp_path / "into")
    assert not list(tmp_path.rglob("*evil*"))


def test_a_folder_of_the_store_writes_no_file_outside(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "list", lambda prefix: [f"{prefix}fine", f"{prefix}../../evil"])
    with pytest.raises(StoreError, match="not a valid file name"):
        store.get_folder("runs/r/report/", tmp_path / "a" / "report")
    assert not list(tmp_path.rglob("*evil*"))
