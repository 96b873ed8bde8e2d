"""`xstilts mirror`: what it writes is complete, and it touches nothing else."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.cli import main
from xstilts.mirror.target import alone


@pytest.fixture(autouse=True)
def small_miniature(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(folder: Path, **_: Any) -> None:
        (folder / "rows").write_text("rows")

    monkeypatch.setattr("xstilts.miniature.write.write_miniature", write)


def test_the_miniature_leaves_what_is_beside_its_folder(tmp_path: Path) -> None:
    beside = tmp_path / "m.part" / "notes"
    beside.parent.mkdir()
    beside.write_text("mine")
    assert main(["mirror", "miniature", str(tmp_path / "m")]) == 0
    assert beside.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"m", "m.part"}
    assert (tmp_path / "m" / "rows").read_text() == "rows"


def test_a_second_call_at_the_same_time_is_refused_and_the_first_result_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def slow(folder: Path, **_: Any) -> None:
        (folder / "rows").write_text("slow")
        with monkeypatch.context() as patched:
            patched.setattr(
                "xstilts.miniature.write.write_miniature",
                lambda folder, **_: (folder / "rows").write_text("fast"),
            )
            assert main(["mirror", "miniature", str(tmp_path / "m")]) == 0

    monkeypatch.setattr("xstilts.miniature.write.write_miniature", slow)
    assert main(["mirror", "miniature", str(tmp_path / "m")]) == 2
    assert "m is not empty; name a new folder" in capfd.readouterr().err
    assert (tmp_path / "m" / "rows").read_text() == "fast"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_second_pull_to_the_same_mirror_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XSTILTS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("pipelines.plan_file.read_plan", lambda *_: None)
    monkeypatch.setattr("pipelines.plan_file.expand_plan", lambda *_: None)
    target = tmp_path / "m"
    with alone(str(target)):
        code = main(["mirror", "pull", str(target), "--plan", "demo", "--from", str(tmp_path)])
    assert code == 2
    assert f"{target}: another `xstilts mirror pull` is writing" in capfd.readouterr().err
    assert list(target.iterdir()) == []


def test_pulls_to_two_mirrors_and_one_after_another_are_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XSTILTS_CACHE", str(tmp_path / "cache"))
    with alone("s3://bucket/a"), alone("s3://bucket/b"):
        pass
    with alone("s3://bucket/a"):
        pass
