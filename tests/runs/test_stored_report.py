"""A local report folder has the report of its run's last attempt, or none."""

from pathlib import Path

import pytest

from xstilts.errors import PlanError
from xstilts.runs.stored_report import delete_local, fetch, refuse_foreign
from xstilts.store.store import Store


def put(store: Store, *names: str, finished: bool = True) -> None:
    """Puts a report with these files into the store, as the run `r`'s."""
    for name in names:
        store.put_bytes_at(f"runs/r/report/{name}", b"new")
    if finished:
        store.put_json("runs/r/status.json", {"exit_code": 0, "missing": []})


def local(folder: Path, *names: str) -> Path:
    """A local folder with these files."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"old")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_report_replaces_the_one_in_the_folder(store: Store, tmp_path: Path) -> None:
    put(store, "report.html", "predictions/udpos.parquet")
    folder = local(tmp_path / "report", "report.html", "changes.csv", "predictions/xquad.parquet")
    assert fetch(store, "r", folder)
    assert contents(folder) == {"report.html": b"new", "predictions/udpos.parquet": b"new"}


def test_only_the_report_folder_changes(store: Store, tmp_path: Path) -> None:
    put(store, "report.html")
    out = local(tmp_path / "out", "run.json", "notes.md", "report.part/a", "report/report.html")
    fetch(store, "r", out / "report")
    assert contents(out) == {
        "run.json": b"old", "notes.md": b"old", "report.part/a": b"old", "report/report.html": b"new",
    }  # fmt: skip


@pytest.mark.parametrize("names", [(), ("report.html", "summary.json")])
def test_without_a_finished_report_the_folder_stays(
    store: Store, tmp_path: Path, names: tuple[str, ...]
) -> None:
    put(store, *names, finished=False)
    folder = local(tmp_path / "report", "report.html")
    assert not fetch(store, "r", folder)
    assert contents(folder) == {"report.html": b"old"}


def test_an_interrupted_download_leaves_the_folder_as_it_was(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(key: str, path: Path) -> str:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    put(store, "report.html", "summary.json")
    folder = local(tmp_path / "out" / "report", "report.html")
    monkeypatch.setattr(store, "download", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(store, "r", folder)
    assert contents(tmp_path / "out") == {"report/report.html": b"old"}


@pytest.mark.parametrize("names", [("notes.tex",), ("figures/mine.png",)])
def test_a_folder_of_other_files_is_never_replaced(
    store: Store, tmp_path: Path, names: tuple[str, ...]
) -> None:
    put(store, "report.html")
    folder = local(tmp_path / "report", *names)
    with pytest.raises(PlanError, match="is not the report of a run"):
        fetch(store, "r", folder)
    delete_local(folder)
    assert contents(folder) == dict.fromkeys(names, b"old")


def test_a_file_is_no_report_folder(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("mine")
    with pytest.raises(PlanError, match="report is a file"):
        refuse_foreign(tmp_path / "report")
    delete_local(tmp_path / "report")
    assert (tmp_path / "report").read_text() == "mine"


def test_a_local_report_is_deleted_with_all_its_files(tmp_path: Path) -> None:
    folder = local(tmp_path / "report", "report.html", "predictions/xquad.parquet")
    delete_local(folder)
    assert list(tmp_path.iterdir()) == []
