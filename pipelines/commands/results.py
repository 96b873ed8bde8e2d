"""`xstilts results`: the numbers of a report for other programs."""

import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.commands import completion, options
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import say
from xstilts.errors import counted

app = new_app()


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts results demo",
        "xstilts results runs/demo/report --format latex",
        "xstilts results RUN --store s3://bucket/prefix --table effects --format csv",
        "xstilts results demo --tensorboard runs/demo/tensorboard",
        "MLFLOW_TRACKING_URI=http://localhost:5000 xstilts results demo --mlflow",
        note=options.CREDENTIALS,
    ),
)
def results(
    ctx: typer.Context,
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Folder of a report, or name of a run (see `xstilts runs`).",
            autocompletion=completion.run_names,
        ),
    ],
    store: options.RunStore = None,
    home: options.Home = Path(".xstilts"),
    table: Annotated[
        Literal["averages", "results", "effects"],
        typer.Option(
            help="averages: scores in the official metrics, over languages and seeds; results and "
            "effects: all rows of these files."
        ),
    ] = "averages",
    format_: Annotated[
        Literal["csv", "json", "md", "latex"], typer.Option("--format", help="Format of the table.")
    ] = "md",
    tensorboard: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write scores and learning curves to DIR as TensorBoard event files, one folder "
            "per cell, instead of printing a table.",
            show_default=False,
        ),
    ] = None,
    mlflow: Annotated[
        bool,
        typer.Option(
            "--mlflow",
            help="Log scores and learning curves to the MLflow server at MLFLOW_TRACKING_URI, one "
            "MLflow run per cell, instead of printing a table.",
        ),
    ] = False,
) -> int:
    """Print the scores or effects of a report as CSV, JSON, Markdown or LaTeX.

    With --tensorboard or --mlflow, export scores and learning curves instead.
    """
    if tensorboard is not None or mlflow:
        for name, option in (("table", "--table"), ("format_", "--format")):
            source = ctx.get_parameter_source(name)
            if source is not None and source.name == "COMMANDLINE":
                raise typer.BadParameter(
                    f"{option} is of a printed table; leave it out with --tensorboard and --mlflow"
                )
        return _track(run, store, home, tensorboard, mlflow)

    from xstilts.analysis.scores import averages_table
    from xstilts.analysis.table_file import read_table
    from xstilts.analysis.table_text import FORMATS

    with tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
        name = "effects.parquet" if table == "effects" else "results.parquet"
        frame = read_table(_file(run, store, home, name, Path(scratch)))
    shown = averages_table(frame) if table == "averages" else frame
    typer.echo(FORMATS[format_](shown), nl=False)
    return 0


def _track(run: str, store: str | None, home: Path, tensorboard: Path | None, mlflow: bool) -> int:
    """Exports the cells of a run to experiment trackers."""
    from pipelines.opened_store import opened_store
    from pipelines.run_list import run_named
    from pipelines.trackers import mlflow as mlflow_server
    from pipelines.trackers import tensorboard as event_files
    from pipelines.trackers import tracked_cells

    with opened_store(store, home) as opened:
        name = run_named(opened, run)
        if tensorboard is not None:
            _, started, tracked = tracked_cells.cells_of(opened, name)
            count = event_files.write(tensorboard, started, tracked)
            cells = counted(count, "cell")
            say(f"{cells} written; to see them: tensorboard --logdir {tensorboard}")
        if mlflow:
            plan, started, tracked = tracked_cells.cells_of(opened, name)
            new, old = mlflow_server.log(plan, name, started, tracked)
            say(f"MLflow experiment {plan}: {counted(new, 'cell')} logged, {old} already there")
    return 0


def _file(run: str, store: str | None, home: Path, name: str, scratch: Path) -> Path:
    """A file of the report in a local folder, or of that of a run in a store."""
    from pipelines.opened_store import opened_store
    from pipelines.run_list import is_run_name, run_named
    from xstilts.errors import PlanError

    if store is None and Path(run).is_dir():
        for folder in (Path(run), Path(run) / "report"):
            if (folder / name).is_file():
                return folder / name
        if not is_run_name(run) or not (home / "store").is_dir():
            raise PlanError(f"{run}: no {name} in this folder; give the folder of a report")
    elif store is None and not is_run_name(run):
        raise PlanError(f"{run}: no such folder; give the folder of a report or a run's name")
    with opened_store(store, home) as opened:
        key = f"runs/{run_named(opened, run)}/report/{name}"
        if opened.size(key) is None:
            raise PlanError(f"{opened.uri}/{key}: the run has no report yet; see `xstilts status`")
        return opened.get_file(key, scratch / name)
