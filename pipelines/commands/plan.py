"""`xstilts plan`: what a plan would run."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.commands import completion, options
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import note_aside, say, warn
from xstilts.errors import PlanError

if TYPE_CHECKING:
    from xstilts.plan.calibration import Calibration
    from xstilts.plan.schema import Plan
    from xstilts.store.store import Store

app = new_app()


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts plan demo",
        "xstilts plan modality --offline",
        "xstilts plan PLAN --mirror hub --json",
    ),
)
def plan(
    plan: options.PlanFile,
    mirror: options.Mirror = None,
    store: options.LocalStore = None,
    home: options.Home = Path(".xstilts"),
    overrides: options.Overrides = None,
    limit: options.Limit = None,
    tasks: options.TaskFiles = None,
    gpus: Annotated[int, options.number("GPUs assumed by the estimate of hours.")] = 8,
    measured: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            autocompletion=completion.run_names,
            help="Scale the estimate by the times of another run in the store; the name of a plan "
            "means its newest run.",
        ),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline",
            help="Look up no data and no models: an overview with unresolved identities.",
        ),
    ] = False,
    as_json: options.Json = False,
) -> int:
    """Show what a plan would run, what is shared and what is already done.

    Lists backbones, arms, cells and steps with an estimate of GPU hours, and every mistake in the
    plan. Runs nothing.
    """
    if offline and (mirror or store or measured):
        raise PlanError("--offline looks nothing up; remove --mirror, --store and --measured")
    from pipelines.plan_file import open_plan

    checked = open_plan(plan, tasks or [], overrides or [], limit).plan
    view = (
        _offline(checked, gpus)
        if offline
        else _overview(checked, mirror=mirror, store=store, home=home, gpus=gpus, run=measured)
    )
    if as_json:
        say(json.dumps(view, indent=2, ensure_ascii=False))
    else:
        from xstilts.plan.show import render
        from xstilts.terminal_tables import console

        console().print(render(view))
    return 0


def offline_overview(plan: Path, *, gpus: int = 8, tasks: Sequence[Path] = ()) -> dict[str, Any]:
    """The overview of a plan whose data and models are not looked up."""
    from pipelines.plan_file import read_plan

    return _offline(read_plan(plan, tasks), gpus)


def _offline(plan: "Plan", gpus: int) -> dict[str, Any]:
    from xstilts.plan.expand import expand_offline
    from xstilts.plan.show import overview

    return overview(expand_offline(plan), None, gpus)


def overview_of(
    plan: Path,
    *,
    mirror: str | None = None,
    store: str | None = None,
    home: Path = Path(".xstilts"),
    gpus: int = 8,
    tasks: Sequence[Path] = (),
    run: str | None = None,
) -> dict[str, Any]:
    """The overview that `xstilts plan --json` prints. Raises PlanError for an invalid plan.

    Args:
        plan: YAML file of the plan.
        mirror: hub, miniature, a folder or s3://bucket/prefix; default: the plan's mirror.
        store: s3://bucket/prefix; default: an embedded S3 server over `home`/store.
        home: Folder that local runs share.
        gpus: Number of GPUs.
        tasks: Private task files besides those of the plan.
        run: Name of another run whose times scale the estimate.
    """
    from pipelines.plan_file import read_plan

    checked = read_plan(plan, tasks)
    return _overview(checked, mirror=mirror, store=store, home=home, gpus=gpus, run=run)


def _overview(
    checked: "Plan",
    *,
    mirror: str | None,
    store: str | None,
    home: Path,
    gpus: int,
    run: str | None,
) -> dict[str, Any]:
    from pipelines.local_runner import store_at
    from pipelines.plan_file import expand_plan
    from xstilts.plan.calibration import measured_seconds
    from xstilts.plan.recomputed import earlier_run, recomputed
    from xstilts.plan.show import overview
    from xstilts.plan.status import done
    from xstilts.runs.mirror_choice import mirror_for
    from xstilts.store.private_files import private_folder
    from xstilts.store.store import Store

    home = home.resolve()
    private_folder(home)
    expansion = expand_plan(checked, mirror_for(mirror, checked.mirror, home, note_aside))
    with store_at(store, home) as uri:
        opened = Store.open(uri, cache=Path(os.environ["XSTILTS_CACHE"]))
        finished = done(expansion, opened)
        earlier = earlier_run(opened, expansion.name, warn)
        again = recomputed(expansion, earlier[1], opened) if earlier else []
        measured = _calibration_of(run, opened) if run is not None else None
        seconds = measured_seconds(finished, opened) if run is None else {}
    name = earlier[0] if earlier else None
    return overview(expansion, finished, gpus, again, name, seconds, measured)


def _calibration_of(run: str, store: "Store") -> "Calibration":
    """Measured over estimated time of a run's finished steps."""
    from pipelines.run_list import run_named
    from xstilts.plan.calibration import calibration, measured_seconds
    from xstilts.plan.cost import step_costs
    from xstilts.plan.expansion import Expansion
    from xstilts.plan.status import done
    from xstilts.runs.folder import stored_expansion

    run = run_named(store, run)
    document = stored_expansion(store, f"runs/{run}")
    if document is None:
        raise PlanError(f"--measured: the run {run} has no expanded plan yet; choose another run")
    expansion = Expansion.from_json(document)
    seconds = measured_seconds(done(expansion, store), store)
    if not seconds:
        raise PlanError(f"--measured: no finetune or score step of the run {run} is finished")
    return calibration(expansion, step_costs(expansion), seconds)
