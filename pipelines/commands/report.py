"""`xstilts report`: downloads the report of a run, and compares it with another run's."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands import completion, options
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import say
from xstilts.store.store import Store

#: Exit code if the other run was better by more than the plan's threshold.
REGRESSION = 5

app = new_app()


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts report demo --out runs/demo",
        "xstilts report RUN --store s3://bucket/prefix --out runs/RUN",
        "xstilts report RUN --store s3://bucket/prefix --against OTHER",
        note=options.CREDENTIALS,
    ),
)
def report(
    run: options.RunName,
    store: options.RunStore = None,
    home: options.Home = Path(".xstilts"),
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The report replaces the one in DIR/report.")
    ] = Path("."),
    against: Annotated[
        str | None,
        typer.Option(
            metavar="OTHER",
            autocompletion=completion.run_names,
            help="Also compare its scores with those of another run of the store, or `none`. Exit "
            "code 5 for a loss above the plan's `report: {regression: {points: …}}`.",
            show_default="a schedule's previous firing",
        ),
    ] = None,
) -> int:
    """Download the report of a run and print its summary."""
    from pipelines import cluster_runs
    from pipelines.opened_store import opened_store
    from pipelines.run_list import run_named
    from xstilts.runs.firing_history import previous_firing

    with opened_store(store, home) as opened:
        name = run_named(opened, run)
        if against is not None and against != "none":
            against = run_named(opened, against)
        folder = cluster_runs.fetch_report(opened, name, out)
        if (folder / "summary.json").is_file():
            from xstilts.analysis.terminal import show

            show(folder)
        say(f"report: {folder / 'report.html'}")
        if against == "none":
            return 0
        other = previous_firing(opened, name) if against is None else against
        return 0 if other is None else _compare(opened, name, other, folder)


def _compare(store: Store, run: str, other: str, folder: Path) -> int:
    """Writes changes.csv and prints the changes. Returns the exit code."""
    from xstilts.analysis.changes import changes, threshold
    from xstilts.analysis.terminal_changes import show_changes
    from xstilts.runs.collect import report_input

    new, old = (report_input(store, f"runs/{name}") for name in (run, other))
    table = changes(new, old)
    path = folder / "changes.csv"
    table.to_csv(path, index=False)
    show_changes(table, f"{run} against {other}", threshold(new))
    say(f"changes: {path}")
    return REGRESSION if table["regression"].any() else 0
