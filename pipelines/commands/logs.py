"""`xstilts logs`: the logs of a run."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app

app = new_app()


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts logs demo",
        "xstilts logs RUN --store s3://bucket/prefix",
        "xstilts logs RUN --store s3://bucket/prefix --host http://localhost:8888 --follow",
        note=options.CREDENTIALS,
    ),
)
def logs(
    run: options.RunName,
    store: options.RunStore = None,
    home: options.Home = Path(".xstilts"),
    host: options.OptionalHost = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Namespace of the run's pods, and of a multi-user KFP.",
            show_default="kubeflow",
        ),
    ] = None,
    ca_cert: options.CaCertificate = None,
    step: Annotated[
        str | None,
        typer.Option(
            metavar="STEP",
            help="Only this component, batch or group, or both: `stage`, `sources-00`, "
            "`finetune tiny-llava`.",
            show_default="all",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Only what was logged within 90s, 10m, 2h or 1d; of a stored log all, if it was "
            "written to since.",
            show_default="all",
        ),
    ] = None,
    tail: Annotated[int, options.number("Last lines of each log.", "LINES")] = 200,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Also show the routine lines of KFP, Argo and Ray."),
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new lines until the run ends.")
    ] = False,
    every: Annotated[float, options.interval("Polling interval of --follow.")] = 5.0,
) -> int:
    """Show or follow the logs of a run: its steps, its Ray jobs and its failures.

    With --follow the command returns the exit code of the run.
    """
    from pipelines import local_logs, run_logs
    from pipelines.log_follow import Selection
    from pipelines.log_steps import seconds_of
    from pipelines.opened_store import opened_store
    from pipelines.run_list import run_named
    from pipelines.run_status import KfpServer

    selection = Selection(tail, step, None if since is None else seconds_of(since, "--since"), raw)
    with opened_store(store, home) as opened:
        run = run_named(opened, run)
        if (folder := local_logs.folder_of(opened, run)) is not None:
            return local_logs.show(opened, run, folder, selection, every if follow else None)
        if follow:
            server = KfpServer(host, namespace, ca_cert)
            return run_logs.follow(opened, run, server, selection, every)
        run_logs.show(opened, run, namespace or run_logs.NAMESPACE, selection)
    return 0
