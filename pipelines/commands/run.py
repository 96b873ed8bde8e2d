"""`xstilts run`: a plan on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import say, warn

app = new_app()


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts run pipelines/plans/demo.yaml --out runs/demo",
        "xstilts run PLAN --mirror s3://bucket/mirror --runner docker",
    ),
)
def run(
    plan: options.PlanFile,
    mirror: options.Mirror = None,
    store: options.LocalStore = None,
    home: options.Home = Path(".xstilts"),
    runner: options.RunnerOption = "subprocess",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the report and the logs.",
            show_default="runs/<name of the plan>",
        ),
    ] = None,
) -> int:
    """Run a plan on this machine.

    Starts an embedded S3 server and, if needed, a local Ray, then runs the pipeline and prints
    the report. Finished steps are not run again: run the same command to resume.
    """
    from pipelines.local_runner import run_plan

    result = run_plan(plan, mirror=mirror, store=store, home=home, runner=runner, out=out, say=say)
    for line in result.errors:
        warn(line)
    if (result.report / "summary.json").is_file():
        from xstilts.analysis.terminal import show

        show(result.report)
        say(f"report: {result.report / 'report.html'}")
    say(f"{result.seconds:.0f} s, exit code {result.exit_code}")
    return result.exit_code
