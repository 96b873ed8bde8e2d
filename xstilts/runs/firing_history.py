"""Reads the firings of a schedule for its history page, with what changed between them."""

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from xstilts import __version__
from xstilts.analysis.changes import COLUMNS, changes, threshold
from xstilts.analysis.inputs import ReportInput
from xstilts.analysis.page.schedule_history import Firing, history_page
from xstilts.document_shape import read_shaped
from xstilts.errors import CorruptError, PlanError
from xstilts.runs import recurring
from xstilts.runs.collect import report_input
from xstilts.runs.recurring import firings, folder_of, stored
from xstilts.runs.stored_report import summary_of
from xstilts.store.documents import is_name
from xstilts.store.store import Store
from xstilts.stored_documents import CHANGES

PAGE = "history.html"


def previous_firing(store: Store, run: str) -> str | None:
    """The run of the schedule's firing before this run's; None without one."""
    document = store.get_json(f"runs/{run}/run.json") or {}
    if "schedule" not in document:
        return None
    earlier = [
        str(record["run"])
        for record in firings(store, str(document["schedule"]))
        if record["number"] < recurring.number_of(store, run, document)
        and store.size(f"runs/{record['run']}/expanded.json") is not None
    ]
    return earlier[-1] if earlier else None


def write_history(
    store: Store, name: str, out: Path, watch: Callable[[Firing], None] = lambda _: None
) -> Path:
    """Writes the history page of a schedule, the reports of its firings as `<run>/report.html`
    beside it, and what changed as `<run>/changes.json`, which a later call reads again.

    Args:
        store: the store.
        name: the schedule.
        out: the folder to write to.
        watch: called for each firing that was read.

    Returns:
        The page.

    Raises:
        PlanError: the store has no such schedule.
    """
    records = firings(store, name)
    if not records and stored(store, name) is None:
        raise PlanError(f"{store.uri}/{folder_of(name)}: no such schedule; see `schedule list`")
    every = []
    for firing in _firings(store, records, out):
        watch(firing)
        every.append(firing)
    out.mkdir(parents=True, exist_ok=True)
    path = out / PAGE
    path.write_text(history_page(name, store.uri, every), encoding="utf-8")
    return path


def _firings(store: Store, records: list[dict[str, Any]], out: Path) -> Iterator[Firing]:
    @lru_cache(maxsize=2)
    def read(run: str) -> ReportInput:
        return report_input(store, f"runs/{run}")

    before: Firing | None = None
    for record in records:
        run, number = str(record["run"]), int(record["number"])
        if not is_name(run, folders=False):
            raise CorruptError(f"{store.uri}: firing {number} has the invalid run name {run!r}")
        head: dict[str, Any] = {"number": number, "run": run, "at": float(record["at"])}
        plan = store.get_bytes_at(f"runs/{run}/plan.yaml")
        if plan is not None:
            head["plan"] = plan.decode()
        summary = summary_of(store, run)
        if summary is None:
            yield Firing(**head, reason=_without_report(store, run))
            continue
        page = out / run / "report.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        store.get_file(f"runs/{run}/report/report.html", page)
        head |= {"summary": summary, "link": f"./{run}/report.html"}
        if before is not None:
            table, points = _changes(store, run, before.run, out / run / "changes.json", read)
            head |= {"against": before.number, "changes": table, "threshold": points}
        before = Firing(**head)
        yield before


def _without_report(store: Store, run: str) -> str:
    """Why a firing has no report."""
    if store.get_json(f"runs/{run}/cancelled.json") is not None:
        return "cancelled"
    status = store.get_json(f"runs/{run}/status.json")
    return "no report yet" if status is None else f"failed with exit code {status['exit_code']}"


def _changes(
    store: Store, run: str, other: str, path: Path, read: Callable[[str], ReportInput]
) -> tuple[pd.DataFrame, float | None]:
    """(what changed between two runs, the threshold), from a file if this version made it from the
    same reports.
    """
    made_from = [__version__, *(_report_of(store, name) for name in (run, other))]
    if path.is_file() and None not in made_from:
        document = read_shaped(path, CHANGES, "delete it; it is computed again")
        if document["made_from"] == made_from:
            return pd.DataFrame(document["changes"], columns=list(COLUMNS)), document["points"]
    table, points = changes(read(run), read(other)), threshold(read(run))
    rows = [
        {name: None if pd.isna(value) else value for name, value in row.items()}
        for row in table.to_dict("records")
    ]
    path.write_text(json.dumps({"made_from": made_from, "points": points, "changes": rows}))
    return table, points


def _report_of(store: Store, run: str) -> str | None:
    """What identifies the content of a run's report; None for reports of earlier versions."""
    record = store.get_json(f"runs/{run}/report_inputs.json")
    return None if record is None else str(record["inputs"])
