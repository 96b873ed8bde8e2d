"""What a local run writes can be read by its user only."""

import os
import stat
from pathlib import Path

import pytest

from xstilts.store.private_files import cache_folder, private_folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_is_private(tmp_path: Path) -> None:
    assert mode(private_folder(tmp_path / "a" / "b")) == 0o700


@pytest.mark.parametrize(("before", "after"), [(0o755, 0o750), (0o777, 0o770), (0o700, 0o700)])
def test_an_existing_folder_is_closed_to_others(tmp_path: Path, before: int, after: int) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    folder.chmod(before)
    assert mode(private_folder(folder)) == after


def test_the_cache_is_in_no_shared_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name in /tmp that others can predict, they can also create first."""
    monkeypatch.delenv("XSTILTS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "xstilts"
    monkeypatch.setenv("XSTILTS_CACHE", str(tmp_path / "chosen"))
    assert cache_folder() == tmp_path / "chosen"


def test_without_a_home_the_cache_has_an_unpredictable_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XSTILTS_CACHE", raising=False)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    folder = cache_folder()
    assert folder == cache_folder()
    assert mode(folder) == 0o700
    assert folder.name.startswith("xstilts-cache-")
    assert str(os.getuid()) != folder.name.removeprefix("xstilts-cache-")
    folder.rmdir()
