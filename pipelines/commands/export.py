"""`xstilts export`: a report's predictions as submissions."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app

app = new_app()


@app.command(cls=Command, epilog=examples("xstilts export runs/demo/report submissions/"))
def export(
    report: Annotated[Path, typer.Argument(metavar="REPORT", help="Report folder of a run.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the submissions.")],
    benchmark: options.Benchmark = "xtreme-r",
    unofficial: Annotated[
        bool,
        typer.Option(
            "--unofficial", help="Include UD-POS predictions on words other than the official ones."
        ),
    ] = False,
) -> int:
    """Write a report's predictions as XTREME-R submissions, one folder for each model."""
    from xstilts.official.export import export as write_submissions
    from xstilts.official.export import left_out

    for path in write_submissions(report, folder, benchmark, unofficial):
        print(path, file=sys.__stdout__)
    for reason in [] if unofficial else left_out(report, benchmark):
        print(f"left out: {reason}", file=sys.__stderr__)
    return 0
