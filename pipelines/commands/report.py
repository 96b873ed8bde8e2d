"""`xstilts report`: downloads the report of a run."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import say

app = new_app()


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts report demo --out runs/demo",
        "xstilts report RUN --store s3://bucket/prefix --out runs/RUN",
        note=options.CREDENTIALS,
    ),
)
def report(
    run: options.RunName,
    store: options.RunStore = None,
    home: options.Home = Path(".xstilts"),
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The report is written to DIR/report.")
    ] = Path("."),
) -> int:
    """Download the report of a run and print its summary."""
    from pipelines import cluster_runs
    from pipelines.opened_store import opened_store
    from pipelines.run_list import run_named

    with opened_store(store, home) as opened:
        folder = cluster_runs.fetch_report(opened, run_named(opened, run), out)
    if (folder / "summary.json").is_file():
        from xstilts.analysis.terminal import show

        show(folder)
    say(f"report: {folder / 'report.html'}")
    return 0
