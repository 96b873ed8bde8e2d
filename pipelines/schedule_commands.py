"""xstilts schedule apply|diff|list|delete: recurring benchmarks from files."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import cluster_runs, recurring_runs
from pipelines.cluster_commands import package, server, settings_for
from pipelines.cluster_settings import load_settings
from pipelines.kfp.api import Kfp
from xstilts.errors import PlanError
from xstilts.plan.status import undone
from xstilts.runs import recurring
from xstilts.store.store import Store

#: Stands for what has no id yet when `diff` looks: it differs from every id.
UNMADE = "(not made yet)"


def _say(text: str) -> None:
    print(text, file=sys.__stdout__, flush=True)


def schedule(given: argparse.Namespace) -> int:
    """xstilts schedule ACTION FILE"""
    if given.file is None and given.action != "list":
        raise PlanError(f"schedule {given.action}: name a schedule's file, or a folder of them")
    return {"apply": apply, "diff": diff, "list": list_, "delete": delete}[given.action](given)


@dataclass(frozen=True)
class Wanted:
    """What one file asks for: its schedule, its checked plan, its package, and what the store
    holds of it.
    """

    schedule: recurring_runs.Schedule
    plan: cluster_runs.Checked
    package: tuple[str, str]
    account: str
    before: Any

    @property
    def repeat(self) -> recurring.Repeat:
        return recurring.Repeat(
            **{key: getattr(self.schedule, key) for key in recurring.Repeat.model_fields}
        )

    @property
    def settled(self) -> bool:
        return recurring.same(
            self.before, self.plan.text, self.plan.mirror, self.repeat, self.plan.plan.task_files
        )


def _wanted(given: argparse.Namespace, store: Store) -> list[Wanted]:
    """Reads and checks all files and plans before anything is changed."""
    zone = load_settings(given.settings).timezone
    found = []
    for path, one in recurring_runs.load(Path(given.file), zone):
        checked = cluster_runs.checked(path, given.mirror or one.mirror)
        settings = settings_for(given, checked.plan, checked.mirror)
        before = recurring.stored(store, one.name)
        found.append(
            Wanted(one, checked, package(given, settings), settings.service_account, before)
        )
    return found


def _there(kfp: Kfp, store: Store) -> list[Any]:
    return [run for run in kfp.recurring_runs() if recurring_runs.ours(run, store.uri)]


def apply(given: argparse.Namespace) -> int:
    """Makes the server as the files say. Applied twice, the second time writes nothing."""
    store, kfp = cluster_runs.open_store(given.store), server(given)
    wanted = _wanted(given, store)
    experiments = {
        name: kfp.experiment(name) for name in sorted({one.schedule.experiment for one in wanted})
    }
    bodies = []
    for one in wanted:
        version = kfp.version(*one.package)
        experiment = experiments[one.schedule.experiment]
        bodies.append(
            recurring_runs.recurring(one.schedule, store.uri, version, experiment, one.account)
        )
    changes = recurring_runs.diff(bodies, _there(kfp, store), given.prune)
    for one in wanted:  # before a recurring run can fire
        if not one.settled:
            holds = recurring.held(one.plan.plan, one.repeat, one.plan.expansion)
            files = one.plan.plan.task_files
            document = recurring.document_of(one.plan.mirror, one.repeat, holds, files)
            recurring.put(store, one.schedule.name, one.plan.text, document, files)
    for change in changes:
        _do(kfp, change)
    _tell(changes, wanted, store)
    return 0


def _do(kfp: Kfp, change: recurring_runs.Change) -> None:
    """Carries out one change. What is new is made before what is old goes, so that a failure
    between leaves one.
    """
    if change.kind in ("create", "replace"):
        assert change.body is not None
        kfp.create_recurring(change.body)
    elif change.kind in ("enable", "disable"):
        assert change.keep is not None
        kfp.enable_recurring(change.keep, change.name, change.kind == "enable")
    for old in change.old:
        kfp.delete_recurring(old, change.name)


def diff(given: argparse.Namespace) -> int:
    """Says what apply would change, and changes nothing."""
    store, kfp = cluster_runs.open_store(given.store), server(given)
    wanted = _wanted(given, store)
    names = sorted({one.schedule.experiment for one in wanted})
    experiments = {name: kfp.find_experiment(name) for name in names}
    bodies = []
    for one in wanted:
        version = kfp.find_version(one.package[1]) or (UNMADE, UNMADE)
        experiment = experiments[one.schedule.experiment] or UNMADE
        bodies.append(
            recurring_runs.recurring(one.schedule, store.uri, version, experiment, one.account)
        )
    _tell(recurring_runs.diff(bodies, _there(kfp, store), given.prune), wanted, store)
    return 0


def _tell(changes: Sequence[recurring_runs.Change], wanted: Sequence[Wanted], store: Store) -> None:
    """One line for each change, and for each schedule why it runs again and what its first
    firing computes.
    """
    by_name = {one.schedule.name: one for one in wanted}
    for change in changes:
        _say(str(change))
        one = by_name.get(change.name)
        if one is None:
            continue
        if not one.settled:
            _say(
                f"          {'its plan, mirror or reasons changed' if one.before else 'written to the store'}"
            )
        why, idle = recurring.reasons(one.plan.plan, one.repeat)
        for line in (*why, *idle, *recurring.cautions(one.repeat)):
            _say(f"          {line}")
        count = sum(len(steps) for steps in undone(one.plan.expansion, store).values())
        if not why:
            now = (
                f"the next one computes {count} steps"
                if count
                else "all its steps are done already"
            )
            _say(
                f"          COMPUTES NOTHING after it is done once ({now}): say follow, add_seeds or reuse: none"
            )


def list_(given: argparse.Namespace) -> int:
    """The recurring runs of this store, with their firings."""
    store, kfp = cluster_runs.open_store(given.store), server(given)
    for run in sorted(_there(kfp, store), key=lambda run: str(run.display_name)):
        there = recurring_runs.present(run)
        fired = recurring.firings(store, str(run.display_name))
        last = f", the last as {fired[-1]['run']}" if fired else ""
        state = "on" if there["mode"] == "ENABLE" else "off"
        _say(
            f"{run.display_name}: {state}, {there['cron_schedule']['cron']}, fired {len(fired)} times{last}"
        )
    return 0


def delete(given: argparse.Namespace) -> int:
    """Deletes the recurring runs of the schedules that the files name. The store keeps their
    folders and firings.
    """
    store, kfp = cluster_runs.open_store(given.store), server(given)
    names = {
        one.name
        for _, one in recurring_runs.load(Path(given.file), load_settings(given.settings).timezone)
    }
    for run in _there(kfp, store):
        if run.display_name in names:
            kfp.delete_recurring(str(run.recurring_run_id), str(run.display_name))
            names.discard(str(run.display_name))
            _say(f"delete    {run.display_name}")
    for name in sorted(names):
        _say(f"absent    {name}")
    return 0
