"""Schedule files and recurring runs: reads and checks the files, and compares them with a server.

A recurring run of KFP has one fixed parameter, the URI of the schedule's folder in the store. Each
firing creates its own run from that folder (xstilts/runs/recurring.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, ValidationError, field_validator, model_validator

from pipelines import cron
from pipelines.kfp.kfp_client import EXPERIMENT
from xstilts.errors import PlanError, counted
from xstilts.input_files import LARGEST_YAML, InvalidDocument, parse_yaml_stream, read_bytes
from xstilts.plan.plan_errors import problems_of
from xstilts.plan.value_types import Name
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
    """One recurring benchmark. plan: a path relative to this file. timezone: the zone of `cron`,
    which must be the zone that KFP's server uses. catch_up: run missed firings later.
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
                "add_seeds needs concurrency: 1: two firings at the same time would add the same "
                "seeds"
            )
        if self.spending is not None and not self.add_seeds:
            raise ValueError(
                "spending needs add_seeds: without new seeds there is only one result to test"
            )
        return self

    @field_validator("cron")
    @classmethod
    def _six_fields(cls, line: str) -> str:
        if problems := cron.problems(line):
            raise ValueError("; ".join(problems))
        return " ".join(line.split())

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        if zone not in available_timezones():
            raise ValueError(f"unknown time zone {zone!r}; use a name such as UTC or Europe/Berlin")
        return zone

    @field_validator("start", "end")
    @classmethod
    def _with_zone(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and moment.tzinfo is None:
            raise ValueError(
                f"{moment.isoformat()} has no time zone; write for example {moment.isoformat()}Z"
            )
        return moment


def load(path: Path, zone: str) -> list[tuple[Path, Schedule]]:
    """Returns (plan file, schedule) for every schedule in a file or in a folder's *.yaml; a file
    may have several documents. zone: the server's time zone. Raises PlanError with every mistake.
    """
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not files:
        raise PlanError(f"{path}: no *.yaml in this folder")
    schedules: list[tuple[Path, Schedule]] = []
    mistakes: list[str] = []
    for file in files:
        for number, raw in enumerate(_documents(file)):
            where = f"{file}" if number == 0 else f"{file}, document {number + 1}"
            try:
                schedule = Schedule.model_validate(raw)
            except ValidationError as error:
                mistakes += [f"{where}: {problem}" for problem in problems_of(Schedule, error)]
                continue
            mistakes += [f"{where}: {problem}" for problem in _problems(schedule, file, zone)]
            if schedule.name in {other.name for _, other in schedules}:
                mistakes.append(f"{where}: duplicate name {schedule.name!r}")
            schedules.append((file.parent / schedule.plan, schedule))
    if mistakes:
        lines = (f"  - {mistake}" for mistake in mistakes)
        raise PlanError(
            "\n".join([f"{path}: {counted(len(mistakes), 'mistake')} (docs/schedules.md):", *lines])
        )
    return schedules


def _documents(file: Path) -> list[Any]:
    try:
        documents = parse_yaml_stream(read_bytes(file, LARGEST_YAML))
        return [document for document in documents if document is not None]
    except InvalidDocument as error:
        raise PlanError(f"{file}: {error}") from error


def _problems(schedule: Schedule, file: Path, zone: str) -> list[str]:
    problems = []
    if not same_zone(schedule.timezone, zone):
        problems.append(
            f"timezone: {schedule.timezone}, but KFP's server uses {zone} for every cron line; "
            f"write cron in {zone}, or change cronScheduleTimezone of the server and `timezone` "
            "in --settings"
        )
    if not (file.parent / schedule.plan).is_file():
        problems.append(f"plan: {file.parent / schedule.plan}: no such file")
    if schedule.start and schedule.end and schedule.end <= schedule.start:
        problems.append("end: not after start")
    return problems


def same_zone(first: str, second: str) -> bool:
    """Whether two names mean the same time zone."""
    return ZoneInfo(first).key == ZoneInfo(second).key or {first, second} <= _UTC


def recurring(
    schedule: Schedule, store: str, version: tuple[str, str], experiment: str, account: str
) -> dict[str, Any]:
    """The recurring run of a schedule, as fields of V2beta1RecurringRun."""
    moments = {"start_time": schedule.start, "end_time": schedule.end}
    return {
        "display_name": schedule.name,
        "description": f"xstilts schedule {schedule.name}, cron in {schedule.timezone}; "
        "managed by `xstilts schedule apply`",
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
    """A recurring run of a server, in the same fields. The server leaves out default values."""
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
    """Whether a recurring run belongs to a schedule of this store, by its parameter."""
    return str(present(run)["parameters"].get("run", "")).startswith(f"{store}/schedules/")


@dataclass(frozen=True)
class Change:
    """The change of one schedule. old: ids of recurring runs to delete; keep: id of the one that
    is kept. differs: fields that differ from the file.
    """

    kind: Literal["create", "replace", "enable", "disable", "delete", "unchanged", "left"]
    name: str
    body: Mapping[str, Any] | None = None
    keep: str | None = None
    old: Sequence[str] = ()
    differs: Sequence[str] = ()

    def __str__(self) -> str:
        fields = f" ({', '.join(self.differs)})" if self.differs else ""
        left = " (in no file; `--prune` deletes it)" if self.kind == "left" else ""
        duplicates = (
            f", {counted(len(self.old), 'duplicate')} deleted"
            if self.kind not in ("replace", "delete") and self.old
            else ""
        )
        return f"{self.kind:9} {self.name}{fields}{left}{duplicates}"


def diff(bodies: Sequence[Mapping[str, Any]], existing: Sequence[Any], prune: bool) -> list[Change]:
    """The changes that turn the existing recurring runs into `bodies`. KFP can only enable and
    disable a recurring run, so any other difference replaces it.
    """
    changes = []
    for body in bodies:
        named = [run for run in existing if run.display_name == body["display_name"]]
        changes.append(_change(body, named))
    names = {str(body["display_name"]) for body in bodies}
    for name in sorted({str(run.display_name) for run in existing} - names):
        old = [str(run.recurring_run_id) for run in existing if run.display_name == name]
        changes.append(Change("delete" if prune else "left", name, old=old if prune else ()))
    return changes


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


def _differences(body: Mapping[str, Any], existing: Mapping[str, Any]) -> list[str]:
    return [key for key, value in body.items() if existing[key] != value]
