"""`xstilts runs`: local runs and those of a cluster."""

import json
import os
import time
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands import options
from pipelines.commands.app import Command, examples, new_app
from pipelines.console import say, warn

app = new_app()

#: Exit code of --failed where a run failed.
FAILED = 4


@app.command(
    cls=Command,
    epilog=examples(
        "xstilts runs",
        "xstilts runs --store s3://bucket/prefix",
        "xstilts runs --failed 1d --store s3://bucket/prefix",
        note=f"{options.CREDENTIALS} XSTILTS_WEBHOOK: a URL that --failed posts to.",
    ),
)
def runs(
    store: options.RunStore = None,
    home: options.Home = Path(".xstilts"),
    failed: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Only runs that failed and started within 90s, 10m, 2h or 1d. If there are any, "
            "they are posted to XSTILTS_WEBHOOK, and the exit code is 4.",
            show_default="all runs",
        ),
    ] = None,
    as_json: options.Json = False,
) -> int:
    """List the local runs of HOME, and with --store also those of a cluster."""
    from pipelines.log_steps import seconds_of
    from pipelines.opened_store import opened_store
    from pipelines.run_list import RunSummary
    from pipelines.run_list import runs as runs_of
    from pipelines.webhook import post_failures
    from xstilts.errors import CorruptError

    since = None if failed is None else time.time() - seconds_of(failed, "--failed")
    rows: list[RunSummary] = []
    corrupt: dict[str, CorruptError] = {}
    local = (home / "store").is_dir()
    for uri in ([None] if local or store is None else []) + ([store] if store else []):
        with opened_store(uri, home) as opened:
            rows += runs_of(opened, corrupt)
    if since is not None:
        rows = [row for row in rows if row.state == "failed" and row.created >= since]
    if as_json:
        say(json.dumps([row.json() for row in rows], indent=2, ensure_ascii=False))
    else:
        width = max((len(row.run) for row in rows), default=0)
        for row in rows:
            say(row.line(width))
        if not rows:
            say("no runs" if since is None else f"no run failed within {failed}")
    failures = rows if since is not None else []
    if failures and (url := os.environ.get("XSTILTS_WEBHOOK")):
        post_failures(url, failures)
    if corrupt:  # the list is incomplete
        first, *others = corrupt.values()
        for error in others:
            warn(str(error))
        raise first
    return FAILED if failures else 0
