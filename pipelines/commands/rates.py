"""`xstilts rates`: runs, or reads, trials with several learning rates and picks one for each
backbone.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app

if TYPE_CHECKING:
    from xstilts.plan.expansion import Expansion
    from xstilts.plan.rate_trials import Trial, TrialScore

app = new_app()


def _grid(text: str) -> str:
    try:
        [float(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a list of rates; write 1e-5,2e-5") from error
    return text


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts rates PLAN -o overrides.yaml",
        "xstilts rates PLAN --grid 1e-5,2e-5 --backbone llava",
        "xstilts rates PLAN --plans trials/",
    ),
)
def rates(
    plan: options.PlanFile,
    mirror: options.Mirror = None,
    store: options.LocalStore = None,
    home: options.Home = Path(".xstilts"),
    grid: Annotated[
        str | None,
        typer.Option(
            metavar="R,R,…",
            help="Learning rates to try.",
            show_default="the grid of the recipe set",
            callback=lambda text: None if text is None else _grid(text),
        ),
    ] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Try this backbone only; repeat for several.",
            show_default="all backbones of the plan",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Also write the overrides to a file."),
    ] = None,
    runner: options.RunnerOption = "subprocess",
    tasks: options.TaskFiles = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the trials' plans, reports and logs.",
            show_default="runs/<name of the plan>-rates",
        ),
    ] = None,
    plans: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Only write the trials' plans to this folder, to be submitted to a cluster. "
            "Excludes --finished.",
        ),
    ] = None,
    finished: Annotated[
        bool,
        typer.Option("--finished", help="Run nothing: choose from the trials in the store."),
    ] = False,
) -> int:
    """Choose learning rates on English dev data of the arm `none`.

    Runs the arm `none` with the plan's first seeds at each rate, and prints the best rate of each
    backbone as overrides for the plan.
    """
    if plans is not None and finished:
        raise typer.BadParameter("--plans and --finished exclude each other")
    from pipelines.local_runner import interruptible

    with interruptible():
        return choose_rates(
            plan, mirror=mirror, store=store, home=home, output=output, runner=runner, out=out,
            grid=None if grid is None else tuple(float(part) for part in grid.split(",")),
            backbones=backbone or [], plans=plans, finished=finished, tasks=tasks or [],
        )  # fmt: skip


def choose_rates(
    plan: Path,
    *,
    mirror: str | None = None,
    store: str | None = None,
    home: Path = Path(".xstilts"),
    grid: tuple[float, ...] | None = None,
    backbones: Sequence[str] = (),
    output: Path | None = None,
    runner: options.Runner = "subprocess",
    out: Path | None = None,
    plans: Path | None = None,
    finished: bool = False,
    tasks: Sequence[Path] = (),
) -> int:
    """Runs the trials and prints the overrides. The arguments are those of `xstilts rates`.

    Args:
        plan: YAML file of the plan.
        mirror: hub, miniature, a folder or s3://bucket/prefix; default: the plan's mirror.
        store: s3://bucket/prefix; default: an embedded S3 server over `home`/store.
        home: folder that runs share.
        grid: learning rates to try; default: the grid of the recipe set.
        backbones: names of the backbones to try; default: all.
        output: file that the overrides are also written to.
        runner: run each component as a subprocess, or in its own Docker image.
        out: folder for the trials' plans, reports and logs.
        plans: only write the trials' plans to this folder.
        finished: run nothing, choose from the trials in the store.
        tasks: private task files besides those of the plan.
    """
    from pipelines.commands.run import run
    from pipelines.console import note_aside
    from pipelines.plan_file import expand_plan, read_plan
    from xstilts.errors import PlanError
    from xstilts.plan import rate_trials
    from xstilts.plan.tables import Tables
    from xstilts.runs.mirror_choice import mirror_for
    from xstilts.store.private_files import private_folder
    from xstilts.tasks.recipes import GRIDS

    if output and (output.is_dir() or not output.parent.is_dir()):
        raise PlanError(f"--output {output}: not a file in an existing folder; choose another path")
    checked = read_plan(plan, tasks)
    tables = Tables.shipped().with_tasks(checked.private_tasks)
    trials = rate_trials.trials(checked, tables, GRIDS, grid, list(backbones))
    folder = Path(plans or out or f"runs/{checked.name}-rates").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    files = {trial.plan.name: folder / f"{trial.plan.name}.yaml" for trial in trials}
    for trial in trials:
        text = rate_trials.plan_text(trial.plan)
        files[trial.plan.name].write_text(text, encoding="utf-8")
    if plans:
        print("\n".join(str(file) for file in files.values()))
        return 0
    home = home.resolve()
    private_folder(home)
    expansions = [
        expand_plan(trial.plan, mirror_for(mirror, trial.plan.mirror, home, note_aside))
        for trial in trials
    ]
    if not finished:
        scores = _dev_scores(store, trials, expansions, home)
        for trial, trial_scores in zip(trials, scores, strict=True):
            if all(score.value is not None for score in trial_scores):
                continue
            code = run(
                files[trial.plan.name], mirror=mirror, store=store, home=home, runner=runner,
                out=folder / trial.plan.name, tasks=list(tasks),
            )  # fmt: skip
            if code not in (0, 4):  # failed trainings (4) are reported below, together
                return code
    scores = _dev_scores(store, trials, expansions, home)
    best = rate_trials.pick_rates(score for trial_scores in scores for score in trial_scores)
    text = rate_trials.override_yaml(checked, tables, best)
    print(text)
    if output:
        output.write_text(text, encoding="utf-8")
    return 0


def _dev_scores(
    store: str | None, trials: "Sequence[Trial]", expansions: "Sequence[Expansion]", home: Path
) -> "list[list[TrialScore]]":
    """The English dev scores in each trial's finished steps."""
    from pipelines.local_runner import store_at
    from xstilts.plan.rate_trials import TrialScore, dev_score, trained_targets
    from xstilts.store.store import Store

    scores = []
    with store_at(store, home) as uri:
        opened = Store.open(uri, cache=Path(os.environ["XSTILTS_CACHE"]))
        for trial, expansion in zip(trials, expansions, strict=True):
            rows = []
            for fingerprint, (backbone, target) in trained_targets(expansion).items():
                manifest = opened.manifest("finetune", fingerprint)
                value = dev_score(manifest.info) if manifest else None
                rows.append(TrialScore(backbone, target, trial.rate, value))
            scores.append(rows)
    return scores
