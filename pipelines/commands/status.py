"""`xstilts status`: the state of a run."""

import json
from pathlib import Path

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import say

app = new_app()


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts status demo",
        "xstilts status RUN --store s3://bucket/prefix --host http://localhost:8888",
        note=options.CREDENTIALS,
    ),
)
def status(
    run: options.RunName,
    store: options.RunStore = None,
    home: options.Home = Path(".xstilts"),
    host: options.OptionalHost = None,
    namespace: options.Namespace = None,
    ca_cert: options.CaCertificate = None,
    as_json: options.Json = False,
) -> int:
    """Show the state of a run: pending, queued, running, succeeded, failed or
    cancelled, with the reason, finished steps and failures.

    Without --host the state is read from the run's folder only.
    """
    from pipelines.failures import grouped_failures
    from pipelines.kfp.kfp_client import Kfp
    from pipelines.opened_store import opened_store
    from pipelines.outages import Outages
    from pipelines.run_list import run_named
    from pipelines.run_status import status_of

    kfp = Kfp(host, namespace, ca_cert) if host else None
    with opened_store(store, home) as opened:
        run = run_named(opened, run)
        view = Outages().outlast(lambda: status_of(opened, run, kfp))
    if as_json:
        say(json.dumps(view.json(), indent=2, ensure_ascii=False))
        return 0
    code = "" if view.state.exit_code is None else f", exit code {view.state.exit_code}"
    state = str(view.state)
    if state == "running" and "out" in view.document:  # of a local run nothing else is recorded
        state = "unfinished: it is running, or was interrupted (the same command resumes it)"
    say(f"{run}: {state}{code}")
    for kind, (done, of) in view.steps.items():
        say(f"  {kind:10} {done:5} of {of}")
    for wait in view.waits:
        say(f"  waiting: {wait}")
    for line in grouped_failures(view.failures):
        say(f"  failed: {line}")
    if view.kfp:
        say(f"  {view.kfp['url']}")
    return 0
