"""The runs of a store, and which one a name means."""

import re
import time
from dataclasses import asdict, dataclass
from typing import Any

from xstilts.errors import CorruptError, PlanError, counted
from xstilts.store.store import Store

_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class RunSummary:
    """One run. where: `local`, `cluster` or `schedule`. missing: cells that the report lacks."""

    run: str
    where: str
    state: str
    created: float
    exit_code: int | None
    missing: int
    failures: int
    mirror: str

    def json(self) -> dict[str, Any]:
        return asdict(self)

    def line(self, width: int) -> str:
        created = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.created))
        notes = [counted(self.missing, "missing cell")] if self.missing else []
        notes += [counted(self.failures, "failure")] if self.failures else []
        return f"{self.run:{width}}  {created}  {self.where:8}  {self.state:10} {', '.join(notes)}"


def runs(store: Store, corrupt: dict[str, CorruptError]) -> list[RunSummary]:
    """The runs of a store, oldest first, without those that have a corrupt document.

    Args:
        store: to read.
        corrupt: receives the error of each run that is left out, by its name.
    """
    keys = set(store.list("runs/"))
    names = [key.split("/")[1] for key in keys if key.count("/") == 2 and key.endswith("/run.json")]
    summaries = []
    for name in sorted(names):
        try:
            summary = _summary(store, name, keys)
        except CorruptError as error:
            corrupt[name] = error
        else:
            summaries += [summary] if summary else []
    return sorted(summaries, key=lambda summary: summary.created)


def _summary(store: Store, name: str, keys: set[str]) -> RunSummary | None:
    folder = f"runs/{name}"
    document = store.get_json(f"{folder}/run.json")
    if document is None:  # deleted since the listing
        return None
    outcome = store.get_json(f"{folder}/status.json") if f"{folder}/status.json" in keys else None
    cluster = f"{folder}/kfp.json" in keys
    where = "schedule" if "fired_by" in document else "cluster" if cluster else "local"
    code = None if outcome is None else int(outcome["exit_code"])
    if code is None:
        state = "cancelled" if f"{folder}/cancelled.json" in keys else "unfinished"
    else:
        state = "succeeded" if code == 0 else "failed"
    failures = sum(key.startswith(f"{folder}/failures/") for key in keys)
    missing = 0 if outcome is None else len(outcome["missing"])
    created, mirror = float(document["created"]), str(document["mirror"])
    return RunSummary(name, where, state, created, code, missing, failures, mirror)


def run_named(store: Store, name: str) -> str:
    """The run that a command line names: its whole name, or the plan's for its newest run.

    Raises PlanError if the store has no such run, and CorruptError if a newer run of the plan, or
    its only one, is corrupt.
    """
    if not is_run_name(name):
        raise PlanError(
            f"{name!r}: not the name of a run: letters, digits, '.', '_' and '-'; `xstilts runs` "
            "lists them"
        )
    if store.get_json(f"runs/{name}/run.json") is not None:
        return name
    corrupt: dict[str, CorruptError] = {}
    listed = runs(store, corrupt)
    of_plan = [run.run for run in listed if is_run_of(run.run, name)]
    for run, error in corrupt.items():  # names have the time at which a run was created
        if is_run_of(run, name) and run > max(of_plan, default=""):
            raise error
    if of_plan:
        return of_plan[-1]
    names = ", ".join(run.run for run in listed[-5:])
    known = f"the newest are {names}" if names else "the store has no runs"
    raise PlanError(f"{store.uri}/runs/{name}: no such run; {known}")


def is_run_name(text: str) -> bool:
    """Whether a text has the form of a run's name."""
    return _RUN.fullmatch(text) is not None


def is_run_of(run: str, plan: str) -> bool:
    """Whether a run has the name of a plan or schedule, followed by a date and a time."""
    return re.fullmatch(rf"{re.escape(plan)}-\d{{8}}-\d{{6}}-\w+", run) is not None
