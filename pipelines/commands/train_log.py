"""`xstilts train-log`: learning curves and time of a run."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import say
from xstilts.errors import counted

app = new_app()


@app.command(
    "train-log",
    cls=Command,
    epilog=examples(
        "xstilts train-log demo",
        "xstilts train-log RUN --only tiny-llava --store s3://bucket/prefix",
        note=options.CREDENTIALS,
    ),
)
def train_log(
    run: options.RunName,
    store: options.RunStore = None,
    home: options.Home = Path(".xstilts"),
    only: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help="Only trainings whose label contains this text.",
            show_default="all",
        ),
    ] = "",
    as_json: options.Json = False,
) -> int:
    """Show the learning curves of a run, and its time and GPU-hours by phase."""
    from pipelines import training_log
    from pipelines.opened_store import opened_store
    from pipelines.run_list import run_named

    with opened_store(store, home) as opened:
        expansion = training_log.expansion_of(opened, run_named(opened, run))
        training_log.require_training(expansion, only)
        curves = list(training_log.curves(opened, expansion, only))
        phases = training_log.phases(opened, expansion)
    if as_json:
        document = {
            "trainings": [curve.json() for curve in curves],
            "phases": [phase.json() for phase in phases],
        }
        say(json.dumps(document, indent=2, ensure_ascii=False))
        return 0
    if not curves:
        say(f"no finished training{f' of {only!r}' if only else ''} yet")
    for curve in curves:
        say(f"{curve.label}: {counted(len(curve.losses), 'update')} in {curve.seconds:.0f} s")
        course = training_log.sparkline(curve.losses)
        say(f"  loss {course}  {curve.losses[0]:.3f} → {curve.losses[-1]:.3f}")
        if curve.dev:
            scores = [score for _, score in curve.dev]
            chosen = f", update {curve.selected} selected" if curve.selected else ""
            say(f"  dev  {training_log.sparkline(scores)}  best {max(scores):.3f}{chosen}")
    say("time by phase (finished steps, summed over those that ran side by side)")
    for phase in phases:
        gpu = f"  {phase.gpu_hours:8.2f} GPU-hours" if phase.gpu_hours else ""
        say(f"  {phase.kind:10} {phase.done:5} of {phase.of:5}  {phase.seconds:9.0f} s{gpu}")
    return 0
