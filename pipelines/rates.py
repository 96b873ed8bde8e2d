"""`xstilts rates PLAN`: runs, or reads, the trials of a grid of learning rates and picks one a
backbone.
"""

import argparse
import os
from pathlib import Path

from pipelines import commands, local_runner
from xstilts.environment import numeric_environment
from xstilts.errors import PlanError
from xstilts.plan.expand import expand
from xstilts.plan.expansion import Expansion
from xstilts.plan.load import load_plan
from xstilts.plan.rate_trials import (
    Look,
    Trial,
    dev_score,
    looked_at,
    pick,
    plan_text,
    trials,
    written,
)
from xstilts.plan.tables import Tables
from xstilts.sources.mirrors import open_mirror
from xstilts.store.store import Store
from xstilts.tasks.recipes import GRIDS


def rates(given: argparse.Namespace) -> int:
    """xstilts rates PLAN"""
    path = Path(given.plan)
    if not path.is_file():
        raise PlanError(f"{path}: no such plan file")
    plan, tables = load_plan(path), Tables.shipped()
    tried = trials(plan, tables, GRIDS, given.grid, given.backbone)
    home = Path(given.home).resolve()
    out = Path(given.plans or given.out or f"runs/{plan.name}-rates").resolve()
    files = {trial.plan.name: out / f"{trial.plan.name}.yaml" for trial in tried}
    out.mkdir(parents=True, exist_ok=True)
    for trial in tried:
        files[trial.plan.name].write_text(plan_text(trial.plan), encoding="utf-8")
    if given.plans:
        print("\n".join(str(file) for file in files.values()))
        return 0
    home.mkdir(parents=True, exist_ok=True)
    expansions = [_expansion(given, trial, home) for trial in tried]
    if not given.finished:
        for trial, looks in zip(tried, _looks(given, tried, expansions, home), strict=True):
            if all(look.value is not None for look in looks):
                continue
            one = argparse.Namespace(
                plan=str(files[trial.plan.name]),
                mirror=given.mirror,
                store=given.store,
                home=given.home,
                runner=given.runner,
                out=str(out / trial.plan.name),
            )
            code = commands.run(one)
            if code not in (
                0,
                4,
            ):  # a failed training is named below, with those of the other rates
                return code
    found = pick(look for looks in _looks(given, tried, expansions, home) for look in looks)
    text = written(plan, tables, found)
    print(text)
    if given.output:
        Path(given.output).write_text(text, encoding="utf-8")
    return 0


def _expansion(given: argparse.Namespace, trial: Trial, home: Path) -> Expansion:
    mirror = local_runner.mirror_for(given.mirror, trial.plan.mirror, home)
    return expand(trial.plan, open_mirror(mirror), numeric_environment())


def _looks(
    given: argparse.Namespace, tried: list[Trial], expansions: list[Expansion], home: Path
) -> list[list[Look]]:
    """What each trial's finished steps saw of English dev."""
    found = []
    with local_runner.store_at(given.store, home) as uri:
        store = Store.open(uri, cache=Path(os.environ["XSTILTS_CACHE"]))
        for trial, expansion in zip(tried, expansions, strict=True):
            rows = []
            for fingerprint, (backbone, target) in looked_at(expansion).items():
                manifest = store.manifest("finetune", fingerprint)
                rows.append(
                    Look(
                        backbone, target, trial.rate, dev_score(manifest.info) if manifest else None
                    )
                )
            found.append(rows)
    return found
