"""Files and folders get their name once they are complete, and nothing else is touched."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from xstilts.errors import PlanError
from xstilts.new_files import new_file, new_folder, replaced_folder

Writing = Callable[[Path], AbstractContextManager[Path]]


def contents(folder: Path) -> dict[str, str]:
    """The text of every file below a folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write(path: Path, text: str) -> None:
    """Writes a text to the file at a path, or to the file `text` in the folder there."""
    (path / "text" if path.is_dir() else path).write_text(text)


def interrupted(writing: Writing, path: Path, error: type[BaseException]) -> None:
    with writing(path) as part:
        write(part, "half")
        raise error


@pytest.mark.parametrize(
    ("writing", "file"),
    [(new_file, "made"), (new_folder, "made/text"), (replaced_folder, "made/text")],
)
def test_what_is_complete_gets_its_name(tmp_path: Path, writing: Writing, file: str) -> None:
    with writing(tmp_path / "made") as part:
        write(part, "whole")
        assert not (tmp_path / "made").exists()
    assert contents(tmp_path) == {file: "whole"}


@pytest.mark.parametrize("writing", [new_file, new_folder, replaced_folder])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_is_interrupted_leaves_nothing(
    tmp_path: Path, writing: Writing, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        interrupted(writing, tmp_path / "made", error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("writing", [new_file, new_folder, replaced_folder])
def test_two_at_a_time_do_not_see_each_other(tmp_path: Path, writing: Writing) -> None:
    with writing(tmp_path / "made") as first, writing(tmp_path / "another") as second:
        write(first, "first")
        write(second, "second")
    assert sorted(contents(tmp_path).values()) == ["first", "second"]
    assert first != second


@pytest.mark.parametrize("writing", [new_file, new_folder, replaced_folder])
def test_a_users_file_beside_it_stays(tmp_path: Path, writing: Writing) -> None:
    (tmp_path / "made.part").mkdir()
    (tmp_path / "made.part" / "notes").write_text("mine")
    with writing(tmp_path / "made") as part:
        write(part, "whole")
    assert contents(tmp_path)["made.part/notes"] == "mine"


def test_a_file_replaces_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "made").write_text("old")
    with new_file(tmp_path / "made") as part:
        part.write_text("new")
    assert contents(tmp_path) == {"made": "new"}


def test_a_new_folder_may_be_empty_and_its_parents_missing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "a/b/c"):
        with new_folder(tmp_path / name) as part:
            write(part, name)
    assert contents(tmp_path) == {"empty/text": "empty", "a/b/c/text": "a/b/c"}


def test_a_new_folder_has_the_mode_of_any_new_folder(tmp_path: Path) -> None:
    (tmp_path / "any").mkdir()
    for name, writing in (("new", new_folder), ("replaced", replaced_folder)):
        with writing(tmp_path / name):
            pass
        assert (tmp_path / name).stat().st_mode == (tmp_path / "any").stat().st_mode


def test_of_two_that_create_a_folder_the_slower_is_refused(tmp_path: Path) -> None:
    slow = new_folder(tmp_path / "made")
    write(slow.__enter__(), "slow")
    with new_folder(tmp_path / "made") as fast:
        write(fast, "fast")
    with pytest.raises(PlanError, match="made is not empty"):
        slow.__exit__(None, None, None)
    assert contents(tmp_path) == {"made/text": "fast"}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("full", "is not empty; name a new folder"),
        ("full/text", "is a file; name a new folder"),
        (".", "current folder"),
    ],
)
def test_what_cannot_be_created_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "text").write_text("mine")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    where = Path(path) if path == "." else tmp_path / path
    with pytest.raises(PlanError, match=message), new_folder(where):
        pytest.fail("nothing may be written")
    assert contents(tmp_path) == {"full/text": "mine"}


@pytest.mark.parametrize("writing", [new_folder, replaced_folder])
@pytest.mark.parametrize("folder", ["/proc/nowhere", "/proc/version/made"])
def test_a_place_where_nothing_can_be_created_is_named(writing: Writing, folder: str) -> None:
    with pytest.raises(PlanError, match=f"{folder}: cannot create a folder"), writing(Path(folder)):
        pytest.fail("nothing may be written")


def test_a_mount_point_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mounted").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: path == tmp_path / "mounted")
    with pytest.raises(PlanError, match="mount point"), new_folder(tmp_path / "mounted"):
        pytest.fail("nothing may be written")


def test_a_replaced_folder_has_the_new_files_only(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "stale").write_text("old")
    with replaced_folder(tmp_path / "made") as folder:
        write(folder, "new")
        assert contents(tmp_path / "made") == {"stale": "old"}
    assert contents(tmp_path) == {"made/text": "new"}


def test_a_folder_whose_replacement_fails_stays(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "text").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        interrupted(replaced_folder, tmp_path / "made", KeyboardInterrupt)
    assert contents(tmp_path) == {"made/text": "old"}
