"""KFP's local runner loops over each of a task's outputs as a cluster would."""

import builtins
from pathlib import Path
from typing import NamedTuple

import pytest
from kfp import dsl
from kfp import local as kfp_local

from pipelines.kfp import local_loops


@dsl.component(install_kfp_package=False)
def lists(folder: str) -> NamedTuple("Lists", [("few", list[str]), ("many", list[str])]):  # type: ignore[valid-type]
    return [], [f"{folder}/a", f"{folder}/b"]


@dsl.component(install_kfp_package=False)
def touch(file: str) -> str:
    from pathlib import Path

    Path(file).touch()
    return file


@dsl.component(install_kfp_package=False)
def collect(folder: str, files: list[str]) -> str:
    from pathlib import Path

    Path(folder, "collected").write_text(" ".join(files))
    return folder


@dsl.pipeline
def loops(folder: str) -> None:
    outputs = lists(folder=folder).outputs
    with dsl.ParallelFor(outputs["few"]) as item:
        first = touch(file=item)
    with dsl.ParallelFor(outputs["many"]) as item:
        second = touch(file=item).after(first)
    collect(folder=folder, files=dsl.Collected(second.output))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(builtins, "print", print)  # KFP replaces it and an error leaves it replaced
    kfp_local.init(
        runner=kfp_local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "kfp"),
        raise_on_error=False,
    )  # fmt: skip
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def test_a_loop_runs_over_the_output_that_it_names(folder: Path) -> None:
    with local_loops.any_output():
        loops(folder=str(folder))
    assert sorted(file.name for file in folder.iterdir()) == ["a", "b", "collected"]
    assert (folder / "collected").read_text() == f"{folder}/a {folder}/b"


def test_kfp_itself_cannot(folder: Path) -> None:
    """When this fails, pipelines/kfp/local_loops.py is no longer needed."""
    with pytest.raises(ValueError, match="pipelinechannel--lists-few"):
        loops(folder=str(folder))
