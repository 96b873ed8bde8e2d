"""`xstilts cancel`: ends a run on a cluster."""

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import say

app = new_app()


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts cancel RUN --store s3://bucket/prefix --host http://localhost:8888",
        note=options.CREDENTIALS,
    ),
)
def cancel(
    run: options.RunName,
    host: options.Host,
    store: options.ClusterStore,
    namespace: options.Namespace = None,
    ca_cert: options.CaCertificate = None,
) -> int:
    """Cancel a run on a cluster; finished steps are kept."""
    from pipelines import cluster_runs
    from pipelines.kfp.kfp_client import Kfp
    from pipelines.run_list import run_named

    opened = cluster_runs.open_store(store)
    run = run_named(opened, run)
    cluster_runs.cancel(Kfp(host, namespace, ca_cert), opened, run)
    say(f"{run}: cancelled; its workers stop within minutes, finished steps are kept")
    return 0
