"""docs/adding-a-task.md, executed: its task file, its plan, its rows and its commands."""

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.cli import main
from xstilts.miniature.write import Sizes, write_miniature
from xstilts.plan.load import load_plan
from xstilts.runs import actions
from xstilts.runs.folder import create, planned_ids
from xstilts.store.server import serve
from xstilts.store.store import Store
from xstilts.tasks.private import load_private_tasks
from xstilts.tasks.registry import TASKS
from xstilts.training.workers import Workers

GUIDE = Path(__file__).parents[2] / "docs" / "adding-a-task.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    line.removeprefix("$ xstilts ")
    for language, text in BLOCKS
    if language == "console"
    for line in text.splitlines()
    if line.startswith("$ xstilts ")
]

pytestmark = pytest.mark.skipif(
    "boolq" in TASKS, reason="step 5 of the guide: BoolQ has been added to the benchmark"
)


def command(start: str) -> list[str]:
    """The arguments of the guide's command that begins like this."""
    (line,) = [line for line in COMMANDS if line.startswith(start)]
    return shlex.split(line)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A reader's folder after step 3 of the guide; the miniature is smaller than by default."""
    here, folder = Path.cwd(), tmp_path_factory.mktemp("guide")
    (plan,) = [text for language, text in BLOCKS if language == "yaml"]
    task, rows = PYTHON
    (folder / "boolq.py").write_text(task)
    (folder / "boolq.yaml").write_text(plan)
    write_miniature(
        folder / command("mirror")[-1],
        languages=["en", "qaa"],
        sizes=Sizes(text=80, train=80, select=24, test=24, pictures=24),
    )
    os.chdir(folder)
    exec(compile(rows, "rows.py", "exec"), {})
    yield folder
    os.chdir(here)


def test_the_guide_has_a_task_file_a_plan_rows_and_commands() -> None:
    assert "TASKS = (BOOLQ,)" in PYTHON[0]
    assert [line.split()[0] for line in COMMANDS] == ["mirror", "tasks", "plan", "run"]


def test_the_task_file_defines_boolq(folder: Path) -> None:
    task = load_private_tasks([folder / "boolq.py"])["boolq"]
    row = {"question": "is it open", "passage": "The museum is closed.", "answer": False}
    example = task.to_example(row, 0, "en")
    assert (example.text_pair, example.label) == ("is it open", 0)  # type: ignore[union-attr]


def test_probe_reads_the_rows_through_the_task_file(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(command("tasks probe")) == 0
    assert "2 sources: 2 ok" in capfd.readouterr().out


def test_plan_accepts_the_plan(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(command("plan")) == 0
    assert "boolq" in capfd.readouterr().out


def inline(worker: str, config: Mapping[str, Any], resources: Mapping[str, Any]) -> None:
    """One worker in this process: what a launcher does, without Ray."""
    from xstilts.runs.finetune import group

    group(config["run_uri"], config["group"], Workers(), torch.device("cpu"), lambda _: None)


@pytest.mark.slow
def test_the_plan_runs_to_its_report(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `xstilts run` does it, without its processes. The task file is gone once the run exists."""
    plan = load_plan(folder / command("run")[-1])
    with serve(tmp_path / "s3") as server:
        for key, value in (server.env() | {"XSTILTS_CACHE": str(tmp_path / "cache")}).items():
            monkeypatch.setenv(key, value)
        store = Store.open("s3://xstilts/store", cache=tmp_path / "cache")
        text = (folder / "boolq.yaml").read_text()
        create(store, "boolq", text, str(folder / plan.mirror), plan.task_files)
        monkeypatch.chdir(tmp_path)
        uri = f"{store.uri}/runs/boolq"
        actions.plan(uri)
        for kind in ("sources", "builds", "encodings"):
            for batch in planned_ids(uri)[kind]:
                actions.stage(uri, batch)
        for group in planned_ids(uri)["groups"]:
            actions.finetune(uri, group, inline)
        summary = actions.report(uri, tmp_path / "report")
    assert summary["missing"] == []
    assert {row["arm"] for row in summary["effects"]} == {"boolq"}
