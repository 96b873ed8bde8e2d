"""Runs of the small plan through the command line, and what they leave on the machine."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from pipelines.marked_processes import marked
from tests.e2e.exposure import Exposure
from xstilts.store.server import serve
from xstilts.store.store import Store

SMALL = Path(__file__).parent / "small.yaml"


def command(home: Path, plan: Path = SMALL, out: str = "out") -> list[str]:
    return [
        sys.executable,
        "-m",
        "pipelines.cli",
        "run",
        str(plan),
        "--out",
        str(home / out),
        "--home",
        str(home),
    ]


def results(home: Path) -> pd.DataFrame:
    frame = pd.read_parquet(home / "out" / "report" / "results.parquet")
    keys = ["backbone", "arm", "seed", "evaluation", "language", "metric"]
    return frame.sort_values(keys).reset_index(drop=True)


def histories(home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, pd.DataFrame]:
    """Finetune step → its loss of each update."""
    with serve(home / "store") as server:
        for name, value in server.env().items():
            monkeypatch.setenv(name, value)
        store = Store.open("s3://xstilts/store", cache=home / "cache")
        found = {}
        for fingerprint in store.done("finetune"):
            manifest = store.manifest("finetune", fingerprint)
            assert manifest is not None
            found[fingerprint] = pd.read_parquet(store.file(manifest, "history.parquet"))
    return found


def steps_done(home: Path) -> int:
    return len(list((home / "store/xstilts/store/steps").glob("*/*/manifest.json")))


def left_behind(home: Path) -> list[str]:
    """Processes that a run in this home has started and that are still there: all inherit its
    cache's path.
    """
    return [
        f"{pid} {_command_line(pid)[:200]}" for pid in marked(f"XSTILTS_CACHE={home / 'cache'}")
    ]


def _command_line(pid: int) -> str:
    """Empty for a process that has ended."""
    try:
        data = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return data.replace(b"\0", b" ").decode(errors="replace")


def wait_until_gone(home: Path, seconds: float = 60.0) -> list[str]:
    """What is still there of a run after so many seconds."""
    deadline = time.monotonic() + seconds
    while (found := left_behind(home)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


@dataclass(frozen=True)
class Finished:
    """A run that nothing disturbed. left: what it left in its folder for temporary files."""

    home: Path
    results: pd.DataFrame
    exposure: Exposure
    left: list[str]
