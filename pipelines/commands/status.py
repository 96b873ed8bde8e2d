"""`xstilts status`: the state of a run on a cluster."""

import json
from typing import Any

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import say

app = new_app()


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts status RUN --store s3://bucket/prefix --host http://localhost:8888",
        note=options.CREDENTIALS,
    ),
)
def status(
    run: options.RunName,
    store: options.ClusterStore,
    host: options.OptionalHost = None,
    namespace: options.Namespace = None,
    ca_cert: options.CaCertificate = None,
    as_json: options.Json = False,
) -> int:
    """Show the state of a run on a cluster: finished steps, failures and, with --host, what KFP
    reports.
    """
    from pipelines import cluster_runs
    from pipelines.kfp.kfp_client import Kfp
    from xstilts.errors import in_a_line

    kfp = Kfp(host, namespace, ca_cert) if host else None
    view = cluster_runs.status(cluster_runs.open_store(store), run, kfp)
    if as_json:
        say(json.dumps(view, indent=2, ensure_ascii=False))
        return 0
    say(f"{run}: {_summary(view)}")
    for kind, steps in view["steps"].items():
        say(f"  {kind:10} {steps['done']:5} of {steps['of']}")
    for failure in view["failures"]:
        say(f"  failed: {failure['what']}: {in_a_line(failure['error'])}")
    if view["kfp"]:
        say(f"  {view['kfp']['url']}")
    return 0


def _summary(view: dict[str, Any]) -> str:
    """One line: the state in the run's folder, and KFP's where the folder has no outcome yet."""
    from xstilts.errors import in_a_line

    if view["exit_code"] is not None:
        missing = len(view["missing"])
        suffix = f"; {missing} cells are missing" if missing else ""
        return f"finished, exit code {view['exit_code']}{suffix}"
    state = "KFP state unknown (set --host)"
    if view["kfp"]:
        state = f"KFP state {view['kfp']['state'].lower()}"
        if view["kfp"]["error"]:
            state += f": {in_a_line(view['kfp']['error'])}"
    if view["cancelled"]:
        return f"cancelled; {state}"
    return f"{'running' if view['steps'] else 'not planned yet'}; {state}"
