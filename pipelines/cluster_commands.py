"""The commands on runs of a cluster: submit, status, cancel, report. The logs are in logs.py."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from pipelines import cluster_runs
from pipelines.cluster_settings import Settings, load_settings
from pipelines.kfp.api import Kfp
from pipelines.kfp.package import compiled, refuse_unlocked
from xstilts.errors import in_a_line
from xstilts.plan.placement import Cluster
from xstilts.plan.schema import Plan
from xstilts.plan.status import undone


def _say(text: str) -> None:
    print(text, file=sys.__stdout__, flush=True)


def server(given: argparse.Namespace) -> Kfp:
    return Kfp(given.host, given.namespace, given.ca_cert)


def package(given: argparse.Namespace, settings: Settings) -> tuple[str, str]:
    """(text, version) of the package that these settings make; refused while an image of it is
    not pinned.
    """
    text, version = compiled(settings)
    if not given.allow_unlocked:
        refuse_unlocked(text)
    return text, version


def settings_for(given: argparse.Namespace, plan: Plan, mirror: str) -> Settings:
    """The cluster's settings, with as much time for the steps that watch Ray as the plan gives
    Ray itself and its wait in the queue, for data from this mirror.
    """
    settings = load_settings(given.settings).model_copy(update={"hub": mirror == "hub"})
    cluster = plan.resources.cluster or Cluster()
    return settings.lasting(cluster.queue_hours + cluster.deadline_hours)


def submit(given: argparse.Namespace) -> int:
    """xstilts submit PLAN"""
    checked = cluster_runs.checked(Path(given.plan), given.mirror)
    settings = settings_for(given, checked.plan, checked.mirror)
    text, version = package(given, settings)
    store, kfp = cluster_runs.open_store(given.store), server(given)
    todo = {kind: len(steps) for kind, steps in undone(checked.expansion, store).items() if steps}
    experiment = kfp.experiment(given.experiment)
    uploaded = kfp.version(text, version)
    name = cluster_runs.start(kfp, store, checked, uploaded, experiment, settings.service_account)
    _say(f"{name}: submitted")
    _say(
        f"  to do: {', '.join(f'{count} {kind}' for kind, count in todo.items()) or 'only the report'}"
    )
    run_id = cluster_runs.kfp_id(store, name)
    _say(f"  {kfp.url(run_id)}")
    if not given.wait:
        return 0
    progress = _Progress(store, name)
    state = kfp.wait(run_id, every=given.every, look=progress.look)
    progress.look()
    code, failures = cluster_runs.outcome(store, name, state)
    for failure in failures:
        print(f"xstilts: {failure['what']}: {in_a_line(failure['error'])}", file=sys.stderr)
    _say(f"{name}: {state.lower()}, exit code {code}")
    return code


class _Progress:
    """Prints how far a run is whenever a number changes."""

    def __init__(self, store: Any, run: str) -> None:
        self.store, self.run = store, run
        self.totals: dict[str, set[str]] = {}
        self.last, self.started = "", time.monotonic()

    def look(self) -> None:
        self.totals = self.totals or cluster_runs.totals(self.store, self.run)
        parts = [
            f"{k} {len(wanted & self.store.done(k))}/{len(wanted)}"
            for k, wanted in self.totals.items()
            if wanted
        ]
        line = "  ".join(parts) or "waiting for the plan step"
        if line != self.last:
            _say(f"  {time.monotonic() - self.started:5.0f} s  {line}")
            self.last = line


def status(given: argparse.Namespace) -> int:
    """xstilts status RUN"""
    view = cluster_runs.status(
        cluster_runs.open_store(given.store), given.run, server(given) if given.host else None
    )
    if given.json:
        _say(json.dumps(view, indent=2, ensure_ascii=False))
        return 0
    _say(f"{given.run}: {_in_words(view)}")
    for kind, steps in view["steps"].items():
        _say(f"  {kind:10} {steps['done']:5} of {steps['of']}")
    for failure in view["failures"]:
        _say(f"  failed: {failure['what']}: {in_a_line(failure['error'])}")
    if view["kfp"]:
        _say(f"  {view['kfp']['url']}")
    return 0


def _in_words(view: dict[str, Any]) -> str:
    """What a run is, in one line: by its folder first, by KFP where the folder does not say."""
    if view["exit_code"] is not None:
        missing = len(view["missing"])
        return f"finished, exit code {view['exit_code']}" + (
            f"; {missing} cells are missing" if missing else ""
        )
    state = (
        f"KFP says {view['kfp']['state'].lower()}"
        if view["kfp"]
        else "KFP was not asked (give --host)"
    )
    if view["kfp"] and view["kfp"]["error"]:
        state += f": {in_a_line(view['kfp']['error'])}"
    if view["cancelled"]:
        return f"cancelled; {state}"
    return f"{'going on' if view['steps'] else 'not planned yet'}; {state}"


def cancel(given: argparse.Namespace) -> int:
    """xstilts cancel RUN"""
    cluster_runs.cancel(server(given), cluster_runs.open_store(given.store), given.run)
    _say(f"{given.run}: cancelled; its workers stop within minutes, and what is finished is kept")
    return 0


def report(given: argparse.Namespace) -> int:
    """xstilts report RUN"""
    folder = cluster_runs.fetch_report(
        cluster_runs.open_store(given.store), given.run, Path(given.out)
    )
    if (folder / "summary.json").is_file():
        from xstilts.analysis.terminal import show

        show(folder)
    _say(f"report: {folder / 'report.html'}")
    return 0
