"""`xstilts logs`: the logs of a run on a cluster."""

from typing import Annotated

import typer

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app

app = new_app()


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts logs RUN --store s3://bucket/prefix",
        "xstilts logs RUN --store s3://bucket/prefix --host http://localhost:8888 --follow",
        note=options.CREDENTIALS,
    ),
)
def logs(
    run: options.RunName,
    store: options.ClusterStore,
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
    tail: Annotated[int, typer.Option(metavar="LINES", help="Last lines of each log.")] = 200,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new lines until the run ends.")
    ] = False,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", help="Polling interval of --follow.")
    ] = 5.0,
) -> int:
    """Show or follow the logs of a run on a cluster: its pods, its Ray jobs and its failures."""
    from pipelines import cluster_runs, run_logs

    opened = cluster_runs.open_store(store)
    if follow:
        server = run_logs.KfpServer(host, namespace, ca_cert)
        run_logs.follow(opened, run, server, tail, every)
    else:
        run_logs.show(opened, run, namespace or run_logs.NAMESPACE, tail)
    return 0
