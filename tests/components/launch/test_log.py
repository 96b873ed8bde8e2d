"""The end of a job's log in the store: what is kept, and how often it is written."""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.launch.log import Copy, StoredLog, Tail, stored_logs
from xstilts.errors import StoreError
from xstilts.store.store import Store

RUN = "runs/r"


def end_of(path: Path, text: bytes, limit: int) -> tuple[int, bytes]:
    path.write_bytes(text)
    tail = Tail(path, limit)
    assert tail.read()
    return tail.before, tail.kept


def test_the_last_whole_lines_are_kept_and_the_others_counted(tmp_path: Path) -> None:
    text = b"one\ntwo\nthree\nfour\n"
    assert end_of(tmp_path / "log", text, 100) == (0, text)
    assert end_of(tmp_path / "log", text, 12) == (2, b"three\nfour\n")
    assert end_of(tmp_path / "log", text, 11) == (2, b"three\nfour\n")
    assert end_of(tmp_path / "log", text, 10) == (3, b"four\n")


def test_a_line_that_is_too_long_is_cut(tmp_path: Path) -> None:
    assert end_of(tmp_path / "log", b"one\n" + b"x" * 50 + b"y", 10) == (1, b"x" * 9 + b"y")


def test_only_new_bytes_are_read_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"1\n2\n3\n")
    tail = Tail(path, 6)
    assert (tail.read(), tail.read()) == (True, False)
    with path.open("ab") as stream:
        stream.write(b"4\n5\n6")
    assert tail.read()
    assert (tail.before, tail.kept) == (3, b"4\n5\n6")


def copy_of(store: Store, path: Path) -> Copy:
    return Copy(lambda: (store, RUN), "llava", "finetune", path)


def texts(store: Store) -> list[str]:
    return [found.text for _, _, found in stored_logs(store, RUN)]


def test_a_log_is_stored_only_when_it_has_grown(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puts: list[str] = []
    put = store.put_json
    monkeypatch.setattr(store, "put_json", lambda key, value: (puts.append(key), put(key, value)))
    (tmp_path / "log").write_text("starting\n")
    copy = copy_of(store, tmp_path / "log")
    copy.keep()
    copy.keep()
    assert puts == [f"{RUN}/logs/{copy.name}"]
    [(key, _, found)] = stored_logs(store, RUN)
    assert key.startswith("runs/r/logs/finetune-llava/")
    assert found == StoredLog("finetune", "llava", copy.started, 0, "starting\n")


def test_it_is_stored_by_itself_and_at_the_end(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XSTILTS_LEASE_SECONDS", "0.3")
    path = tmp_path / "log"
    path.write_text("one\n")
    until = time.monotonic() + 10
    with copy_of(store, path):
        while texts(store) != ["one\n"]:
            assert time.monotonic() < until
            time.sleep(0.02)
        path.write_text("one\nthe end")
    assert texts(store) == ["one\nthe end"]


def test_an_unreachable_store_causes_a_warning_and_loses_no_log(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "log").write_text("one\n")
    copy = copy_of(store, tmp_path / "log")

    def away(key: str, value: object) -> None:
        raise StoreError("away")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(store, "put_json", away)
        copy.keep()
    assert "cannot store the log of llava, retrying: away" in caplog.text
    copy.keep()
    assert texts(store) == ["one\n"]


def test_every_start_of_a_job_has_its_own_log(store: Store, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("lost its head\n")
    first = copy_of(store, tmp_path / "log")
    first.keep()
    second = copy_of(store, tmp_path / "log")
    second.name = f"{first.name.removesuffix('.json')}Z.json"  # a second later
    (tmp_path / "log").write_text("resumed\n")
    second.keep()
    assert texts(store) == ["lost its head\n", "resumed\n"]


def test_known_logs_are_not_read_again(store: Store, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("one\n")
    copy = copy_of(store, tmp_path / "log")
    copy.keep()
    [(key, etag, _)] = stored_logs(store, RUN)
    assert list(stored_logs(store, RUN, {key: etag})) == []


@pytest.mark.parametrize("piped", [True, False])
def test_a_process_finds_its_output_file(tmp_path: Path, piped: bool) -> None:
    code = "import sys; from components.launch.log import own_output as o; print(o() is None, file=sys.stderr)"
    with open(tmp_path / "out", "a") as file:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE if piped else file, stderr=subprocess.PIPE,
            text=True, check=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )  # fmt: skip
    assert done.stderr.strip() == str(piped)
