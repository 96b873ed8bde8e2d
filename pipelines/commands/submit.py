"""`xstilts submit`: a plan on a cluster."""

from typing import Annotated

import typer

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app
from pipelines.commands.wait import wait_for
from pipelines.console import note, say, warn

app = new_app()


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts submit PLAN --host http://localhost:8888 --store s3://bucket/prefix --wait",
        note=options.CREDENTIALS,
    ),
)
def submit(
    plan: options.PlanFile,
    host: options.Host,
    store: options.ClusterStore,
    mirror: options.ClusterMirror = None,
    overrides: options.Overrides = None,
    limit: options.Limit = None,
    tasks: options.TaskFiles = None,
    namespace: options.Namespace = None,
    ca_cert: options.CaCertificate = None,
    settings: options.SettingsFile = None,
    allow_unlocked: options.AllowUnlocked = False,
    experiment: Annotated[
        str, typer.Option(metavar="NAME", help="KFP experiment of the run.")
    ] = "xstilts",
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end and return the run's exit code.")
    ] = False,
    every: Annotated[float, options.interval("Polling interval of --wait.")] = 10.0,
) -> int:
    """Run a plan on a cluster.

    Reports every mistake in the plan before anything is submitted, and prints the run's name.
    """
    from components.launch.doctor import check_fit
    from pipelines import cluster_runs
    from pipelines.kfp.kfp_client import Kfp
    from pipelines.kfp.package import images_of
    from pipelines.run_status import KfpServer
    from xstilts.plan.status import undone

    kfp = Kfp(host, namespace, ca_cert)  # makes no request
    opened = cluster_runs.open_store(store)  # before the mirror, which can take minutes to list
    checked = cluster_runs.check_plan(plan, mirror, tasks or [], overrides or [], limit)
    cluster = cluster_runs.settings_for(settings, checked.plan, checked.mirror)
    resources = checked.plan.resources.model_dump(mode="json") | {"groups": cluster.groups}
    check_fit(resources, namespace, warn)
    text, version = cluster_runs.package(cluster, allow_unlocked)
    todo = {kind: len(steps) for kind, steps in undone(checked.expansion, opened).items() if steps}
    experiment_id = kfp.experiment(experiment)
    uploaded = kfp.version(text, version)
    account = cluster.service_account
    images = images_of(text)
    name = cluster_runs.start(kfp, opened, checked, uploaded, experiment_id, account, images)
    say(f"{name}: submitted")
    counts = ", ".join(f"{count} {kind}" for kind, count in todo.items())
    note(f"  to do: {counts or 'only the report'}")
    run_id = cluster_runs.kfp_id(opened, name)
    say(f"  {kfp.url(run_id)}")
    if not wait:
        return 0
    return wait_for(opened, name, KfpServer(host, namespace, ca_cert), every)
