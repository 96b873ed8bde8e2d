"""`xstilts export`: a report's predictions as submissions."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app

if TYPE_CHECKING:
    from xstilts.official.predictions import Predictions

app = new_app()


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts export runs/demo/report submissions/",
        "xstilts export runs/RUN/report submissions/ --store s3://bucket/prefix",
        note="Reports of more than five million predictions do not contain them; they are read "
        f"from the store. {options.CREDENTIALS}",
    ),
)
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
    store: options.RunStore = None,
    home: options.Home = Path(".xstilts"),
) -> int:
    """Write a report's predictions as XTREME-R submissions, one folder for each model."""
    from xstilts.official.export import export as write_submissions
    from xstilts.official.export import left_out

    with _predictions(report, store, home) as predictions:
        for path in write_submissions(report, folder, benchmark, unofficial, predictions):
            print(path, file=sys.__stdout__)
        for reason in [] if unofficial else left_out(report, benchmark, predictions):
            print(f"left out: {reason}", file=sys.__stderr__)
    return 0


@contextlib.contextmanager
def _predictions(report: Path, store: str | None, home: Path) -> "Iterator[Predictions]":
    """Those in the report, or in the store if the report only names their steps."""
    if (report / "predictions").is_dir() or not (report / "cells.parquet").is_file():
        from xstilts.official.predictions import ReportPredictions

        yield ReportPredictions(report)
        return
    from pipelines.opened_store import opened_store
    from xstilts.runs.stored_predictions import StoredPredictions

    with opened_store(store, home) as opened:
        yield StoredPredictions(opened, report)
