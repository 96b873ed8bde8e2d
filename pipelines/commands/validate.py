"""`xstilts validate`: errors in a submission."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app
from xstilts.errors import DataError, counted

app = new_app()


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts validate submissions/llava.none.t0/predictions",
        "xstilts validate submissions/llava.none.t0/predictions labels/ --benchmark xtreme",
    ),
)
def validate(
    predictions: options.Predictions,
    labels: Annotated[
        Path | None,
        typer.Argument(metavar="LABELS", help="Also compare row counts and ids with these labels."),
    ] = None,
    benchmark: options.Benchmark = "xtreme-r",
) -> int:
    """Check a submission for errors and list all of them. Exit code 2 if there are any."""
    from xstilts.official.validate import validate as find_problems

    if not predictions.is_dir():
        raise DataError(f"{predictions}: no such folder")
    if (predictions / "predictions").is_dir():
        raise DataError(
            f"{predictions}: the folder of a submission; name {predictions / 'predictions'}"
        )
    if problems := find_problems(predictions, benchmark, labels):
        lines = [
            f"{predictions}: {counted(len(problems), 'problem')}",
            *(f"  - {text}" for text in problems),
        ]
        raise DataError("\n".join(lines))
    print(f"{predictions}: valid", file=sys.__stdout__)
    return 0
