"""Applies, compares, lists and deletes schedules on a server."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import cluster_runs, recurring_runs
from pipelines.cluster_settings import load_settings
from pipelines.console import say
from pipelines.kfp.kfp_client import Kfp
from pipelines.kfp.package import images_of
from pipelines.plan_file import read_plan
from pipelines.run_status import status_of
from xstilts.errors import PlanError, counted
from xstilts.plan.status import undone
from xstilts.runs import recurring
from xstilts.store.store import Store

#: Id of an experiment or package that does not exist yet when `diff` runs: it differs from every
#: real id.
NOT_CREATED = "(not created yet)"
INDENT = " " * 10
COMPUTES_NOTHING = "REPEATS COMPUTE NOTHING"


@dataclass(frozen=True)
class PreparedSchedule:
    """A schedule with its checked plan and its package. stored: the document that the store has
    of it, None before the first apply.
    """

    schedule: recurring_runs.Schedule
    plan: cluster_runs.CheckedPlan
    package: tuple[str, str]
    account: str
    stored: Any

    @property
    def repeat(self) -> recurring.Repeat:
        return recurring.Repeat(
            **{key: getattr(self.schedule, key) for key in recurring.Repeat.model_fields}
        )

    @property
    def up_to_date(self) -> bool:
        return recurring.same(
            self.stored, self.plan.text, self.plan.mirror, self.repeat, self.plan.plan.task_files
        )


def apply(
    file: Path,
    store_uri: str,
    kfp: Kfp,
    *,
    mirror: str | None = None,
    settings_file: Path | None = None,
    allow_unlocked: bool = False,
    prune: bool = False,
) -> int:
    """Makes the server's recurring runs match the files.

    Args:
        file: a schedule file, or a folder of them.
        store_uri: the cluster's store.
        kfp: the server.
        mirror: replaces the mirror of every schedule and plan.
        settings_file: the cluster's settings.
        allow_unlocked: accept images without a digest.
        prune: delete recurring runs of this store that are in none of the files.
    """
    store = cluster_runs.open_store(store_uri)
    schedules = _prepare(file, store, mirror, settings_file, allow_unlocked)
    experiments = {name: kfp.experiment(name) for name in _experiment_names(schedules)}
    bodies = [
        recurring_runs.recurring(
            prepared.schedule,
            store.uri,
            kfp.version(*prepared.package),
            experiments[prepared.schedule.experiment],
            prepared.account,
        )
        for prepared in schedules
    ]
    changes = recurring_runs.diff(bodies, _existing(kfp, store), prune)
    for prepared in schedules:  # the store first: a recurring run may fire at once
        if not prepared.up_to_date:
            plan, repeat = prepared.plan, prepared.repeat
            holds = recurring.held(plan.plan, repeat, plan.expansion)
            files = plan.plan.task_files
            document = recurring.document_of(plan.mirror, repeat, holds, files)
            recurring.put(store, prepared.schedule.name, plan.text, document, files)
        recurring.put_images(store, prepared.schedule.name, images_of(prepared.package[0]))
    for change in changes:
        _carry_out(kfp, change)
    _print_changes(changes, schedules, store)
    return 0


def diff(
    file: Path,
    store_uri: str,
    kfp: Kfp,
    *,
    mirror: str | None = None,
    settings_file: Path | None = None,
    allow_unlocked: bool = False,
    prune: bool = False,
) -> int:
    """Prints what `apply` would change, and changes nothing. The arguments are those of `apply`."""
    store = cluster_runs.open_store(store_uri)
    schedules = _prepare(file, store, mirror, settings_file, allow_unlocked)
    experiments = {name: kfp.find_experiment(name) for name in _experiment_names(schedules)}
    bodies = [
        recurring_runs.recurring(
            prepared.schedule,
            store.uri,
            kfp.find_version(prepared.package[1]) or (NOT_CREATED, NOT_CREATED),
            experiments[prepared.schedule.experiment] or NOT_CREATED,
            prepared.account,
        )
        for prepared in schedules
    ]
    changes = recurring_runs.diff(bodies, _existing(kfp, store), prune)
    _print_changes(changes, schedules, store)
    return 0


def check(file: Path, settings_file: Path | None = None) -> int:
    """Checks schedule files and their plans without a server, store, data or network, and prints
    what each firing adds. Raises PlanError with the mistakes.
    """
    mistakes: list[str] = []
    for path, schedule in recurring_runs.load(file, load_settings(settings_file).timezone):
        try:
            plan = read_plan(path)
        except PlanError as error:
            mistakes.append(str(error))
            continue
        fields = recurring.Repeat.model_fields
        repeat = recurring.Repeat(**{key: getattr(schedule, key) for key in fields})
        when = f"{schedule.cron} ({schedule.timezone})"
        say(f"{schedule.name}: valid; {when}, plan {os.path.normpath(path)}")
        reasons, idle = recurring.reasons(plan, repeat)
        for line in (*reasons, *idle, *recurring.cautions(repeat)):
            say(f"{INDENT}{line}")
        if not reasons:
            say(f"{INDENT}{COMPUTES_NOTHING}: set follow, add_seeds or reuse: none")
    if mistakes:
        raise PlanError("\n".join(mistakes))
    return 0


def list_runs(store_uri: str, kfp: Kfp) -> int:
    """Prints the recurring runs of this store, with their firings."""
    store = cluster_runs.open_store(store_uri)
    for run in sorted(_existing(kfp, store), key=lambda run: str(run.display_name)):
        fields = recurring_runs.present(run)
        firings = recurring.firings(store, str(run.display_name))
        last = ""
        if firings:
            fired = str(firings[-1]["run"])
            last = f", the last as {fired} ({status_of(store, fired, kfp).state.state})"
        state = "on" if fields["mode"] == "ENABLE" else "off"
        cron = fields["cron_schedule"]["cron"]
        say(f"{run.display_name}: {state}, {cron}, fired {counted(len(firings), 'time')}{last}")
    return 0


def delete(schedule: str, store_uri: str, kfp: Kfp, *, settings_file: Path | None = None) -> int:
    """Deletes recurring runs. The store keeps their folders and firings.

    Args:
        schedule: the name of one schedule of this store, or a path of schedule files.
        store_uri: the cluster's store.
        kfp: the server.
        settings_file: the cluster's settings.
    """
    store = cluster_runs.open_store(store_uri)
    existing = _existing(kfp, store)
    names = _names(schedule, existing, store, settings_file)
    for run in existing:
        name = str(run.display_name)
        if name in names:
            kfp.delete_recurring(str(run.recurring_run_id), name)
            say(f"delete    {name}")
    for name in sorted(names - {str(run.display_name) for run in existing}):
        say(f"absent    {name}")
    return 0


def _names(
    schedule: str, existing: Sequence[Any], store: Store, settings_file: Path | None
) -> set[str]:
    """The schedules that `delete` means. A name comes before a path: the file may be gone or
    invalid.
    """
    known = {str(run.display_name) for run in existing}
    is_name = "/" not in schedule
    if schedule in known or (is_name and recurring.stored(store, schedule) is not None):
        return {schedule}
    if not Path(schedule).exists():
        listed = f"its schedules are {', '.join(sorted(known))}" if known else "it has no schedules"
        raise PlanError(f"{schedule!r}: neither a schedule of {store.uri} nor a file; {listed}")
    zone = load_settings(settings_file).timezone
    return {each.name for _, each in recurring_runs.load(Path(schedule), zone)}


def _prepare(
    file: Path,
    store: Store,
    mirror: str | None,
    settings_file: Path | None,
    allow_unlocked: bool,
) -> list[PreparedSchedule]:
    """Reads and checks all files and plans before anything is changed."""
    zone = load_settings(settings_file).timezone
    schedules = []
    for path, schedule in recurring_runs.load(file, zone):
        checked = cluster_runs.check_plan(path, mirror or schedule.mirror)
        settings = cluster_runs.settings_for(settings_file, checked.plan, checked.mirror)
        package = cluster_runs.package(settings, allow_unlocked)
        stored = recurring.stored(store, schedule.name)
        schedules.append(
            PreparedSchedule(schedule, checked, package, settings.service_account, stored)
        )
    return schedules


def _experiment_names(schedules: Sequence[PreparedSchedule]) -> list[str]:
    return sorted({prepared.schedule.experiment for prepared in schedules})


def _existing(kfp: Kfp, store: Store) -> list[Any]:
    return [run for run in kfp.recurring_runs() if recurring_runs.ours(run, store.uri)]


def _carry_out(kfp: Kfp, change: recurring_runs.Change) -> None:
    """Creates before it deletes, so that a failure in between leaves one recurring run."""
    if change.kind in ("create", "replace"):
        assert change.body is not None
        kfp.create_recurring(change.body)
    elif change.kind in ("enable", "disable"):
        assert change.keep is not None
        kfp.enable_recurring(change.keep, change.name, change.kind == "enable")
    for old in change.old:
        kfp.delete_recurring(old, change.name)


def _print_changes(
    changes: Sequence[recurring_runs.Change], schedules: Sequence[PreparedSchedule], store: Store
) -> None:
    """One line for each change; for each schedule also why it repeats and what its first firing
    computes.
    """
    by_name = {prepared.schedule.name: prepared for prepared in schedules}
    for change in changes:
        say(str(change))
        prepared = by_name.get(change.name)
        if prepared is None:
            continue
        if not prepared.up_to_date:
            changed = "its plan, mirror or `follow` settings changed"
            say(f"{INDENT}{changed if prepared.stored else 'written to the store'}")
        reasons, idle = recurring.reasons(prepared.plan.plan, prepared.repeat)
        for line in (*reasons, *idle, *recurring.cautions(prepared.repeat)):
            say(f"{INDENT}{line}")
        if not reasons:
            steps = undone(prepared.plan.expansion, store).values()
            count = sum(len(fingerprints) for fingerprints in steps)
            first = (
                f"the next firing computes {counted(count, 'step')}"
                if count
                else "all steps are done"
            )
            say(f"{INDENT}{COMPUTES_NOTHING} ({first}): set follow, add_seeds or reuse: none")
