"""Schedules: files → recurring runs. Reads and checks the files, and says what must change on a
server; changes nothing.

A recurring run of KFP has one fixed parameter, the address of the schedule's folder in the store;
each firing makes its own run from it (xstilts/runs/recurring.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from pipelines import cron
from pipelines.kfp.api import EXPERIMENT
from xstilts.errors import PlanError
from xstilts.plan.schema import Name
from xstilts.runs.recurring import Repeat, folder_of

_UTC = frozenset(
    {
        "UTC",
        "Etc/UTC",
        "Etc/UCT",
        "Etc/Universal",
        "Etc/Zulu",
        "UCT",
        "Universal",
        "Zulu",
        "GMT",
        "Etc/GMT",
    }
)


class Schedule(Repeat):
    """One recurring benchmark. plan: a file beside this one. timezone: the zone that `cron` is
    written in, which must be the one that KFP's server reads it in. catch_up: whether firings
    that were missed are made up for.
    """

    name: Name
    plan: str
    cron: str
    timezone: str
    mirror: str | None = None
    enabled: bool = True
    catch_up: bool = False
    concurrency: Annotated[int, Field(ge=1, le=10)] = 1
    start: datetime | None = None
    end: datetime | None = None
    experiment: str = EXPERIMENT

    @model_validator(mode="after")
    def _one_at_a_time(self) -> "Schedule":
        if self.add_seeds and self.concurrency > 1:
            raise ValueError(
                "add_seeds needs concurrency: 1, since two firings at one time would take the same new seeds"
            )
        if self.spending is not None and not self.add_seeds:
            raise ValueError(
                "spending belongs to add_seeds: without new seeds there is one result to look at"
            )
        return self

    @field_validator("cron")
    @classmethod
    def _six_fields(cls, line: str) -> str:
        if wrong := cron.problems(line):
            raise ValueError("; ".join(wrong))
        return " ".join(line.split())

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        if zone not in available_timezones():
            raise ValueError(f"{zone!r} is no time zone; give a name such as UTC or Europe/Berlin")
        return zone

    @field_validator("start", "end")
    @classmethod
    def _with_zone(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and moment.tzinfo is None:
            raise ValueError(
                f"{moment.isoformat()} has no time zone; write e.g. {moment.isoformat()}Z"
            )
        return moment


def load(path: Path, zone: str) -> list[tuple[Path, Schedule]]:
    """The schedules of a file (several, parted by `---`) or of a folder's *.yaml, each with its
    plan's path. Raises PlanError that names every mistake. zone: the server's.
    """
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not files:
        raise PlanError(f"{path}: the folder holds no *.yaml")
    found: list[tuple[Path, Schedule]] = []
    wrong: list[str] = []
    for file in files:
        for number, raw in enumerate(_documents(file)):
            where = f"{file}" if number == 0 else f"{file}, document {number + 1}"
            try:
                schedule = Schedule.model_validate(raw)
            except ValidationError as error:
                wrong += [
                    f"{where}: {'.'.join(map(str, e['loc'])) or 'it'}: {e['msg']}"
                    for e in error.errors()
                ]
                continue
            wrong += [f"{where}: {problem}" for problem in _misfits(schedule, file, zone)]
            if schedule.name in {one.name for _, one in found}:
                wrong.append(f"{where}: the name {schedule.name!r} stands twice")
            found.append((file.parent / schedule.plan, schedule))
    if wrong:
        raise PlanError(
            "\n".join(
                [
                    f"{path}: {len(wrong)} mistakes (docs/schedules.md):",
                    *(f"  - {w}" for w in wrong),
                ]
            )
        )
    return found


def _documents(file: Path) -> list[Any]:
    try:
        return [
            document
            for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))
            if document is not None
        ]
    except OSError as error:
        raise PlanError(f"{file}: cannot read the schedule: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise PlanError(f"{file}: is not YAML: {error}") from error


def _misfits(schedule: Schedule, file: Path, zone: str) -> list[str]:
    found = []
    if not same_zone(schedule.timezone, zone):
        found.append(
            f"timezone: {schedule.timezone}, but KFP's server reads cron in {zone} and takes no zone with a schedule; "
            f"write cron in {zone}, or set cronScheduleTimezone of the server and `timezone` of --settings"
        )
    if not (file.parent / schedule.plan).is_file():
        found.append(f"plan: {file.parent / schedule.plan}: no such file")
    if schedule.start and schedule.end and schedule.end <= schedule.start:
        found.append("end: comes before start")
    return found


def same_zone(one: str, other: str) -> bool:
    """Whether two names stand for one time zone."""
    return ZoneInfo(one).key == ZoneInfo(other).key or {one, other} <= _UTC


def recurring(
    schedule: Schedule, store: str, version: tuple[str, str], experiment: str, account: str
) -> dict[str, Any]:
    """The recurring run that a schedule asks for, as the fields of V2beta1RecurringRun."""
    moments = {"start_time": schedule.start, "end_time": schedule.end}
    return {
        "display_name": schedule.name,
        "description": f"xstilts schedule {schedule.name}, cron in {schedule.timezone}; kept by `xstilts schedule apply`",
        "experiment_id": experiment,
        "mode": "ENABLE" if schedule.enabled else "DISABLE",
        "no_catchup": not schedule.catch_up,
        "max_concurrency": str(schedule.concurrency),
        "service_account": account,
        "version": version,
        "parameters": {"run": f"{store}/{folder_of(schedule.name)}"},
        "cron_schedule": {
            "cron": schedule.cron,
            **{key: value for key, value in moments.items() if value},
        },
    }


def present(run: Any) -> dict[str, Any]:
    """A recurring run that a server holds, in the same fields. What the server leaves out is
    what it takes for granted.
    """
    reference, trigger = run.pipeline_version_reference, run.trigger
    plan = trigger.cron_schedule if trigger is not None else None
    moments = {
        "start_time": getattr(plan, "start_time", None),
        "end_time": getattr(plan, "end_time", None),
    }
    return {
        "display_name": run.display_name,
        "description": run.description or "",
        "experiment_id": run.experiment_id,
        "mode": str(run.mode or "DISABLE"),
        "no_catchup": bool(run.no_catchup),
        "max_concurrency": str(run.max_concurrency or "1"),
        "service_account": run.service_account or "",
        "version": (reference.pipeline_id, reference.pipeline_version_id)
        if reference is not None
        else None,
        "parameters": dict(
            (run.runtime_config.parameters if run.runtime_config is not None else None) or {}
        ),
        "cron_schedule": {
            "cron": plan.cron if plan is not None else None,
            **{key: value for key, value in moments.items() if value},
        },
    }


def ours(run: Any, store: str) -> bool:
    """Whether a recurring run was made from a file for this store: its parameter is the address
    of a schedule there.
    """
    return str(present(run)["parameters"].get("run", "")).startswith(f"{store}/schedules/")


@dataclass(frozen=True)
class Change:
    """What must happen for one schedule. old: ids of recurring runs that go; keep: the one that
    stays. differs: the fields that are not as the file says.
    """

    kind: Literal["create", "replace", "enable", "disable", "delete", "unchanged", "left"]
    name: str
    body: Mapping[str, Any] | None = None
    keep: str | None = None
    old: Sequence[str] = ()
    differs: Sequence[str] = ()

    def __str__(self) -> str:
        more = f" ({', '.join(self.differs)})" if self.differs else ""
        left = " (in no file; `--prune` deletes it)" if self.kind == "left" else ""
        double = (
            f", {len(self.old)} double deleted"
            if self.kind not in ("replace", "delete") and self.old
            else ""
        )
        return f"{self.kind:9} {self.name}{more}{left}{double}"


def diff(wanted: Sequence[Mapping[str, Any]], there: Sequence[Any], prune: bool) -> list[Change]:
    """What makes the recurring runs of ours that are there into those that are wanted. KFP can
    change nothing of a recurring run but whether it is enabled, so anything else replaces it.
    """
    found = []
    for body in wanted:
        named = [run for run in there if run.display_name == body["display_name"]]
        found.append(_change(body, named))
    names = {str(body["display_name"]) for body in wanted}
    for name in sorted({str(run.display_name) for run in there} - names):
        old = [str(run.recurring_run_id) for run in there if run.display_name == name]
        found.append(Change("delete" if prune else "left", name, old=old if prune else ()))
    return found


def _change(body: Mapping[str, Any], named: Sequence[Any]) -> Change:
    name = str(body["display_name"])
    if not named:
        return Change("create", name, body)
    differences = {str(run.recurring_run_id): _differences(body, present(run)) for run in named}
    best = min(differences, key=lambda run_id: len(differences[run_id]))
    rest = [run_id for run_id in differences if run_id != best]
    if not differences[best]:
        return Change("unchanged", name, keep=best, old=rest)
    if differences[best] == ["mode"]:
        return Change(
            "enable" if body["mode"] == "ENABLE" else "disable", name, keep=best, old=rest
        )
    return Change("replace", name, body, old=[best, *rest], differs=differences[best])


def _differences(wanted: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    return [key for key, value in wanted.items() if there[key] != value]
