"""A damaged JSON document of a store or a folder ends each command that reads it with one line: the
document, what is wrong in it, and what to do.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli import main
from pipelines.local_runner import run_name
from tests.pipelines.firings import SCHEDULE, apply, fire, run_of
from xstilts.errors import CorruptError, DataError
from xstilts.runs import recurring
from xstilts.store.server import serve
from xstilts.store.store import Store

FIRST, FAILED, LAST = run_of(0), run_of(1), run_of(2)
#: Takes the place of a member: it is removed.
GONE = object()
#: In place of a whole document.
WHOLE: Mapping[str, tuple[bytes, str]] = {
    "empty": (b"", "not valid JSON"),
    "truncated": (b'{"a": [1, ', "not valid JSON"),
    "null": (b"null", "expected a JSON object, not null"),
    "a list": (b"[]", "expected a JSON object, not a list"),
}
#: Document → command → member → what takes its place, and what the message says of it.
Damage = tuple[Any, str]
DAMAGED: Mapping[str, Mapping[str, Mapping[str, Damage]]] = {
    f"runs/{LAST}/run.json": {
        "runs": {
            "created": (GONE, "`created` is missing"),
            "created ": ("today", "`created` must be a number from 0 to"),
            "created  ": (1e300, "`created` must be a number from 0 to"),
            "mirror": (None, "`mirror` must be text, not null"),
        },
        "report": {
            "firing": (GONE, "`firing` is missing"),
            "firing ": ([], "`firing` must be an integer, not a list"),
            "schedule": ({}, "`schedule` must be text, not an object"),
        },
        "status": {"images": ([], "`images` must be an object, not a list")},
    },
    f"runs/{FAILED}/status.json": {
        "runs": {
            "exit_code": ("3", "`exit_code` must be an integer, not text"),
            "missing": (GONE, "`missing` is missing"),
            "missing ": (7, "`missing` must be a list, not a number"),
        },
        "history": {"exit_code": (GONE, "`exit_code` is missing")},
    },
    f"runs/{LAST}/expanded.json": {
        "report": {
            "steps": (GONE, "`steps` is missing"),
            "cells": (GONE, "`cells` is missing"),
            "cells ": (None, "`cells` must be a list, not null"),
            "cells.0": ([], "`cells[0]` must be an object, not a list"),
            "cells.0.chain": (GONE, "`cells[0].chain` is missing"),
            "cells.0.chain ": (["f"], "`cells[0]` has no step f"),
            "cells.0.scores.xnli": (7, "`cells[0].scores.xnli` must be text, not a number"),
            "cells.0.seed": ("0", "`cells[0].seed` must be an integer or null, not text"),
            "order.evaluations": ([], "`order.evaluations` lacks xnli"),
            "plan.report.regression.points": ([], "`plan.report.regression.points` must be"),
            "plan.confidence": ("high", "`plan.confidence` must be a number, not text"),
            "headline": (GONE, "`headline` is missing"),
            "identities": ([{}], "`identities[0].path` is missing"),
        },
        "train-log": {
            "groups": (GONE, "`groups` is missing"),
            "plan": ([], "`plan` must be an object, not a list"),
        },
        "results": {
            "name": (None, "`name` must be text, not null"),
            "order": ([], "`order` must be an object, not a list"),
        },
        "status": {"steps": ([], "`steps` must be an object, not a list")},
        "export-model": {"cells": ([None], "`cells[0]` must be an object, not null")},
    },
    f"runs/{LAST}/report/summary.json": {
        "report": {
            "effects": (GONE, "`effects` is missing"),
            "effects.0": (None, "`effects[0]` must be an object, not null"),
            "effects.0.effect": ("1", "`effects[0].effect` must be a number or null, not text"),
            "confidence": (None, "`confidence` must be a number, not null"),
            "missing": ([{}], "`missing[0].what` is missing"),
            "controls": ({}, "`controls` must be a list, not an object"),
        },
        "history": {
            "confidence": ("x", "`confidence` must be a number, not text"),
            "averages": ([[]], "`averages[0]` must be an object, not a list"),
            "averages.0.over": (None, "`averages[0].over` must be a list, not null"),
            "missing": (7, "`missing` must be a list, not a number"),
        },
    },
    f"runs/{LAST}/report_inputs.json": {"history": {"inputs": (7, "`inputs` must be text")}},
    f"schedules/{SCHEDULE}/firings/f2.json": {
        "history": {
            "number": ("2", "`number` must be an integer, not text"),
            "at": (-1, "`at` must be a number from 0 to"),
            "run": (GONE, "`run` is missing"),
        },
    },
    f"runs/{LAST}/failures/score-a.json": {
        "status": {"error": (GONE, "`error` is missing"), "what": ([], "`what` must be text")},
    },
    f"runs/{LAST}/waiting/finetune-b.json": {
        "status": {
            "reasons": (None, "`reasons` must be a list, not null"),
            "job": (GONE, "`job` is missing"),
        },
    },
}  # fmt: skip
#: Documents that only some damaged commands need.
MORE: Mapping[str, Mapping[str, Any]] = {
    f"runs/{LAST}/failures/score-a.json": {
        "what": "b on xnli", "error": "no memory", "log": "", "exit_code": 1,
    },
    f"runs/{LAST}/waiting/finetune-b.json": {
        "kind": "finetune", "group": "b", "job": "j", "namespace": "n", "reasons": ["queued"],
    },
}  # fmt: skip
CASES = [
    pytest.param(key, command, member.strip(), value, message, id=f"{command}: {member} in {key}")
    for key, commands in DAMAGED.items()
    for command, members in commands.items()
    for member, (value, message) in members.items()
]
WHOLE_CASES = [
    pytest.param(key, command, data, message, id=f"{command}: {key} is {what}")
    for key, commands in DAMAGED.items()
    for command in commands
    for what, (data, message) in WHOLE.items()
]


@pytest.fixture(scope="module")
def fired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A schedule with three firings, of which the second failed."""
    folder = tmp_path_factory.mktemp("fired")
    with serve(folder / "s3") as server, pytest.MonkeyPatch.context() as patch:
        for name, value in {**server.env(), "XSTILTS_CACHE": str(folder / "cache")}.items():
            patch.setenv(name, value)
        store = Store.open("s3://xstilts/store", cache=folder / "cache")
        apply(store)
        for number, share in enumerate((0.7, None, 0.5)):
            fire(store, number, folder, share)
        for key, document in MORE.items():
            store.put_json(key, document)
        yield store


def run(command: str, store: Store, folder: Path) -> int:
    """The exit code of a command that reads runs and schedules."""
    lines: Mapping[str, list[str]] = {
        "report": ["report", LAST, "--out", str(folder)],
        "history": ["schedule", "history", SCHEDULE, "--out", str(folder)],
        "results": ["results", LAST, "--tensorboard", str(folder)],
        "runs": ["runs"],
        "status": ["status", LAST],
        "train-log": ["train-log", LAST],
        "export-model": ["export-model", LAST, "--list"],
    }
    return main([*lines[command], "--store", store.uri])


def replaced(document: Any, member: str, value: Any) -> None:
    """Puts a value in the place of a member, `a.0.b` in the first object of the list `a`."""
    *outer, name = member.split(".")
    for each in outer:
        document = document.setdefault(each, {}) if isinstance(document, dict) else document[0]
    place = 0 if isinstance(document, list) else name
    if value is GONE:
        del document[place]
    else:
        document[place] = value


def message_of(
    store: Store, key: str, data: bytes, command: Callable[[], int], capfd: Any
) -> tuple[int, str]:
    """(exit code, message) of a command while a document of the store has these bytes."""
    sound = store.get_bytes_at(key)
    assert sound is not None
    store.put_bytes_at(key, data)
    try:
        code = command()
    finally:
        store.put_bytes_at(key, sound)
    return code, capfd.readouterr().err


@pytest.mark.parametrize(("key", "command", "member", "value", "message"), CASES)
def test_a_member_that_is_wrong_is_named(
    fired: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    key: str, command: str, member: str, value: Any, message: str,
) -> None:  # fmt: skip
    document = json.loads(fired.get_bytes_at(key) or b"")
    replaced(document, member, value)
    data = json.dumps(document).encode()
    code, said = message_of(fired, key, data, lambda: run(command, fired, tmp_path), capfd)
    assert code in (2, 3), said
    assert message in said
    assert_it_helps(said, key)


@pytest.mark.parametrize(("key", "command", "data", "message"), WHOLE_CASES)
def test_a_document_that_is_no_object_is_named(
    fired: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    key: str, command: str, data: bytes, message: str,
) -> None:  # fmt: skip
    code, said = message_of(fired, key, data, lambda: run(command, fired, tmp_path), capfd)
    assert code in (2, 3), said
    assert message in said
    assert_it_helps(said, key)


def assert_it_helps(message: str, key: str) -> None:
    """One line with the document and what to do, and no traceback."""
    assert key.rpartition("/")[2] in message
    assert re.search(r"; (delete|run|cancel|restore)\b", message), message
    assert "unexpected" not in message
    assert message.count("\n") == 1, message


def test_a_damaged_manifest_is_named(
    fired: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    [key, *_] = [key for key in fired.list("steps/") if key.endswith("/manifest.json")]
    manifest = json.loads(fired.get_bytes_at(key) or b"")
    data = json.dumps({**manifest, "info": {"seconds": "long"}}).encode()
    code, said = message_of(fired, key, data, lambda: run("history", fired, tmp_path), capfd)
    assert code == 3
    assert "`info.seconds` must be a number, not text" in said
    assert_it_helps(said, key)


def test_a_step_that_has_changed_is_named(
    fired: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    key = f"runs/{LAST}/expanded.json"
    expanded = json.loads(fired.get_bytes_at(key) or b"")
    next(iter(expanded["steps"].values()))["spec"] = {}
    data = json.dumps(expanded).encode()
    code, said = message_of(fired, key, data, lambda: run("report", fired, tmp_path), capfd)
    assert code == 3
    assert "fingerprint mismatch: the content has changed; run the plan again" in said
    assert_it_helps(said, key)


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("reuse", "sometimes", "`reuse`: Input should be"),
        ("add_seeds", "many", "`add_seeds`: Input should be"),
        ("held", {"models": []}, "`held.models` must be an object, not a list"),
        ("tasks", {"a.py": 7}, "`tasks.a.py` must be text, not a number"),
    ],
)
def test_a_damaged_schedule_is_named_when_it_fires(
    fired: Store, monkeypatch: pytest.MonkeyPatch, member: str, value: Any, message: str
) -> None:
    key = f"schedules/{SCHEDULE}/schedule.json"
    sound = fired.get_json(key)
    fired.put_json(key, {**(sound or {}), member: value})
    monkeypatch.setenv("XSTILTS_FIRING", "f2")
    try:
        with pytest.raises(CorruptError) as error:
            recurring.fire(fired, SCHEDULE)
    finally:
        fired.put_json(key, sound)
    assert message in str(error.value)
    assert f"/{key}: corrupt: " in str(error.value)
    assert str(error.value).endswith("; delete it and apply the schedule again")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not valid JSON"),
        (b"[]", "expected a JSON object, not a list"),
        (b'{"made_from": []}', "`points` is missing"),
        (b'{"made_from": [], "points": null, "changes": [{}]}', "`changes[0].backbone` is missing"),
    ],
)
def test_damaged_changes_beside_a_history_are_named(
    fired: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str], data: bytes, message: str
) -> None:
    changes = tmp_path / LAST / "changes.json"
    changes.parent.mkdir()
    changes.write_bytes(data)
    assert run("history", fired, tmp_path) == 2
    said = capfd.readouterr().err
    assert message in said
    assert_it_helps(said, str(changes))


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{}", b'{"run": null}', b'{"run"'])
def test_a_damaged_mark_of_an_output_folder_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "run.json").write_bytes(data)
    with pytest.raises(DataError, match=r"run\.json: .*; delete it to start a new run"):
        run_name("demo", tmp_path)


@pytest.mark.parametrize("command", ["report", "history", "runs", "status", "train-log"])
def test_sound_documents_are_read(fired: Store, tmp_path: Path, command: str) -> None:
    """A reader that refused everything would pass the tests above."""
    assert run(command, fired, tmp_path) in (0, 5)
