"""`xstilts results`: the numbers of a report for other programs."""

import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.commands import completion, options
from pipelines.commands.app import Command, examples, new_app

app = new_app()


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts results demo",
        "xstilts results runs/demo/report --format latex",
        "xstilts results RUN --store s3://bucket/prefix --table effects --format csv",
        note=options.CREDENTIALS,
    ),
)
def results(
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
) -> int:
    """Print the scores or effects of a report as CSV, JSON, Markdown or LaTeX."""
    import pandas as pd

    from xstilts.analysis.scores import averages_table
    from xstilts.analysis.table_text import FORMATS

    with tempfile.TemporaryDirectory(prefix="xstilts-") as scratch:
        name = "effects.parquet" if table == "effects" else "results.parquet"
        frame = pd.read_parquet(_file(run, store, home, name, Path(scratch)))
    shown = averages_table(frame) if table == "averages" else frame
    typer.echo(FORMATS[format_](shown), nl=False)
    return 0


def _file(run: str, store: str | None, home: Path, name: str, scratch: Path) -> Path:
    """A file of the report in a local folder, or of that of a run in a store."""
    from pipelines.opened_store import opened_store
    from pipelines.run_list import run_named
    from xstilts.errors import PlanError

    if store is None and Path(run).is_dir():
        for folder in (Path(run), Path(run) / "report"):
            if (folder / name).is_file():
                return folder / name
        raise PlanError(f"{run}: no {name} in this folder; give the folder of a report")
    with opened_store(store, home) as opened:
        key = f"runs/{run_named(opened, run)}/report/{name}"
        if opened.size(key) is None:
            raise PlanError(f"{opened.uri}/{key}: the run has no report yet; see `xstilts status`")
        return opened.get_file(key, scratch / name)
