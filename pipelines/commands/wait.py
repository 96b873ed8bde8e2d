"""`xstilts wait`: waits for the end of a run on a cluster."""

from typing import TYPE_CHECKING

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import note, say, warn
from xstilts.errors import Interrupted

if TYPE_CHECKING:
    from pipelines.run_status import KfpServer
    from xstilts.store.store import Store

app = new_app()


@app.command(
    cls=Command,
    epilog=examples("xstilts wait RUN --store s3://bucket/prefix", note=options.CREDENTIALS),
)
def wait(
    run: options.RunName,
    store: options.ClusterStore,
    host: options.RecordedHost = None,
    namespace: options.Namespace = None,
    ca_cert: options.CaCertificate = None,
    every: options.Interval = 10.0,
) -> int:
    """Wait for the end of a run on a cluster and return its exit code.

    Prints the run's state, why it waits, and its progress. Interrupting the command does not stop
    the run.
    """
    from pipelines import cluster_runs
    from pipelines.outages import Outages
    from pipelines.run_list import run_named
    from pipelines.run_status import KfpServer

    server = KfpServer(host, namespace, ca_cert)
    opened = cluster_runs.open_store(store)
    run = Outages().outlast(lambda: run_named(opened, run))
    return wait_for(opened, run, server, every)


def wait_for(store: "Store", run: str, server: "KfpServer", every: float) -> int:
    """Waits for a run. Interrupted, it raises Interrupted, which says how to attach again."""
    from pipelines.local_runner import interruptible
    from pipelines.outages import Outages
    from pipelines.run_status import wait

    outages = Outages(warn)
    try:
        with interruptible():
            kfp = outages.outlast(lambda: server.client(store, run))
            return wait(store, run, kfp, every, say, warn, outages, note)
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"interrupted; {run} continues on the cluster. Attach again with\n"
            f"  xstilts wait {run} --store {store.uri}{server.options()}\n"
            f"or end it with\n"
            f"  xstilts cancel {run} --store {store.uri}{server.options()}"
        ) from error
